/** The options of every command that connects to a service. */
import type { ConnectOptions } from '../index.js'
import { readAuthkey } from './authkey.js'
import { authkeyFile, text, texts, type Option, type Values } from './command.js'
import { UsageError } from './output.js'
import { readMilliseconds } from './words.js'

export const connectingOptions: Readonly<Record<string, Option>> = {
  wait: { type: 'string', value: 'ms', help: 'milliseconds that the service may still be missing' },
  framing: { type: 'string', value: 'length|header|line', help: 'how messages are delimited, for JSON-RPC servers that are not Talkwire' },
  'authkey-file': authkeyFile,
  'token-file': { type: 'string', value: 'file', help: 'a file with the token that a service on http: and the like wants to be shown' },
  'secret-file': {
    type: 'string',
    multiple: true,
    value: 'scheme=file',
    help: 'a file with the secret of one of the security schemes in an OpenAPI description; may be repeated',
  },
}

/** Throws UsageError. */
export function readConnecting(values: Values, signal: AbortSignal): ConnectOptions {
  const authkey = readAuthkey(text(values, 'authkey-file'))
  const token = readAuthkey(text(values, 'token-file'))?.toString('latin1')
  const tokens = readSecrets(texts(values, 'secret-file'))
  const wait = readMilliseconds('wait', text(values, 'wait'))
  const framing = text(values, 'framing')
  if (framing !== undefined && framing !== 'length' && framing !== 'header' && framing !== 'line')
    throw new UsageError(`--framing is length, header or line, not ${JSON.stringify(framing)}`)
  return {
    ...(framing !== undefined && { framing }),
    signal,
    reconnect: false,
    ...(authkey && { authkey }),
    ...(token !== undefined && { token }),
    ...(tokens && { tokens }),
    ...(wait !== undefined && { wait }),
  }
}

function readSecrets(words: readonly string[]): Record<string, string> | undefined {
  if (words.length === 0) return undefined
  const secrets = new Map<string, string>()
  for (const word of words) {
    const mark = word.indexOf('=')
    const scheme = word.slice(0, mark)
    if (mark < 1 || mark === word.length - 1)
      throw new UsageError(`--secret-file ${JSON.stringify(word)} is no scheme=file, for example --secret-file api_key=./key`)
    if (secrets.has(scheme)) throw new UsageError(`--secret-file ${scheme}= is given twice`)
    secrets.set(scheme, readAuthkey(word.slice(mark + 1))!.toString('latin1'))
  }
  return Object.fromEntries(secrets)
}

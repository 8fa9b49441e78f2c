/** The options of every command that connects to a service. */
import type { ConnectOptions } from '../index.js'
import { readAuthkey } from './authkey.js'
import { authkeyFile, text, type Option, type Values } from './command.js'
import { UsageError } from './output.js'
import { readMilliseconds } from './words.js'

export const connectingOptions: Readonly<Record<string, Option>> = {
  wait: { type: 'string', value: 'ms', help: 'milliseconds that the service may still be missing' },
  framing: { type: 'string', value: 'length|header|line', help: 'how messages are delimited, for JSON-RPC servers that are not Talkwire' },
  'authkey-file': authkeyFile,
  'token-file': { type: 'string', value: 'file', help: 'a file with the token that a service on http: and the like wants to be shown' },
}

/** Throws UsageError. */
export function readConnecting(values: Values, signal: AbortSignal): ConnectOptions {
  const authkey = readAuthkey(text(values, 'authkey-file'))
  const token = readAuthkey(text(values, 'token-file'))?.toString('latin1')
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
    ...(wait !== undefined && { wait }),
  }
}

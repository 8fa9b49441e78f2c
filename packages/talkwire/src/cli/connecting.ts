/** The options of every command that connects to a service. */
import type { ConnectOptions } from '../index.js'
import { readAuthkey } from './authkey.js'
import { authkeyFile, text, type Option, type Values } from './command.js'
import { readMilliseconds } from './words.js'

export const connectingOptions: Readonly<Record<string, Option>> = {
  wait: { type: 'string', value: 'ms', help: 'milliseconds that the service may still be missing' },
  'authkey-file': authkeyFile,
}

/** Throws UsageError. */
export function readConnecting(values: Values, signal: AbortSignal): ConnectOptions {
  const authkey = readAuthkey(text(values, 'authkey-file'))
  const wait = readMilliseconds('wait', text(values, 'wait'))
  return { signal, reconnect: false, ...(authkey && { authkey }), ...(wait !== undefined && { wait }) }
}

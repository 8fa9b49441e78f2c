/** The messages of MCP, the Model Context Protocol (modelcontextprotocol.io/specification): JSON-RPC 2.0 with a few methods. Sans I/O. */
import { TalkwireError } from '../error.js'
import type { WireError } from './message.js'

/** Best first. They differ in nothing that is used here, but for batches, which came and went. */
export const VERSIONS = ['2025-11-25', '2025-06-18', '2025-03-26', '2024-11-05'] as const

export const Code = { parse: -32700, request: -32600, method: -32601, params: -32602, resource: -32002 } as const

/** What two Talkwire sides tell each other beyond MCP: keys of `_meta`, a notification, and a request for the service's OpenRPC document. */
export const OURS = {
  call: 'talkwire/call',
  result: 'talkwire/result',
  error: 'talkwire/error',
  item: 'talkwire/item',
  progress: 'talkwire/progress',
  payload: 'talkwire/payload',
  lost: 'talkwire/lost',
  credit: 'notifications/talkwire/credit',
  discover: 'talkwire/discover',
} as const

export type McpId = string | number

export interface Request {
  readonly id?: McpId
  readonly method: string
  readonly params: Readonly<Record<string, unknown>>
}
export interface Response {
  readonly id: McpId | null
  readonly result?: unknown
  readonly error?: WireError
}

export const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** An own member: what arrives has no prototype that counts. */
export const own = (value: unknown, key: string): unknown => (isRecord(value) && Object.hasOwn(value, key) ? value[key] : undefined)

export const isId = (value: unknown): value is McpId => typeof value === 'string' || Number.isSafeInteger(value)

/** Throws INVALID_REQUEST for what is neither. */
export function readMessage(value: unknown): Request | Response {
  const message = value as { id?: unknown; method?: unknown; params?: unknown; result?: unknown; error?: unknown; jsonrpc?: unknown }
  const invalid = (why: string): TalkwireError => new TalkwireError('INVALID_REQUEST', why)
  if (Array.isArray(value)) throw invalid('MCP has no batches; send one message at a time')
  if (!isRecord(value) || message.jsonrpc !== '2.0') throw invalid('a message is an object with "jsonrpc": "2.0"')
  if ('method' in message) {
    if (typeof message.method !== 'string') throw invalid('method is a text')
    if (message.id !== undefined && !isId(message.id)) throw invalid('id is a text or an integer')
    if (message.params !== undefined && !isRecord(message.params)) throw invalid('params is an object')
    return {
      method: message.method,
      params: (message.params ?? {}) as Request['params'],
      ...(message.id !== undefined && { id: message.id }),
    }
  }
  if (message.id !== null && !isId(message.id)) throw invalid('an answer has the id of its request')
  return { id: message.id, ...('error' in message ? { error: message.error as WireError } : { result: message.result }) }
}

/** The id of what could not be understood otherwise. */
export const idOf = (value: unknown): McpId | null => {
  const id = own(value, 'id')
  return isId(id) ? id : null
}

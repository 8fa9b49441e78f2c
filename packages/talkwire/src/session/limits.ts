/** What one connection, and one service, may use. Every queue has a limit; this is the list of them. */
export interface Limits {
  /** Largest message in bytes, in either direction: 64 MiB. */
  readonly message: number
  /** Deepest nesting of a value: 64. */
  readonly depth: number
  /** Most values in one message: elements and members; a typed array is one. 1,000,000: what is parsed in one go keeps everything else waiting. */
  readonly values: number
  /** Most entries of a JSON-RPC batch: 100. */
  readonly batch: number
  /** Calls in flight on one connection, each way: 10,000. More are refused with LIMIT_EXCEEDED. */
  readonly calls: number
  /** Streams in flight on one connection, each way: 256. */
  readonly streams: number
  /** Functions and objects that one connection may hold by reference: 10,000. */
  readonly references: number
  /** File descriptors received on one connection and neither closed nor taken: 64. One more ends the connection. */
  readonly descriptors: number
  /** Connections that a service keeps: 10,000. More are closed at once. */
  readonly connections: number
  /** Bytes of a stream that may be on their way unread: 512 KiB. */
  readonly window: number
  /** Bytes that wait for a slow reader on one connection: 16 MiB. Then calls and one-way calls are refused, events dropped and counted. */
  readonly outgoing: number
  /** Milliseconds for the first whole message, authentication included: 5,000. */
  readonly handshake: number
}

export const defaultLimits: Limits = {
  message: 64 * 1024 * 1024,
  depth: 64,
  values: 1_000_000,
  batch: 100,
  calls: 10_000,
  streams: 256,
  references: 10_000,
  descriptors: 64,
  connections: 10_000,
  window: 512 * 1024,
  outgoing: 16 * 1024 * 1024,
  handshake: 5_000,
}

/** Throws TypeError for an unknown name or a value that is no positive number. */
export const withDefaults = (limits: Partial<Limits> = {}): Limits => limitsOf(defaultLimits, limits)

/** The same for any table of limits. */
export function limitsOf<T extends object>(defaults: T, wish: Partial<T>): T {
  for (const [name, value] of Object.entries(wish)) {
    if (!Object.hasOwn(defaults, name)) throw new TypeError(`there is no limit "${name}"; there are ${Object.keys(defaults).join(', ')}`)
    if (value !== undefined && !((value as number) > 0))
      throw new TypeError(`limits.${name} is a positive number, not ${String(value as number)}`)
  }
  return { ...defaults, ...wish }
}

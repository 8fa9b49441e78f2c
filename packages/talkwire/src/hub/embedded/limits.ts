/** What one hub and one of its clients may use. */
import { limitsOf } from '../../session/limits.js'
import { visibleError } from '../../session/validate.js'

export interface HubLimits {
  /** Bytes of one message, job or value: 8 MiB. */
  readonly message: number
  /** Subscriptions, consumers and watches of one client: 200. */
  readonly subscriptions: number
  /** Messages that wait for one slow subscriber at the hub: 10,000. */
  readonly buffer: number
  /** Bytes of them: 16 MiB. */
  readonly bufferBytes: number
  /** Milliseconds that a publisher waits for a slow subscriber that wants to be waited for: 30,000. Then the subscriber is ended. */
  readonly patience: number
  /** Jobs in one queue: 10,000,000. */
  readonly jobs: number
  /** Bytes of jobs in one queue: 16 GiB. */
  readonly jobBytes: number
  /** Bytes of bodies of jobs that stay in memory, where they can be read back from the log: 64 MiB. */
  readonly memory: number
  readonly queues: number
  /** Keys of the state: 10,000,000. */
  readonly keys: number
  /** Bytes of keys and values: 4 GiB. */
  readonly stateBytes: number
  /** Topics with a retained last value: 1,000,000. */
  readonly retained: number
  readonly counters: number
  readonly leases: number
  /** Waiters for one lease: 10,000. */
  readonly waiters: number
  /** Jobs handed out to one consumer and not acknowledged: 65,536. */
  readonly taken: number
}

export const hubLimits: HubLimits = {
  message: 8 * 1024 * 1024,
  subscriptions: 200,
  buffer: 10_000,
  bufferBytes: 16 * 1024 * 1024,
  patience: 30_000,
  jobs: 10_000_000,
  jobBytes: 16 * 1024 ** 3,
  memory: 64 * 1024 * 1024,
  queues: 100_000,
  keys: 10_000_000,
  stateBytes: 4 * 1024 ** 3,
  retained: 1_000_000,
  counters: 1_000_000,
  leases: 1_000_000,
  waiters: 10_000,
  taken: 65_536,
}

/** Throws TypeError. */
export const hubLimitsOf = (wish: Partial<HubLimits> = {}): HubLimits => limitsOf(hubLimits, wish)

/** Throws LIMIT_EXCEEDED, which the client sees. */
export function within(value: number, limits: HubLimits, name: keyof HubLimits, what: string): void {
  if (value > limits[name]) throw visibleError('LIMIT_EXCEEDED', `${what}: more than ${limits[name]}; raise limits.${name} of the hub`)
}

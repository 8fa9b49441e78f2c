/** One hub: topics, queues, state, leases and counters, on whatever driver its address names. */
import { parseAddress } from '../address.js'
import type { Directory } from '../balance.js'
import type { StandardSchema } from '../contract/standard-schema.js'
import { TalkwireError } from '../error.js'
import { warn } from '../warn.js'
import type { Base } from './base.js'
import { openDriver } from './open-driver.js'
import { follow, instances, register, type Instance, type Registrable, type RegisterOptions, type Registration } from './discovery.js'
import type { HubChange, HubDriver, HubTrait, OpenDriver } from './driver.js'
import { intents, type Intents } from './intents.js'
import { counter, lease, type Counter, type Lease, type LeaseOptions } from './leases.js'
import { queue, type QueueOf, type QueueOptions } from './queues.js'
import { driverFor, lacks } from './registry.js'
import { state, type StateOf, type StateOptions } from './state.js'
import { topic, type TopicOf, type TopicOptions } from './topics.js'

export interface HubOptions {
  /** `user` and `password`, and `tls`, which is as for `tls.connect`, where the address does not say them; what else there is: each driver's page. */
  readonly credentials?: Readonly<Record<string, unknown>>
  /** Told when the connection is lost, and when it is there again. */
  readonly onConnection?: (change: HubChange) => void
  /** Errors that nobody waits for, such as a message that does not fit its schema. Default: a process warning. */
  readonly onError?: (error: unknown, what: string) => void
  readonly signal?: AbortSignal
}

type AnySchema = StandardSchema<any, any>

export interface Hub extends AsyncDisposable, Directory {
  /** The driver's name, such as `embedded` or `nats`. */
  readonly driver: string
  /** What it can do. What it cannot is refused with UNSUPPORTED, which names the drivers that can. */
  readonly traits: ReadonlySet<HubTrait>
  /** A topic, `orders.new`, or a pattern of them: `orders.*`, `orders.>`. */
  topic<S extends AnySchema = AnySchema, R extends AnySchema = AnySchema>(name: string, options?: TopicOptions<S, R>): TopicOf<S, R>
  queue<S extends AnySchema = AnySchema>(name: string, options?: QueueOptions<S>): QueueOf<S>
  state<S extends AnySchema = AnySchema>(name: string, options?: StateOptions<S>): StateOf<S>
  lease(name: string, options?: LeaseOptions): Lease
  counter(name: string): Counter
  /** Makes a service known: `connect('bank', { hub })` finds it, and shares its calls among all instances. */
  register(service: Registrable, options?: RegisterOptions): Promise<Registration>
  /** Who is registered under a name. */
  instances(name: string): Promise<readonly Instance[]>
  readonly intents: Intents
  /** What was published leaves first; subscriptions and workers end. Leases that are held run out. */
  close(): Promise<void>
}

/** The hub of this user on this machine, started when nobody runs it. */
const OWN = 'hub:'

/**
 * Opens a hub. Without an address the embedded one, which is started when nobody runs it; `nats://127.0.0.1:4222` and the like are
 * brokers. Rejects with UNAVAILABLE, UNAUTHENTICATED, MISSING_PACKAGE, INVALID_ADDRESS, or the signal's reason.
 */
export async function openHub(address: string = OWN, options: HubOptions = {}): Promise<Hub> {
  options.signal?.throwIfAborted()
  const found = await driverFor(parseAddress(address).scheme)
  const onError = options.onError ?? warn
  const open = await openDriver(found, address, {
    credentials: options.credentials,
    onConnection: options.onConnection ?? (() => {}),
    onError,
    signal: options.signal,
  })
  return hubOn(found, open, onError)
}

function hubOn(found: HubDriver, driver: OpenDriver, onError: Base['onError']): Hub {
  const here: HubDriver = driver.only ? { ...found, ...driver.only } : found
  const traits = new Set(here.traits)
  let closing: Promise<void> | undefined
  const base: Base = {
    driver,
    name: found.name,
    onError,
    has: (trait) => traits.has(trait),
    need(...wanted) {
      if (closing) return Promise.reject(new TalkwireError('CLOSED', 'this hub is closed; openHub() opens another'))
      const missing = wanted.find((trait) => !traits.has(trait))
      return missing && lacks(here, missing).then((error) => Promise.reject(error))
    },
  }
  const close = (): Promise<void> => (closing ??= driver.close())
  return {
    driver: found.name,
    traits,
    topic: (name, options = {}) => topic(base, name, options) as never,
    queue: (name, options = {}) => queue(base, name, options) as never,
    state: (name, options = {}) => state(base, name, options) as never,
    lease: (name, options = {}) => lease(base, name, options),
    counter: (name) => counter(base, name),
    register: (service, options = {}) => register(base, service, options),
    instances: (name) => instances(base, name),
    follow: (name, changed) => follow(base, name, changed),
    intents: intents(base),
    close,
    [Symbol.asyncDispose]: close,
  }
}

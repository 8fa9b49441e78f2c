/**
 * What a hub runs on. A driver says the hub's patterns in a broker's own words; bodies are bytes here. Values, schemas, buffers,
 * policies and everything that several drivers share are the hub's (topics.ts, queues.ts, …).
 */
import type { TalkwireError } from '../error.js'

/** What a driver may be able to do, each with the words in which it is refused. */
export const HUB_TRAITS = {
  topics: 'publish and subscribe',
  wildcards: 'patterns such as "orders.*" and "orders.>"',
  headers: 'headers of messages',
  confirmed: 'to know that a message was taken: publishing resolves when the broker has it',
  retained: 'a retained last value',
  replay: 'replay from a position or a time',
  groups: 'consumer groups: each message to one member',
  resume: 'groups that go on where they were when all members were away',
  backpressure: 'subscribers that are waited for',
  requests: 'request and reply',
  unanswered: 'knowing at once that nobody answers a request',
  queues: 'work queues',
  ordered: 'jobs in the order in which they were pushed',
  durable: 'jobs that survive a restart of the broker',
  nack: 'giving a job back',
  visibility: 'jobs that come back when their consumer says nothing for a time',
  receipts: 'refusing acknowledgements that come too late',
  extend: 'asking for more time',
  attempts: 'counting how often a job was handed out',
  dead: 'dead letters',
  delay: 'delayed jobs',
  priority: 'priorities',
  dedupe: 'de-duplication by a key',
  inspect: 'counting jobs',
  purge: 'emptying a queue',
  state: 'keys and values',
  cas: 'compare and set',
  ttl: 'values that expire',
  batch: 'several changes at once',
  list: 'listing by prefix',
  watch: 'watching keys',
  leases: 'leases',
  fencing: 'fencing tokens that only grow',
  waiters: 'waiters for a lease, served in order',
  permits: 'leases of several holders: semaphores',
  counters: 'counters',
} as const
export type HubTrait = keyof typeof HUB_TRAITS

export type Headers = Readonly<Record<string, string>>
/** Of the messages that have none, of all drivers. */
export const NO_HEADERS: Headers = Object.freeze({})
/** `json` is the default everywhere; the broker's own property says it to foreign programs. */
export type BodyType = 'json' | 'text' | 'bytes'

/** A message on its way to the broker. The body belongs to the driver until what took it resolves. */
export interface Outgoing {
  readonly body: Uint8Array
  readonly type: BodyType
  readonly headers: Headers
}

/** A message as it came. The body belongs to the receiver. */
export interface Incoming {
  readonly body: Uint8Array
  /** What its sender said it is; undefined: it said nothing. */
  readonly type: BodyType | undefined
  readonly headers: Headers
}

export interface TopicMessage extends Incoming {
  readonly topic: string
  /** Where it stands in what is kept; opaque. Undefined: nothing is kept. */
  readonly position: string | undefined
  /** When the broker took it, milliseconds since 1970; undefined: it does not say. */
  readonly time: number | undefined
  /** The last value from before we subscribed. */
  readonly retained: boolean
}

/** Who takes what a subscription brings. `message` and `job` return false when enough is buffered: the driver then stops, if it can, until `resume`. */
export interface TopicSink {
  message(message: TopicMessage): boolean
  /** So many messages were lost on the way; the driver, not the sink, was too slow or away. */
  lost(count: number): void
  /** The last call, without an error if we ended it. */
  ended(error?: TalkwireError): void
}

export interface Subscription {
  /** There is room again. */
  resume(): void
  /** Nothing comes after it resolves. */
  close(): Promise<void>
}

/** `new`: from now on. `all`: from the oldest that is kept. Else what stands after a position, or was taken at a time (ms since 1970) or later. */
export type From = 'new' | 'all' | { readonly after: string } | { readonly time: number }

export interface SubscribeOptions {
  readonly from: From
  /** Each message goes to one member of the group. */
  readonly group: string | undefined
  /** How many messages the sink takes before it says false. */
  readonly buffer: number
  /** False: the sink never says false, and the driver need hold nobody back for it; what it is too slow for may be left out and counted. */
  readonly wait?: boolean
}

export interface PublishOptions {
  /** Kept as the topic's last value, for subscribers that come later. */
  readonly retain: boolean
}

export interface TopicsDriver {
  /** Resolves when the broker has it, where `confirmed`; else when it was handed to the socket. */
  publish(topic: string, message: Outgoing, options: PublishOptions): Promise<void>
  /** Resolves when what is published from now on, by anybody, will come. `pattern` has `*` for one part and a last `>` for the rest, of one part at least. */
  subscribe(pattern: string, options: SubscribeOptions, sink: TopicSink): Promise<Subscription>
}

export interface Reply extends Incoming {
  /** Other replies follow: one of a stream. */
  readonly more: boolean
}

export interface Request extends TopicMessage {
  /** Resolves as publishing does. */
  reply(message: Outgoing, more: boolean): Promise<void>
}

/** Who responds to a topic, where it is known: those in a group, or those without one. Drivers that ask them in different places need not ask both. */
export type Responders = 'group' | 'all'

/** The broker's own idiom: reply subjects, reply-to queues, response topics. */
export interface RequestsDriver {
  /** Every reply that comes until `stop`. Where `unanswered`, rejects with PEER_NOT_FOUND (`not-sent`) if nobody responds. */
  request(
    topic: string,
    message: Outgoing,
    onReply: (reply: Reply) => void,
    responders?: Responders,
  ): Promise<{ readonly stop: () => void }>
  /** With a group each request goes to one member of it, else to everybody who responds. */
  respond(pattern: string, group: string | undefined, onRequest: (request: Request) => void): Promise<Subscription>
}

export interface NewJob extends Outgoing {
  /** Milliseconds until it may be handed out. */
  readonly delay: number
  /** 0 is ordinary, up to 9 is sooner. */
  readonly priority: number
  /** A job with a key that was pushed within the de-duplication time is not pushed again; its id is returned. */
  readonly key: string | undefined
}

export interface QueueSettings {
  /** Milliseconds that a consumer has for a job before it is handed to another. */
  readonly visibility: number
  /** How often a job is handed out before it is a dead letter. */
  readonly attempts: number
  /** Milliseconds that a key is remembered. */
  readonly dedupe: number
}

export interface Job extends Incoming {
  readonly id: string
  /** 1 the first time. 0: the driver does not count. */
  readonly attempt: number
  readonly time: number | undefined
  /** Done: it is never handed out again once this resolves. Where `receipts`, rejects with NOT_FOUND when it was handed to another meanwhile. */
  ack(): Promise<void>
  /** Back into the queue, in so many milliseconds. */
  nack(delay: number): Promise<void>
  /** Among the dead letters, with the reason. */
  dead(reason: string): Promise<void>
  /** So many milliseconds more, from now on. */
  extend(milliseconds: number): Promise<void>
}

export interface JobSink {
  job(job: Job): void
  ended(error?: TalkwireError): void
}

export interface Consumption {
  /** At most so many jobs are out at this consumer, from now on; 0 pauses. */
  want(jobs: number): void
  /** No job comes after it resolves; those that are out stay the consumer's. */
  close(): Promise<void>
}

export interface QueueCounts {
  readonly ready: number
  readonly delayed: number
  /** Handed out, not acknowledged. */
  readonly taken: number
  readonly dead: number
}

export interface DeadLetter extends Incoming {
  readonly id: string
  readonly reason: string
  readonly attempts: number
}

export interface QueuesDriver {
  /** Opens or creates. Rejects with UNSUPPORTED for settings that the broker keeps otherwise. */
  declare(queue: string, settings: QueueSettings): Promise<void>
  /** Resolves with the ids when all of them are as safe as the broker makes them. */
  push(queue: string, jobs: readonly NewJob[]): Promise<readonly string[]>
  consume(queue: string, sink: JobSink): Promise<Consumption>
  counts?(queue: string): Promise<QueueCounts>
  /** Removes what is ready and delayed; resolves with how many. */
  purge?(queue: string): Promise<number>
  /** The oldest first. */
  deadLetters?(queue: string, limit: number): Promise<readonly DeadLetter[]>
  /** Back into the queue, attempts counted anew; resolves with how many. */
  revive?(queue: string, ids: readonly string[]): Promise<number>
}

/** Of one value; opaque, equal or not. */
export type Revision = string

export interface Stored {
  readonly key: string
  readonly value: Uint8Array
  readonly type: BodyType | undefined
  readonly revision: Revision
}

export interface SetOptions {
  /** Only if this is its revision; null: only if there is none. */
  readonly revision?: Revision | null
  /** Milliseconds until it is gone. */
  readonly ttl?: number
}

export type Change =
  | { readonly op: 'set'; readonly key: string; readonly value: Uint8Array; readonly type: BodyType; readonly options: SetOptions }
  | { readonly op: 'delete'; readonly key: string; readonly revision?: Revision }

export interface StateSink {
  /** A value that was set, or a key that is gone. */
  changed(change: Stored | { readonly key: string; readonly gone: true }): boolean
  ended(error?: TalkwireError): void
}

/** A conflict of revisions is not an error: `undefined`. */
export interface StateDriver {
  get(key: string): Promise<Stored | undefined>
  set(key: string, value: Uint8Array, type: BodyType, options: SetOptions): Promise<Revision | undefined>
  /** False: there was none, or its revision is another. */
  delete(key: string, revision?: Revision): Promise<boolean>
  /** All or none. A deleted key's revision is ''. */
  batch?(changes: readonly Change[]): Promise<readonly Revision[] | undefined>
  list?(prefix: string): AsyncIterable<Stored>
  /** First what is there, then what changes; each key's last change always comes, some between may be left out. */
  watch?(prefix: string, sink: StateSink): Promise<Subscription>
}

export interface LeaseHolder {
  /** Larger than every token granted before for this name. 0: without `fencing`. */
  readonly token: number
  readonly holder: string
  readonly label: string | undefined
  /** Milliseconds that are left. */
  readonly left: number
}

export interface LeasesDriver {
  /** How many may hold it at once: all who ask say the same. Waits at most so many milliseconds; undefined: not granted. Aborting takes it back. */
  acquire(name: string, ask: LeaseAsk, signal: AbortSignal | undefined): Promise<LeaseHolder | undefined>
  /** False: it is somebody else's by now, or nobody's. */
  renew(name: string, holder: LeaseHolder, ttl: number): Promise<boolean>
  release(name: string, holder: LeaseHolder): Promise<boolean>
  inspect(name: string): Promise<{ readonly holders: readonly LeaseHolder[]; readonly waiters: number }>
}

export interface LeaseAsk {
  /** Unique to whoever asks, each time. */
  readonly holder: string
  readonly label: string | undefined
  readonly ttl: number
  readonly wait: number
  readonly permits: number
}

export interface CountersDriver {
  /** Adds, and returns what it is then. 0 reads. */
  add(name: string, amount: number): Promise<number>
}

/** What happens to the connection; the driver connects again by itself, and subscribes again. */
export type HubChange = { readonly state: 'lost'; readonly cause: TalkwireError } | { readonly state: 'connected' }

export interface OpenOptions {
  /** `user`, `password` and `tls`, as for `tls.connect`, where the address does not say them, and what a driver has besides. */
  readonly credentials: Readonly<Record<string, unknown>> | undefined
  readonly onConnection: (change: HubChange) => void
  /** Errors that nobody waits for. */
  readonly onError: (error: unknown, what: string) => void
  readonly signal: AbortSignal | undefined
}

/** A connection to one broker. What it lacks is undefined, and its trait is not declared. */
export interface OpenDriver {
  readonly topics?: TopicsDriver
  readonly requests?: RequestsDriver
  readonly queues?: QueuesDriver
  readonly state?: StateDriver
  readonly leases?: LeasesDriver
  readonly counters?: CountersDriver
  /** Where this connection can do less than its driver: what it is called then, and what it has. */
  readonly only?: { readonly name: string; readonly traits: readonly HubTrait[] }
  /** What was published leaves first. Subscriptions and consumptions end without an error. */
  close(): Promise<void>
}

export interface HubDriver {
  readonly name: string
  readonly traits: readonly HubTrait[]
  /** Rejects with MISSING_PACKAGE, UNAVAILABLE (nobody there), UNAUTHENTICATED, INVALID_ADDRESS, or the signal's reason. */
  open(address: string, options: OpenOptions): Promise<OpenDriver>
}

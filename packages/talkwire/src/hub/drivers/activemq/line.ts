/** What ActiveMQ is told and tells over one connection, whatever that speaks. */
import type { TalkwireError } from '../../../error.js'
import type { BodyType, Headers } from '../../driver.js'

export interface Place {
  /** `reply`: the name is what a request said, as it came. */
  readonly kind: 'queue' | 'topic' | 'reply'
  readonly name: string
}

export interface Sent {
  /** Each of them gets it. */
  readonly to: readonly Place[]
  readonly body: Uint8Array
  readonly type: BodyType | undefined
  /** Ours among them. */
  readonly headers: Headers
  /** On disk when it is confirmed, where it is kept. */
  readonly persistent: boolean
  readonly priority?: number
  /** Milliseconds. */
  readonly delay?: number
  readonly ttl?: number
  readonly correlationId?: string
  /** The replies of the line that it is sent on come back. */
  readonly asks?: boolean
}

export interface Arrived {
  /** The broker's own. */
  readonly messageId: string
  /** Of the topic or queue. */
  readonly name: string
  readonly body: Buffer
  readonly type: BodyType | undefined
  /** Ours among them, the broker's own not. */
  readonly headers: Headers
  readonly priority: number
  /** How often it was handed out before; `some`: it was, and nobody knows how often. */
  readonly before: number | 'some'
  readonly correlationId: string | undefined
  readonly replyTo: string | undefined
  /** Resolves when the broker knows that it is done; of a window, when it was told, and knows it before anything that is asked later. Rejects when the line is lost. */
  accept(): Promise<void>
  /** Back to the broker, which counts it. */
  release(): void
}

export interface Receiver {
  /** At most so many are here that were not accepted. */
  want(most: number): void
  /** Nothing comes after it resolves; what came can be accepted. */
  close(): Promise<void>
}

export interface Receiving {
  readonly from: Place
  /** How many are here at most; without it none, until they are wanted. */
  readonly window?: number
  /** Of JMS; only what it says is taken. */
  readonly selector?: string
  readonly arrived: (message: Arrived) => void
  /** The broker ended it, or the line is lost. */
  readonly ended: (reason: TalkwireError) => void
}

export interface Line {
  /** Resolves when the broker has it. */
  send(sent: Sent): Promise<void>
  receive(receiving: Receiving): Promise<Receiver>
  /** The first of what is in a queue; they stay there. */
  browse(queue: string, limit: number): Promise<readonly Arrived[]>
  /** Replies to what is sent on this line with `asks`. Resolves when they would come. */
  hear(reply: (arrived: Arrived) => void): Promise<void>
  /** What was sent is confirmed first. */
  close(): Promise<void>
  abort(): void
}

/** Says once that it is lost, unless it was closed or aborted. */
export type Dial = (signal: AbortSignal | undefined, lost: (cause: TalkwireError) => void) => Promise<Line>

/** Selectors of JMS take no other names than those that Java would. */
export const ID = 'talkwire_id'
export const ATTEMPT = 'talkwire_attempt'
export const REASON = 'talkwire_reason'
export const MORE = 'talkwire_more'
/** Of what we say to ourselves. */
export const FENCE = 'talkwire_fence'
const OURS = /^talkwire_(id|attempt|reason|more|fence)$/

/** What a program that subscribed sees. */
export const ownHeaders = (headers: Headers): Headers =>
  Object.fromEntries(Object.entries(headers).filter(([name]) => !OURS.test(name) && name !== '__proto__'))

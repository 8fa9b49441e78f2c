/** talkwire/hub: messaging among many. Topics, queues, state, leases; embedded, or on a broker. */
export { openHub, type Hub, type HubOptions } from './hub.js'
export {
  HUB_TRAITS,
  type BodyType,
  type Headers,
  type HubChange,
  type HubTrait,
  type LeaseHolder,
  type QueueCounts,
  type Revision,
} from './driver.js'
export type {
  Message,
  RequestOptions,
  Responder,
  Subscription,
  Topic,
  TopicOptions,
  TopicPublishOptions,
  TopicSubscribeOptions,
  GatherOptions,
  RespondOptions,
} from './topics.js'
export type { Job } from './attempt.js'
export type { Listener } from './handing.js'
export type { Backoff, ConsumeOptions, DeadLetter, PushOptions, Queue, QueueOptions, Worker } from './queues.js'
export type { Rate } from './pace.js'
export type { SlowPolicy } from './inbox.js'
export type { State, StateChange, StateOptions, StateWrite, Value, Watch } from './state.js'
export type { AcquireOptions, Counter, Grant, Lease, LeaseOptions } from './leases.js'
export type { ValueOptions } from './values.js'
export type { Instance, Registrable, RegisterOptions, Registration } from './discovery.js'
export type { Handler, HandleOptions, Intent, Intents, SendOptions } from './intents.js'
export type { HubServeOptions, RunningHub } from './embedded/serve.js'
export { hubContract } from './contract.js'

/** As in embedded/serve.ts; loaded by whoever runs a hub, not by its clients. */
export const serveHub: typeof import('./embedded/serve.js').serveHub = async (...args) =>
  (await import('./embedded/serve.js')).serveHub(...args)

/** `talkwire/queues`: the kernel's message queues, shared with programs in any language. */
export { PosixQueue, type PosixQueueOptions, type QueueMessage, type QueueSendOptions } from './posix-queue.js'
export {
  SystemVQueue,
  type SystemVQueueOptions,
  type TypedMessage,
  type TypedReceiveOptions,
  type TypedSendOptions,
} from './system-v-queue.js'
export type { SystemVQueueState } from '../kernel/system-v-queue.js'
export type { SystemVPlace } from '../memory/system-v.js'
export type { QueueWaitOptions } from './looking.js'
export { abandonedQueues, cleanQueues, type AbandonedQueue } from './records.js'

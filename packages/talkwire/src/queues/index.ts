/** `talkwire/queues`: the kernel's message queues, shared with programs in any language. */
export { PosixQueue, type PosixQueueOptions, type QueueMessage, type QueueSendOptions } from './posix-queue.js'
export type { QueueWaitOptions } from './looking.js'
export { abandonedQueues, cleanQueues, type AbandonedQueue } from './records.js'

/** `talkwire/memory`: memory that several processes share. */
export { MappedFile, type MappedFileOptions } from './mapped-file.js'
export { SharedMemory, type CreateOptions, type OpenOptions, type SegmentInfo } from './shared-memory.js'
export type { ViewConstructor } from './view.js'
export { SystemVMemory, type SystemVOptions } from './system-v.js'
export type { SystemVSegment } from '../kernel/system-v-memory.js'

export { Ring, type RingOptions } from './ring.js'
export { FULL, type Producer } from './producer.js'
export type { Consumer, Handler } from './consumer.js'
export { ringBytes } from './ring-layout.js'
export type { RingData, RingPlace } from './ring-place.js'
export type { SyncWaitOptions, Wait, WaitOptions } from './ring-waiting.js'

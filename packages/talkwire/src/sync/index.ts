/** `talkwire/sync`: locks between processes. */
export { Lock, Mutex, type MutexOptions } from './mutex.js'
export type { LockInfo, Party } from './inspect.js'
export type { LockPlace } from './place.js'
export type { WaitOptions } from './tasks.js'

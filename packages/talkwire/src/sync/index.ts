/** `talkwire/sync`: locks between processes. */
export { FileLock, type FileLockInfo, type FileLockOptions, type SharedWaitOptions } from './file-lock.js'
export type { Grant } from './grant.js'
export { LockFile, type FileGrant, type LockFileInfo } from './lock-file.js'
export { Lock, Mutex, type MutexOptions } from './mutex.js'
export type { LockInfo, Party } from './inspect.js'
export type { LockPlace } from './place.js'
export type { WaitOptions } from './tasks.js'

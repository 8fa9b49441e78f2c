/** What the kernel refuses, in Talkwire's words. */
import { TalkwireError, type Code } from '../error.js'

/** What an error of `fs` is called here, and what to do. */
export type Refusals = Readonly<Record<string, readonly [code: Code, advice: string]>>

const CODES: Refusals = {
  ENOENT: ['NOT_FOUND', 'it is not there (any more)'],
  EEXIST: ['ALREADY_EXISTS', 'it exists; open it, or take another name'],
  EACCES: ['PERMISSION_DENIED', 'its mode does not let this user in; its maker sets it with { mode }'],
  EPERM: ['PERMISSION_DENIED', 'this user may not do that'],
  ELOOP: ['PERMISSION_DENIED', 'it is a symbolic link; links are not followed'],
  ENOLCK: ['UNSUPPORTED', 'this file system has no such locks; take LockFile'],
  EOPNOTSUPP: ['UNSUPPORTED', 'this file system cannot do that'],
  ENOSPC: ['NO_SPACE', 'there is no room; free some (talkwire doctor --clean, or unlink what is not needed), or enlarge the file system'],
  EDQUOT: ['NO_SPACE', 'the quota is used up'],
  ENOMEM: ['NO_SPACE', 'there is not enough memory'],
  EOVERFLOW: ['LIMIT_EXCEEDED', 'it has as many permits as it can have'],
  ERANGE: ['LIMIT_EXCEEDED', 'it has as many permits as it can have'],
  EIDRM: ['NOT_FOUND', 'it was removed'],
  EFBIG: ['NO_SPACE', 'it is larger than files may be here'],
  EMFILE: ['LIMIT_EXCEEDED', 'this process has too many files open; close some, or raise ulimit -n'],
  EISDIR: ['INVALID_MEMORY', 'it is a directory'],
  ENOTDIR: ['NOT_FOUND', 'what stands before the last "/" is no directory'],
  ENXIO: ['INVALID_MEMORY', 'it is a pipe, a socket or a device; only regular files can be mapped'],
  ENODEV: ['INVALID_MEMORY', 'files of this file system cannot be mapped'],
  ENAMETOOLONG: ['INVALID_ADDRESS', 'its name is too long'],
  EROFS: ['PERMISSION_DENIED', 'its file system is read-only; open it with { readOnly: true }'],
  ENFILE: ['LIMIT_EXCEEDED', 'this machine has too many files open'],
}

/** EINVAL is the kernel's word for an id of System V that nothing has any more. */
export const REMOVED: Refusals = { EINVAL: ['NOT_FOUND', 'it was removed'] }

/** Runs it; what the kernel throws becomes a TalkwireError that names `subject` and says what to do. `special`: what means something else here. */
export function memoryError<T>(subject: string, action: () => T, special: Refusals = {}): T {
  try {
    return action()
  } catch (reason) {
    const code = (reason as NodeJS.ErrnoException).code
    const [known, advice] = (code !== undefined && (special[code] ?? CODES[code])) || []
    if (!known) throw reason
    throw new TalkwireError(known, `${subject}: ${advice}`, { cause: reason })
  }
}

/** Undefined in place of an error with that code. */
export function unless<T>(code: string, action: () => T): T | undefined {
  try {
    return action()
  } catch (reason) {
    if (reason instanceof TalkwireError && reason.code === code) return undefined
    throw reason
  }
}

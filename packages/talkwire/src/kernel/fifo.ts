/** mkfifo(3). Without koffi by the program of that name. */
import { spawnSync } from 'node:child_process'
import { TalkwireError } from '../error.js'
import { errno, libc, systemError } from './libc.js'

let native: ((path: string, mode: number) => number) | undefined

/** Makes a named pipe that only we may use. Throws as `fs` does (with a `code`), or UNSUPPORTED. Blocks for a moment without koffi. */
export function makeFifo(path: string): void {
  if (process.platform === 'win32') throw unsupported()
  native ??= libc()?.func('int mkfifo(const char *path, unsigned int mode)') as typeof native
  if (native) {
    if (native(path, 0o600) !== 0) throw systemError('mkfifo', errno(), path)
    return
  }
  const { error, status, stderr } = spawnSync('mkfifo', ['-m', '600', path], { encoding: 'utf8' })
  if (error) throw unsupported(error)
  if (status !== 0)
    throw Object.assign(new Error(stderr.trim()), { code: /exists/.test(stderr) ? 'EEXIST' : 'EACCES', syscall: 'mkfifo', path })
}

const unsupported = (cause?: unknown): TalkwireError =>
  new TalkwireError('UNSUPPORTED', 'named pipes cannot be made here; install koffi, or take unix:', { cause })

/** The only door to native functions: libc through koffi, which is optional and loaded on first use. */
import { createRequire } from 'node:module'
import { getSystemErrorName } from 'node:util'
import { TalkwireError } from '../error.js'

/** The part of koffi that is used here. */
export interface NativeLibrary {
  func(prototype: string): (...args: any[]) => any
}

interface Koffi {
  load(path: string | null): NativeLibrary
  errno(): number
  view(address: bigint, length: number): ArrayBuffer
}

let koffi: Koffi | undefined
let library: NativeLibrary | undefined | null = null

/** The C library, or undefined where koffi is not installed or has no build for this machine. */
export function libc(): NativeLibrary | undefined {
  if (library === null) library = load()
  return library
}

function load(): NativeLibrary | undefined {
  try {
    koffi = createRequire(import.meta.url)('koffi') as Koffi
    return koffi.load(null)
  } catch {
    return undefined
  }
}

/** Whether what needs `linuxLibc` works here. */
export const hasLinuxLibc = (): boolean => process.platform === 'linux' && libc() !== undefined

/** The C library of a Linux machine, for `what` ("shared memory"). Throws UNSUPPORTED or MISSING_PACKAGE. */
export function linuxLibc(what: string): NativeLibrary {
  if (process.platform !== 'linux')
    throw new TalkwireError('UNSUPPORTED', `${what} needs Linux; take a socket (unix:, tcp:) between processes here`)
  const found = libc()
  if (!found)
    throw new TalkwireError(
      'MISSING_PACKAGE',
      `${what} needs koffi, which is not installed or has no build for this machine; npm install koffi, or take unix:`,
    )
  return found
}

/** Errors that libuv, and so Node, has no name for. */
const UNNAMED: Readonly<Record<number, string>> = { 42: 'ENOMSG', 43: 'EIDRM' }

/** Why the last native call failed, as in `fs` errors: `ENOENT`. Ask in the same turn. */
export function errno(): string {
  const number = koffi!.errno()
  return (process.platform === 'linux' && UNNAMED[number]) || getSystemErrorName(-number)
}

/** An error as `fs` throws it, from `errno()`. */
export function systemError(syscall: string, code: string, path?: string): NodeJS.ErrnoException {
  const text = path === undefined ? `${syscall}: ${code}` : `${syscall} ${path}: ${code}`
  return Object.assign(new Error(text), { code, syscall, ...(path !== undefined && { path }) })
}

/** Repeats a call that a signal interrupted: signal(7). Throws as `fs` does. */
export const restarting = (syscall: string, call: () => number, path?: string): number => repeat(syscall, call, [], path)!

/** The same, for what is not to wait: undefined where it would have to, which `busy` are the errors of. */
export const unlessBusy = (syscall: string, call: () => number, busy: readonly string[] = EAGAIN): number | undefined =>
  repeat(syscall, call, busy)

const EAGAIN = ['EAGAIN']

function repeat(syscall: string, call: () => number, busy: readonly string[], path?: string): number | undefined {
  for (;;) {
    const result = call()
    if (result >= 0) return result
    const code = errno()
    if (busy.includes(code)) return undefined
    if (code !== 'EINTR') throw systemError(syscall, code, path)
  }
}

/** The bytes at an address, without a copy. The caller keeps them mapped while anybody can reach the buffer. */
export const viewOf = (address: bigint, length: number): ArrayBuffer => koffi!.view(address, length)

/** The only door to native functions: libc through koffi, which is optional and loaded on first use. */
import { createRequire } from 'node:module'
import { getSystemErrorName } from 'node:util'

/** The part of koffi that is used here. */
export interface NativeLibrary {
  func(prototype: string): (...args: any[]) => any
}

interface Koffi {
  load(path: string | null): NativeLibrary
  errno(): number
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

/** Why the last native call failed, as in `fs` errors: `ENOENT`. Ask in the same turn. */
export const errno = (): string => getSystemErrorName(-koffi!.errno())

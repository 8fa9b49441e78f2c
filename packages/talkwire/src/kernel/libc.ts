/** The only door to native functions: libc through koffi, which is optional and loaded on first use. */
import { createRequire } from 'node:module'

/** The part of koffi that is used here. */
export interface NativeLibrary {
  func(prototype: string): (...args: any[]) => any
}

let library: NativeLibrary | undefined | null = null

/** The C library, or undefined where koffi is not installed or has no build for this machine. */
export function libc(): NativeLibrary | undefined {
  if (library === null) library = load()
  return library
}

function load(): NativeLibrary | undefined {
  try {
    const koffi = createRequire(import.meta.url)('koffi') as { load(path: string | null): NativeLibrary }
    return koffi.load(null)
  } catch {
    return undefined
  }
}

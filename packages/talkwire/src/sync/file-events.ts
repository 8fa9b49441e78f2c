/**
 * Waiting until something happens to a file. Where the kernel cannot tell (limits, file systems of
 * other machines, no koffi), nothing is told.
 */
import { closeSync } from 'node:fs'
import { duplicate } from '../kernel/descriptors.js'
import { addWatch, createInotify, removeWatch, watchesIn } from '../kernel/inotify.js'
import { libc } from '../kernel/libc.js'
import { drain, readerOf, waitReadable } from '../kernel/waiting.js'

let shared: number | undefined
const listeners = new Map<number, Set<() => void>>()

/** Calls back in the event loop. Returns what ends that. It does not keep the process alive. */
export function onFileEvent(path: string, mask: number, changed: () => void): () => void {
  const fd = sharedInotify()
  const watch = fd === undefined ? undefined : addWatch(fd, path, mask)
  if (fd === undefined || watch === undefined) return () => {}
  const those = listeners.get(watch) ?? new Set()
  listeners.set(watch, those.add(changed))
  return () => {
    those.delete(changed)
    if (those.size > 0 || !listeners.delete(watch)) return
    removeWatch(fd, watch)
  }
}

/** One for all files of this thread: a user has few of them. */
function sharedInotify(): number | undefined {
  if (shared !== undefined || process.platform !== 'linux' || !libc()) return shared
  const fd = createInotify()
  // The reader takes its descriptor over; watches are added by the other one.
  const read = fd === undefined ? undefined : duplicate(fd)
  if (fd === undefined || read === undefined) {
    if (fd !== undefined) closeSync(fd)
    return undefined
  }
  try {
    readerOf(read, tell).unref()
  } catch {
    closeSync(read)
    closeSync(fd)
    return undefined
  }
  return (shared = fd)
}

function tell(bytes: number, buffer: Uint8Array): void {
  for (const watch of watchesIn(buffer, bytes)) {
    // A listener may end its watch and begin it anew, and would be the next one again.
    const those = Array.from(listeners.get(watch) ?? [])
    for (const listener of those) listener()
  }
}

/** For threads that block. */
export class FileEvents {
  private readonly fd = createInotify()

  constructor(path: string, mask: number) {
    if (this.fd !== undefined) addWatch(this.fd, path, mask)
  }

  /** Blocks this thread until something happened, for at most so many milliseconds. */
  wait(milliseconds: number): boolean {
    const told = waitReadable(this.fd === undefined ? [] : [this.fd], milliseconds) !== undefined
    if (told) drain(this.fd!)
    return told
  }

  end(): void {
    if (this.fd !== undefined) closeSync(this.fd)
  }
}

/**
 * How somebody who waits is woken: by a byte in a pipe of its process, which others open below /proc. Nothing is left in any
 * file system, the event loop watches it, and it costs nothing while nobody rings. spec/sync.md § 4.
 */
import { closeSync, constants, fstatSync, openSync, writeSync } from 'node:fs'
import type net from 'node:net'
import { drain, makePipe, readPipe, waitReadable } from '../kernel/waiting.js'
import { idOf, isAlive } from './owner.js'

let pipe: { readonly read: number; readonly write: number } | undefined
let reader: net.Socket | undefined
/** And whether they keep this process alive. */
const waiters = new Map<() => void, boolean>()
let lasting = 0

/** The descriptor that others find below /proc/<id>/fd. The write end stays open too: without one it would be at its end. */
export function bellDescriptor(): number {
  return (pipe ??= makePipe()).read
}

/**
 * Calls `wake` whenever somebody rang, for whatever reason. Keeps this process alive, unless told not to; a second call for the
 * same one says so anew. Returns what ends it.
 */
export function onBell(wake: () => void, keepsAlive = true): () => void {
  reader ??= readPipe(bellDescriptor(), wakeAll).unref()
  note(wake, keepsAlive)
  return () => {
    note(wake, false)
    waiters.delete(wake)
  }
}

function note(wake: () => void, keepsAlive: boolean): void {
  if (waiters.get(wake)) lasting--
  waiters.set(wake, keepsAlive)
  if (keepsAlive) lasting++
  if (lasting > 0) reader!.ref()
  else reader!.unref()
}

function wakeAll(): void {
  // Who is woken may lie down again at once: it is then the last, and not to be woken by the same ring.
  let left = waiters.size
  for (const waiter of waiters.keys()) {
    if (left-- === 0) return
    waiter()
  }
}

/** Blocks this thread until somebody rang, `also` is readable, or so many milliseconds have passed. True when somebody rang. */
export function waitForBell(also: number | undefined, milliseconds: number): boolean {
  const bell = bellDescriptor()
  const rung = waitReadable(also === undefined ? [bell] : [bell, also], milliseconds) === bell
  if (rung) drain(bell)
  // It may have been meant for those who wait in the event loop.
  if (rung && waiters.size > 0) setImmediate(wakeAll)
  return rung
}

/** Open bells of others, the one that was rung longest ago first. */
const bells = new Map<string, number>()
const MOST_BELLS = 64

/** Wakes whoever waits over there. False when that cannot be done. Does not block. */
export function ring(owner: bigint, descriptor: number): boolean {
  const key = `${owner}/${descriptor}`
  const fd = bells.get(key) ?? openBell(owner, descriptor)
  if (fd === undefined) return false
  bells.delete(key)
  try {
    writeSync(fd, '.')
  } catch (reason) {
    const { code } = reason as NodeJS.ErrnoException
    // A full pipe has rung often enough.
    if (code !== 'EAGAIN') {
      closeSync(fd)
      if (code === 'EPIPE') return false
      throw reason
    }
  }
  bells.set(key, fd)
  if (bells.size > MOST_BELLS) forgetOldest()
  return true
}

function forgetOldest(): void {
  const [key, fd] = bells.entries().next().value!
  bells.delete(key)
  closeSync(fd)
}

/** Only a pipe of exactly that process: by the time it is open, the id could have been somebody else's. */
function openBell(owner: bigint, descriptor: number): number | undefined {
  let fd: number
  try {
    fd = openSync(`/proc/${idOf(owner)}/fd/${descriptor}`, constants.O_WRONLY | constants.O_NONBLOCK)
  } catch {
    // Gone, or not to be had at the moment: whoever waits there looks by itself now and then.
    return undefined
  }
  if (fstatSync(fd).isFIFO() && isAlive(owner)) return fd
  closeSync(fd)
  return undefined
}

/**
 * Who holds or waits for something, as one word of 64 bits: the id of a process (of a worker: of its thread) and when that
 * began. One store says all of it, so that an owner is never half known; a new process with the same id is another owner.
 * spec/sync.md § 2.
 */
import { readlinkSync } from 'node:fs'
import { processStat } from '../discovery/identity.js'

/** Nobody. */
export const NOBODY = 0n

/** Bits of the start time, in ticks since the boot: field 22 of /proc/<id>/stat. The id has the 22 bits above them. */
const START_BITS = 42n
const START_MASK = (1n << START_BITS) - 1n

const encode = (id: number, start: string): bigint => BigInt.asIntN(64, (BigInt(id) << START_BITS) | (BigInt(start) & START_MASK))

/** The id of the process, or of the worker's thread. */
export const idOf = (owner: bigint): number => Number(BigInt.asUintN(64, owner) >> START_BITS)

let own: bigint | undefined

/** This thread, as an owner. */
export function self(): bigint {
  if (own === undefined) {
    // Of the main thread it is the process's.
    const id = Number(/\d+$/.exec(readlinkSync('/proc/thread-self'))![0])
    own = encode(id, processStat(id)!.start)
  }
  return own
}

/** Whether it is at work, or would be if it had a processor; one that is stopped or sleeps is not. Reads a file below /proc. */
export const isBusy = (owner: bigint): boolean => ['R', 'D'].includes(processStat(idOf(owner))?.state ?? '')

/** Whether it still runs; one that is stopped does, a zombie does not. Reads a file below /proc. */
export function isAlive(owner: bigint): boolean {
  const id = idOf(owner)
  const stat = processStat(id)
  return stat !== undefined && stat.state !== 'Z' && stat.state !== 'X' && encode(id, stat.start) === owner
}

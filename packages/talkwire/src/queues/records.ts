/**
 * Which process has made a queue, in a file of the runtime directory: the kernel's queues outlive their makers, and do not say who
 * they were. Written before the queue is made, so that a crash leaves no queue without one. spec/queues.md § 4.
 */
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ownIdentity } from '../discovery/identity.js'
import { runtimeDirectory } from '../discovery/names.js'
import { TalkwireError } from '../error.js'
import { exclusively } from '../memory/guard.js'
import { idOf, isAlive, self } from '../memory/owner.js'
import { changing } from '../memory/store.js'
import { KINDS, type QueueKind } from './kinds.js'

interface QueueRecord {
  readonly talkwire: 1
  /** As in spec/sync.md § 2, in decimal digits. */
  readonly owner: string
  readonly boot: string | null
  readonly pidns: string | null
  /** What the kernel calls the queue; null while it is being made. */
  readonly identity: string | null
  /** Of its maker; null where nobody needs to ring. */
  readonly bell: number | null
}

/** Made if need be. Throws PERMISSION_DENIED. */
function directory(): string {
  const path = join(runtimeDirectory(), 'queues')
  mkdirSync(path, { mode: 0o700, recursive: true })
  return path
}

const pathOf = (kind: string, name: string): string => join(directory(), `${kind}-${name}`)

/** Undefined when there is none, or none that was finished. */
function read(path: string): QueueRecord | undefined {
  try {
    const record = JSON.parse(readFileSync(path, 'utf8')) as QueueRecord
    return record.talkwire === 1 && /^\d{1,20}$/.test(record.owner) ? record : undefined
  } catch {
    return undefined
  }
}

function write(path: string, { bell }: QueueKind, identity: string | null): void {
  const { boot, pidns } = ownIdentity()
  const record: QueueRecord = { talkwire: 1, owner: String(BigInt.asUintN(64, self())), boot, pidns, identity, bell: bell?.() ?? null }
  // One at a time writes: see `exclusively`.
  const temporary = join(directory(), '.new')
  writeFileSync(temporary, JSON.stringify(record), { mode: 0o600 })
  renameSync(temporary, path)
}

const ownerOf = ({ owner }: QueueRecord): bigint => BigInt.asIntN(64, BigInt(owner))

/** In another name space of processes nobody can know: it is taken for alive. */
const lives = (record: QueueRecord): boolean =>
  record.boot === ownIdentity().boot && (record.pidns !== ownIdentity().pidns || isAlive(ownerOf(record)))

/** The living process, or worker's thread, that made a queue, and its bell. */
export function makerOf({ kind }: QueueKind, name: string): { readonly owner: bigint; readonly bell: number | undefined } | undefined {
  const record = read(pathOf(kind, name))
  return record && lives(record) ? { owner: ownerOf(record), bell: record.bell ?? undefined } : undefined
}

/**
 * Makes a queue that goes with this process: `make` is called when nobody living has one of ours under that name, and what a
 * dead one left is gone. Throws ADDRESS_IN_USE; what `make` throws.
 */
export function makeRecorded<T>(kind: QueueKind, name: string, make: () => T): T {
  const path = pathOf(kind.kind, name)
  return exclusively(() => {
    const record = read(path)
    if (record && lives(record)) throw inUse(kind, name, idOf(ownerOf(record)))
    if (record) takeAway(kind, name, record)
    changing()
    write(path, kind, null)
    changing()
    const made = orForget(path, make)
    changing()
    write(path, kind, kind.identityOf(name) ?? null)
    return made
  })
}

function orForget<T>(path: string, make: () => T): T {
  try {
    return make()
  } catch (reason) {
    rmSync(path, { force: true })
    throw reason
  }
}

const inUse = ({ kind }: QueueKind, name: string, pid: number): TalkwireError =>
  new TalkwireError('ADDRESS_IN_USE', `${kind}:${name} is served by the living process ${pid}; end it or choose another name`, {
    details: { pid },
  })

/** Another program may have made another queue under the name since. */
function takeAway(kind: QueueKind, name: string, { boot, identity }: QueueRecord): void {
  if (boot === ownIdentity().boot && (identity === null || kind.identityOf(name) === identity)) kind.remove(name)
}

/** Takes away a queue that this process, or its peer, made with `makeRecorded`. */
export function removeRecorded(kind: QueueKind, name: string, remove = (each: string): void => kind.remove(each)): void {
  changing()
  remove(name)
  changing()
  try {
    rmSync(pathOf(kind.kind, name), { force: true })
  } catch {
    // The directory is gone, and the record with it.
  }
}

export interface AbandonedQueue {
  /** The scheme of the address that it was for: `mq` or `sysv`. */
  readonly kind: string
  readonly name: string
  /** The process that made it, and is dead. */
  readonly pid: number
}

/** Queues of services and connections whose makers are dead. */
export const abandonedQueues = (): AbandonedQueue[] =>
  readdirSync(directory()).flatMap((file) => {
    const [, kind, name] = /^([a-z]+)-(.+)$/.exec(file) ?? []
    const record = kind === undefined ? undefined : read(join(directory(), file))
    return !record || lives(record) ? [] : [{ kind: kind!, name: name!, pid: idOf(ownerOf(record)) }]
  })

/** Takes them away, never what a living process has. Returns what was taken away. Throws UNAVAILABLE when a process that does so is stopped. */
export function cleanQueues(): AbandonedQueue[] {
  // Mostly there are none, and then nobody needs to wait for anybody.
  if (abandonedQueues().length === 0) return []
  return exclusively(() => abandonedQueues().filter(clean))
}

function clean({ kind: word, name }: AbandonedQueue): boolean {
  const kind = KINDS.find((each) => each.kind === word)
  const record = kind && read(pathOf(word, name))
  if (!kind || !record) return false
  try {
    takeAway(kind, name, record)
    changing()
    rmSync(pathOf(word, name), { force: true })
    return true
  } catch {
    // Another user's by now.
    return false
  }
}

/** Where a lock lives: in a segment of its own, by name, or in memory that the caller shares. */
import { validateName } from '../address.js'
import { TalkwireError } from '../error.js'
import { tryFlock, unlockFlock } from '../kernel/mapping.js'
import { NOBODY } from '../memory/owner.js'
import { SharedMemory } from '../memory/shared-memory.js'
import { swap } from '../memory/store.js'
import { bytesOf, KIND, kindWord, LABEL, LOCK_ALIGNMENT, LONG, WORD, type Kind } from './lock-layout.js'
import { isCounting } from './permits.js'
import type { Words } from './queue.js'

/** Room for a lock in shared memory. The bytes were zeros when the first one came. */
export interface LockPlace {
  readonly memory: SharedMemory
  /** Bytes from its start; a multiple of 8. Default 0. */
  readonly offset?: number
}

/** One lock, as this thread has it open. */
export interface Block extends Words {
  readonly title: string
  readonly label: Uint8Array
}

/** Locks by name, and in memory. Never closed: a page in which somebody dies must not become another one's. */
const named = new Map<string, { block: Block; memory: SharedMemory; kind: Kind }>()
const placed = new WeakMap<SharedMemory, Map<number, Block>>()
const kept = new Set<Block>()

/** The word of a block that all who use it must agree on, such as the number of permits. The first one sets it. */
export function agree(block: Block, index: number, value: number, what: string): void {
  const there = Atomics.load(block.word, index)
  if (there === value || (there === 0 && (swap(block.word, index, 0, value) || Atomics.load(block.word, index) === value))) return
  throw new TalkwireError(
    'INVALID_MEMORY',
    `${block.title} has ${Atomics.load(block.word, index)} ${what}, not ${value}; say the same everywhere, or take another name`,
  )
}

/** Throws INVALID_ADDRESS, INVALID_MEMORY, NO_SPACE, PERMISSION_DENIED, MISSING_PACKAGE; RangeError and TypeError for a wrong place. */
export function openLock(kind: Kind, place: string | LockPlace): Block {
  return typeof place === 'string' ? byName(kind, validateName(place)) : inMemory(kind, place)
}

function byName(kind: Kind, name: string): Block {
  const segment = segmentOf(kind, name)
  const known = named.get(segment)
  if (known) return known.block
  const memory = SharedMemory.openOrCreate(segment, bytesOf(kind), { persist: true })
  const block = blockIn(kind, memory, 0, `${kind} ${name}`)
  beKind(block, kind, block.title)
  named.set(segment, { block, memory, kind })
  return block
}

/** Its own per user: others have no part in it. */
export const segmentOf = (kind: Kind, name: string): string => `talkwire-${process.getuid?.() ?? 0}-${kind}-${name}`

/** Which lock, of whichever user, a segment has by its name. */
export function parseSegmentName(segment: string): { readonly kind: Kind; readonly name: string } | undefined {
  const [, kind, name] = /^talkwire-\d+-([a-z]+)-(.+)$/.exec(segment) ?? []
  return kind !== undefined && Object.hasOwn(KIND, kind) ? { kind: kind as Kind, name: name! } : undefined
}

/** Takes the name away. Who has it open keeps the old one: for locks that nobody uses any more. Throws NOT_FOUND, PERMISSION_DENIED. */
export const unlinkLock = (kind: Kind, name: string): void => SharedMemory.unlink(segmentOf(kind, validateName(name)))

function inMemory(kind: Kind, { memory, offset = 0 }: LockPlace): Block {
  if (!(memory instanceof SharedMemory)) throw new TypeError('a lock is placed by a name or by { memory, offset }')
  if (offset % LOCK_ALIGNMENT !== 0) throw new RangeError(`offset ${offset} of a lock: take a multiple of ${LOCK_ALIGNMENT}`)
  const blocks = placed.get(memory) ?? new Map<number, Block>()
  placed.set(memory, blocks)
  const title = `${kind} at byte ${offset} of ${memory.path}`
  const block = blocks.get(offset) ?? blockIn(kind, memory, offset, title)
  beKind(block, kind, title)
  blocks.set(offset, block)
  return block
}

function beKind({ word }: Block, kind: Kind, title: string): void {
  const wanted = kindWord(kind)
  if (Atomics.load(word, WORD.kind) === wanted || swap(word, WORD.kind, 0, wanted) || Atomics.load(word, WORD.kind) === wanted) return
  throw new TalkwireError(
    'INVALID_MEMORY',
    `there is no ${kind} (of this version) in the memory of ${title}; unlink it, or take another place`,
  )
}

function blockIn(kind: Kind, memory: SharedMemory, offset: number, title: string): Block {
  const bytes = bytesOf(kind)
  const block: Block = {
    title,
    word: memory.array(Int32Array, offset, bytes / 4),
    long: memory.array(BigInt64Array, offset, bytes / 8),
    float: memory.array(Float64Array, offset, bytes / 8),
    label: memory.array(Uint8Array, offset + LABEL.offset, LABEL.size),
  }
  kept.add(block)
  return block
}

/** Kinds that say something even when nobody uses them: they stay until they are unlinked. */
const LASTING: ReadonlySet<Kind> = new Set(['event', 'once'])

/** A process that ends by itself takes away what nobody else has open and nobody holds. */
process.prependListener('exit', () => {
  for (const { block, memory, kind } of named.values()) {
    // Two that end at the same time must not each leave it to the other.
    unlockFlock(memory.fd)
    if (!LASTING.has(kind) && isIdle(block) && tryFlock(memory.fd, true)) memory.unlink()
  }
})

/** Nobody has it, and nobody is to be told anything. Slots do not count: they are of processes that have it open. */
export const isIdle = (words: Words): boolean =>
  Atomics.load(words.long, LONG.owner) === NOBODY && Atomics.load(words.word, WORD.damaged) === 0 && !isCounting(words)

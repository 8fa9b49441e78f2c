/** Where a lock lives: in a segment of its own, by name, or in memory that the caller shares. */
import { validateName } from '../address.js'
import { TalkwireError } from '../error.js'
import { tryFlock, unlockFlock } from '../kernel/mapping.js'
import { SharedMemory } from '../memory/shared-memory.js'
import { swap } from '../memory/store.js'
import { kindWord, LABEL, LOCK_ALIGNMENT, LOCK_BYTES, LONG, WORD, type Kind } from './lock-layout.js'
import { NOBODY } from '../memory/owner.js'
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
const named = new Map<string, { block: Block; memory: SharedMemory }>()
const placed = new WeakMap<SharedMemory, Map<number, Block>>()
const kept = new Set<Block>()

/** Throws INVALID_ADDRESS, INVALID_MEMORY, NO_SPACE, PERMISSION_DENIED, MISSING_PACKAGE; RangeError and TypeError for a wrong place. */
export function openLock(kind: Kind, place: string | LockPlace): Block {
  return typeof place === 'string' ? byName(kind, validateName(place)) : inMemory(kind, place)
}

function byName(kind: Kind, name: string): Block {
  const segment = segmentOf(kind, name)
  const known = named.get(segment)
  if (known) return known.block
  const memory = SharedMemory.openOrCreate(segment, LOCK_BYTES, { persist: true })
  const block = blockIn(kind, memory, 0, `${kind} ${name}`)
  named.set(segment, { block, memory })
  return block
}

/** Its own per user: others have no part in it. */
const segmentOf = (kind: Kind, name: string): string => `talkwire-${process.getuid?.() ?? 0}-${kind}-${name}`

/** Takes the name away. Who has it open keeps the old one: for locks that nobody uses any more. Throws NOT_FOUND, PERMISSION_DENIED. */
export const unlinkLock = (kind: Kind, name: string): void => SharedMemory.unlink(segmentOf(kind, validateName(name)))

function inMemory(kind: Kind, { memory, offset = 0 }: LockPlace): Block {
  if (!(memory instanceof SharedMemory)) throw new TypeError('a lock is placed by a name or by { memory, offset }')
  if (offset % LOCK_ALIGNMENT !== 0) throw new RangeError(`offset ${offset} of a lock: take a multiple of ${LOCK_ALIGNMENT}`)
  const blocks = placed.get(memory) ?? new Map<number, Block>()
  placed.set(memory, blocks)
  let block = blocks.get(offset)
  if (!block) blocks.set(offset, (block = blockIn(kind, memory, offset, `${kind} at byte ${offset} of ${memory.path}`)))
  return block
}

function blockIn(kind: Kind, memory: SharedMemory, offset: number, title: string): Block {
  const block: Block = {
    title,
    word: memory.array(Int32Array, offset, LOCK_BYTES / 4),
    long: memory.array(BigInt64Array, offset, LOCK_BYTES / 8),
    float: memory.array(Float64Array, offset, LOCK_BYTES / 8),
    label: memory.array(Uint8Array, offset + LABEL.offset, LABEL.size),
  }
  const word = kindWord(kind)
  if (Atomics.load(block.word, WORD.kind) !== word && !swap(block.word, WORD.kind, 0, word) && Atomics.load(block.word, WORD.kind) !== word)
    throw new TalkwireError(
      'INVALID_MEMORY',
      `there is no ${kind} (of this version) in the memory of ${title}; unlink it, or take another place`,
    )
  kept.add(block)
  return block
}

/** A process that ends by itself takes away what nobody else has open and nobody holds. */
process.prependListener('exit', () => {
  for (const { block, memory } of named.values()) {
    const idle = Atomics.load(block.long, LONG.owner) === NOBODY && Atomics.load(block.word, WORD.damaged) === 0
    // Two that end at the same time must not each leave it to the other.
    unlockFlock(memory.fd)
    if (idle && tryFlock(memory.fd, true)) memory.unlink()
  }
})

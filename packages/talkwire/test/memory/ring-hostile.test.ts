/** Somebody who may write to a ring's memory writes anything: errors, lost counts and wrong messages may come of it, nothing else. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TalkwireError } from '../../src/error.js'
import type { Handler } from '../../src/memory/consumer.js'
import { RING_HEADER } from '../../src/memory/ring-layout.js'
import { Ring } from '../../src/memory/ring.js'
import { SharedMemory } from '../../src/memory/shared-memory.js'
import { CAPACITY, RING } from './rings.js'

const within: Handler = ({ bytes }, offset, length) => {
  if (!(offset >= 0 && length >= 0 && offset + length <= bytes.length && bytes.length === CAPACITY && offset % 8 === 0))
    throw new Error(`${length} bytes at ${offset}: outside`)
}

/** Anything may happen to a message; what throws says that the memory is wrong. */
function attempt(action: () => unknown): 'done' | 'refused' {
  try {
    action()
    return 'done'
  } catch (reason) {
    if (reason instanceof TalkwireError && reason.code === 'INVALID_MEMORY') return 'refused'
    throw reason
  }
}

/** Writes, reads, and comes back as a new one. What is broken is made anew. */
function use(memory: SharedMemory, producers: 'one' | 'many', rounds: number, change: () => void): { done: number; refused: number } {
  const counts = { done: 0, refused: 0 }
  const message = new Uint8Array(40)
  const bytes = memory.bytes
  for (let round = 0; round < rounds; round++) {
    const result = attempt(() => {
      const ring = new Ring({ memory }, { producers })
      using producer = ring.producer()
      using consumer = ring.consumer()
      for (let n = 0; n < 40; n++) {
        producer.tryWrite(message)
        if (n % 10 === 0) change()
        if (producer.tryClaim(n) >= 0) producer.abort()
        consumer.read(within)
      }
    })
    counts[result]++
    if (result === 'refused') bytes.fill(0)
  }
  return counts
}

for (const producers of ['one', 'many'] as const) {
  test(`${producers}: words are changed between two steps`, () => {
    using memory = SharedMemory.anonymous(RING.size)
    const words = memory.array(Int32Array)
    let seed = 7
    const random = (): number => (seed = (Math.imul(seed, 1103515245) + 12345) | 0) >>> 4
    const counts = use(memory, producers, 10_000, () => {
      for (let n = random() % 3; n > 0; n--) {
        // All but the seats, of which 120 that are taken are the only thing to see.
        const at = random() % 2 === 0 ? random() % 64 : RING_HEADER / 4 + (random() % (CAPACITY / 4))
        words[at] = random() % 3 === 0 ? random() | 0 : (random() % 512) * 8
      }
    })
    assert.ok(counts.refused > 100 && counts.done > 100, JSON.stringify(counts))
  })
}

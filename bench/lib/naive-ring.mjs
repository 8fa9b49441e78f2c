// The floor for rings: slots of 64 bytes, two counters, no checks, no death, no sleep. What the memory itself allows in JavaScript.
const SLOTS = 16_384
const TAIL = 0
const HEAD = 16
const DATA = 32

export const naiveBytes = 4 * (DATA + 16 * SLOTS)

/** @param {Int32Array} words */
export function naiveProducer(words) {
  let tail = 0
  let head = 0
  return {
    words,
    /** The index of a slot of 16 words, or -1. */
    claim() {
      if (tail - head === SLOTS && tail - (head = Atomics.load(words, HEAD)) === SLOTS) return -1
      return DATA + 16 * (tail & (SLOTS - 1))
    },
    commit() {
      Atomics.store(words, TAIL, ++tail)
    },
  }
}

/** @param {Int32Array} words */
export function naiveConsumer(words) {
  let tail = 0
  let head = 0
  return {
    /** @param {(words: Int32Array, at: number) => void} handler */
    read(handler) {
      tail = Atomics.load(words, TAIL)
      const count = tail - head
      for (; head !== tail; head++) handler(words, DATA + 16 * (head & (SLOTS - 1)))
      if (count > 0) Atomics.store(words, HEAD, head)
      return count
    },
  }
}

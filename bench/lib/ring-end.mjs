// One end of a ring in a process of its own: ring-end.mjs CASE WHO ROLE NAME COUNT. Sends what it measured to its parent.
import { connect, contract, rpc, serve } from 'talkwire'
import { BroadcastRing, Ring, SharedMemory } from 'talkwire/memory'
import { shm } from '../../packages/talkwire/dist/src/transports/shm.js'
import { naiveBytes, naiveConsumer, naiveProducer } from './naive-ring.mjs'

const [what, who, role, name, number] = process.argv.slice(2)
const count = Number(number)
const memory = SharedMemory.open(name)
const half = memory.size / 2
/** How far each reader of a broadcast is; behind both rings' data nothing else is. */
const NOTES = memory.size - 64
const notes = memory.array(Int32Array, NOTES, 16)
/** A writer of a broadcast is never further ahead than this, so that nothing is lost. */
const AHEAD = 30_000

/** @param {number} offset */
const words = (offset) => memory.array(Int32Array, offset, naiveBytes / 4)
/** @param {number} offset */
const ring = (offset) => new Ring({ memory, offset, size: half - 64 })

/** Sixteen words a message: a number, and what follows from it. @param {Int32Array} to @param {number} at @param {number} n */
function fill(to, at, n) {
  for (let k = 0; k < 16; k++) to[at + k] = n + k
}

/** @param {number} offset @returns {{ write(n: number, more: boolean): boolean }} */
function writer(offset) {
  if (who === 'naive') {
    const producer = naiveProducer(words(offset))
    return {
      write(n) {
        const at = producer.claim()
        if (at < 0) return false
        fill(producer.words, at, n)
        producer.commit()
        return true
      },
    }
  }
  const producer = ring(offset).producer()
  return {
    write(n, more) {
      const at = producer.tryClaim(64)
      if (at < 0) return false
      fill(producer.data.words, at >> 2, n)
      producer.commit(more)
      return true
    },
  }
}

let next = 0
/** @param {Int32Array} from @param {number} at */
function take(from, at) {
  const n = from[at]
  let sum = 0
  for (let k = 0; k < 16; k++) sum += from[at + k]
  if (n !== next || sum !== 16 * n + 120) throw new Error(`message ${n} came after ${next - 1}`)
  next++
}

/** @param {number} offset @returns {{ read(): number, wait(): Promise<void> | void }} */
function reader(offset) {
  if (who === 'naive') {
    const consumer = naiveConsumer(words(offset))
    return { read: () => consumer.read(take), wait() {} }
  }
  const consumer = ring(offset).consumer()
  const on = (/** @type {any} */ data, /** @type {number} */ at) => take(data.words, at >> 2)
  return { read: () => consumer.read(on), wait: () => consumer.ready({ wait: 'park' }) }
}

/** The same bytes as words; the view is made anew only for another buffer. */
function wordsOf() {
  /** @type {Buffer | undefined} */
  let of
  /** @type {Int32Array} */
  let words = new Int32Array(0)
  return (/** @type {Buffer} */ buffer) => {
    if (buffer !== of) words = new Int32Array(buffer.buffer, buffer.byteOffset, buffer.length >> 2)
    of = buffer
    return words
  }
}

/** @type {any} */
const bytes64 = {
  '~standard': {
    version: 1,
    vendor: 'bench',
    validate: (/** @type {unknown} */ value) =>
      value instanceof Uint8Array && value.length === 64 ? { value } : { issues: [{ message: 'not 64 bytes' }] },
  },
}
const notes64 = contract('notes/1', { note: rpc({ input: bytes64, oneway: true }), done: rpc({}) })

/** @template T @param {() => T} attempt */
async function whenItListens(attempt) {
  for (;;) {
    try {
      return await attempt()
    } catch (/** @type {any} */ reason) {
      if (reason.code !== 'PEER_NOT_FOUND') throw reason
    }
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

/** @type {Record<string, () => any>} */
const cases = {
  stream() {
    if (role === 'b') {
      const to = writer(0)
      for (let n = 0; n < count;) if (to.write(n, true)) n++
      return {}
    }
    const from = reader(0)
    while (from.read() === 0);
    const [start, before] = [performance.now(), next]
    while (next < count) from.read()
    return { rate: (count - before) / (performance.now() - start) / 1000 }
  },
  turns() {
    const [to, from] = role === 'a' ? [writer(0), reader(half)] : [writer(half), reader(0)]
    const start = performance.now()
    for (let n = 0; n < count; n++) {
      if (role === 'a') to.write(n, false)
      while (from.read() === 0);
      if (role === 'b') to.write(n, false)
    }
    return { nanoseconds: ((performance.now() - start) / count) * 1e6 }
  },
  async parked() {
    const [to, from] = role === 'a' ? [writer(0), reader(half)] : [writer(half), reader(0)]
    const times = []
    for (let n = 0; n < count; n++) {
      const start = performance.now()
      if (role === 'a') to.write(n, false)
      while (from.read() === 0) await from.wait()
      if (role === 'b') to.write(n, false)
      times.push(performance.now() - start)
    }
    return { microseconds: times.sort((a, b) => a - b)[times.length >> 1] * 1000 }
  },
  async connection() {
    const address = `shm:${name}`
    const view = wordsOf()
    if (role === 'b') {
      let drained = () => {}
      const sink = { message() {}, value() {}, drained: () => drained(), closed() {} }
      const connection = /** @type {any} */ (await whenItListens(() => shm.connect?.(address, sink)))
      for (let n = 0; n < count; n++) {
        // As a codec does: what is sent is made where the connection takes it from.
        const writer = connection.begin()
        writer.reserve(64)
        fill(view(writer.buffer), writer.position >> 2, n)
        writer.position += 64
        if (!connection.commit()) await new Promise((resolve) => (drained = () => resolve(undefined)))
      }
      await connection.close()
      return {}
    }
    let start = 0
    return new Promise((resolve) => {
      void shm.listen?.(address, () => ({
        message(/** @type {Buffer} */ buffer, /** @type {number} */ at, /** @type {number} */ end) {
          if (start === 0) start = performance.now()
          if ((at & 3) !== 0 || end - at !== 64) throw new Error(`a message of ${end - at} bytes at ${at}`)
          take(view(buffer), at >> 2)
        },
        value() {},
        drained() {},
        closed: () => resolve({ rate: count / (performance.now() - start) / 1000 }),
      }))
    })
  },
  async session() {
    const address = `shm:${name}`
    if (role === 'b') {
      const client = /** @type {any} */ (await whenItListens(() => connect(notes64, address)))
      const message = new Uint8Array(64)
      const words = new Int32Array(message.buffer)
      for (let n = 0; n < count; n++) {
        fill(words, 0, n)
        const sent = client.note(message)
        if (n % 512 === 511) await sent
      }
      await client.done()
      await client.close()
      return {}
    }
    const from = new Int32Array(16)
    const bytes = new Uint8Array(from.buffer)
    let start = 0
    return new Promise((resolve) => {
      /** @type {any} */
      const handlers = {
        note(/** @type {Uint8Array} */ message) {
          if (start === 0) start = performance.now()
          bytes.set(message)
          take(from, 0)
        },
        done: () => resolve({ rate: next / (performance.now() - start) / 1000 }),
      }
      void serve(notes64, handlers, { listen: [address] })
    })
  },
  broadcast() {
    const broadcast = new BroadcastRing({ memory, size: memory.size - 64 })
    if (role === 'b') {
      const to = broadcast.writer()
      while (Atomics.load(notes, 0) < 4);
      for (let n = 0; n < count; n++) {
        const at = to.claim(64)
        fill(to.data.words, at >> 2, n)
        to.commit((n & 8191) !== 0)
        if ((n & 8191) === 0) while ([1, 2, 3, 4].some((k) => n - Atomics.load(notes, k) > AHEAD)) to.flush()
      }
      to.flush()
      return {}
    }
    const from = broadcast.reader()
    const me = 1 + Atomics.add(notes, 0, 1)
    const on = (/** @type {any} */ data, /** @type {number} */ at) => take(data.words, at >> 2)
    from.readySync({ wait: 'park' })
    const start = performance.now()
    while (next < count) {
      if (from.read(on) === 0) from.readySync()
      Atomics.store(notes, me, next)
    }
    return { rate: count / (performance.now() - start) / 1000 }
  },
}

const result = await cases[what]()
// It stays until the parent has read it.
process.once('disconnect', () => process.exit())
process.send?.(result)

// One process of a hub's measurement: `node hub-end.mjs ENGINE ADDRESS`. Told what to do over IPC; ends with the process that started it.
// Each message begins with its number, and who takes it counts: a lost, doubled or swapped one is an error.
import { engines } from '../hub/index.mjs'

const [name, address] = process.argv.slice(2)
process.on('disconnect', () => process.exit())

const SIZE = 64
const IN_FLIGHT = { push: 256, state: 64 }
const KEYS = 1000
/** Subscriptions: a hub lets one client have two hundred. */
const PER_CLIENT = 100

/** @type {import('../hub/index.mjs').End} */
let end
/** @type {(count: number) => void} */
let reached = () => {}
let taken = 0
let wanted = Infinity

/** @returns {Promise<import('../hub/index.mjs').End>} */
async function openEnd() {
  const { module, wish = '' } = engines[name]
  return (await import(`../hub/${module}.mjs`)).open(address + wish)
}

/** @param {number} number */
function body(number) {
  const bytes = Buffer.alloc(SIZE, 'x')
  bytes.writeUInt32LE(number, 0)
  return bytes
}

/** @param {Uint8Array} bytes */
function takeInOrder(bytes) {
  const number = bytes[0] | (bytes[1] << 8) | (bytes[2] << 16) | (bytes[3] << 24)
  if (number !== taken || bytes.length !== SIZE) throw new Error(`message ${number} of ${bytes.length} bytes came where ${taken} was due`)
  if (++taken === wanted) reached(taken)
}

/** @type {Uint8Array} */
let seen = new Uint8Array(0)
/** @param {Uint8Array} bytes */
function takeOnce(bytes) {
  const number = Buffer.from(bytes.buffer, bytes.byteOffset).readUInt32LE(0)
  if (number >= seen.length) {
    const more = new Uint8Array(Math.max(1 << 20, number * 2))
    more.set(seen)
    seen = more
  }
  if (seen[number]) throw new Error(`job ${number} came twice`)
  seen[number] = 1
  if (++taken === wanted) reached(taken)
}

/** Resolves when so many have been taken in all. @param {number} count */
const until = (count) =>
  new Promise((resolve) => {
    wanted = count
    reached = resolve
    if (taken >= count) resolve(taken)
  })

/** Several at once for a time; µs each took. @param {number} inFlight @param {number} ms @param {() => Promise<unknown>} one */
async function keepGoing(inFlight, ms, one) {
  /** @type {number[]} */
  const times = []
  const stop = performance.now() + ms
  const chain = async () => {
    for (let begin = performance.now(); begin < stop;) {
      await one()
      const now = performance.now()
      times.push((now - begin) * 1000)
      begin = now
    }
  }
  await Promise.all(Array.from({ length: inFlight }, chain))
  return times
}

/** @param {number[]} times */
const half = (times) => Float64Array.from(times).sort()[times.length >> 1]

let published = 0
let pushed = 0

/** @type {Record<string, (told: any) => Promise<unknown>>} */
const jobs = {
  async open(first) {
    end = await openEnd()
    if (first) await end.listen?.()
  },
  joined: async (count) => void (await end.joined?.(count)),
  subscribe: async () => void (await end.subscribe?.(takeInOrder)),
  work: async () => void (await end.work?.(takeOnce)),
  until,
  taken: async () => taken,
  /** Publishes a block: what the engine says of each is awaited once for all. */
  async publish(count) {
    const said = []
    for (let n = 0; n < count; n++) said.push(end.publish?.(body(published++)))
    await Promise.all(said)
    await end.settled?.()
    return published
  },
  async push(ms) {
    const times = await keepGoing(IN_FLIGHT.push, ms, () => /** @type {any} */ (end).push(body(pushed++)))
    return { count: pushed, p50: half(times) }
  },
  async pushMany(count) {
    const begin = performance.now()
    for (const last = pushed + count; pushed < last;)
      await end.pushAll?.(Array.from({ length: Math.min(1000, last - pushed) }, () => body(pushed++)))
    return performance.now() - begin
  },
  async state(ms) {
    let n = 0
    const value = body(0)
    const begin = performance.now()
    for (let key = 0; key < KEYS; key++) await end.set?.(`k${key}`, value)
    const times = await keepGoing(IN_FLIGHT.state, ms, async () => {
      const key = `k${(n >> 1) % KEYS}`
      if (n++ % 2 === 0) return end.set?.(key, value)
      const found = /** @type {Uint8Array | undefined} */ (await end.get?.(key))
      if (found?.length !== SIZE) throw new Error(`${key} is not what was set`)
    })
    return { rate: (times.length / (performance.now() - begin)) * 1000, p50: half(times) }
  },
  async lease(ms) {
    return { p50: half(await keepGoing(1, ms, () => /** @type {any} */ (end).turn())) }
  },
  /** More subscriptions in this process; resolves when `count` messages have come to each. */
  async subscribeMany(count) {
    /** @type {number[]} */
    const each = Array(count).fill(0)
    let client = end
    for (let n = 0; n < count; n++) {
      if (n > 0 && n % PER_CLIENT === 0) client = await openEnd()
      await client.subscribe?.((bytes) => {
        each[n]++
        taken++
        if (bytes.length !== SIZE) throw new Error('a wrong message')
        if (taken === wanted) reached(taken)
      })
    }
  },
  close: async () => void (await end.close()),
}

process.on('message', async (/** @type {any} */ { job, told }) => {
  try {
    process.send?.({ answer: await jobs[job](told) })
  } catch (/** @type {any} */ error) {
    process.send?.({ failed: String(error?.stack ?? error), code: error?.code })
  }
})
process.on('uncaughtException', (error) => process.send?.({ failed: String(error.stack), code: 'UNCAUGHT' }))
process.send?.('ready')

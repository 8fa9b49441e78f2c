// The measuring loops: written once, the same for every peer. Each checks what comes back and throws if it is wrong.
import { messages, numbers, payloads, PAYLOAD_BYTES } from './lib/data.mjs'
import { expected } from './lib/service.mjs'

/**
 * @typedef {object} Client what `client(address)` of a peer returns
 * @property {(a: number, b: number) => Promise<number>} add
 * @property {(message: any) => Promise<unknown> | void} [oneway] returns a promise only when the sender must wait
 * @property {() => Promise<{ count: number, hash: number, wrong: number }>} [finish] what the receiver counted since the last time
 * @property {(payload: any) => Promise<any>} [echo]
 * @property {(array: Float64Array) => Promise<number>} [sum]
 * @property {() => unknown} close
 *
 * @typedef {object} Setting
 * @property {Client} client
 * @property {() => Promise<Client>} connect one more client
 * @property {() => Promise<Record<string, number>>} memory of the server, after garbage collection
 * @property {boolean} text the peer carries text, not bytes
 * @property {{ warm: number, run: number, clients: number }} effort milliseconds, milliseconds, how many
 */

export class Wrong extends Error {}

/** @param {unknown} got @param {unknown} want @param {string} what */
function check(got, want, what) {
  if (got !== want) throw new Wrong(`${what}: got ${String(got).slice(0, 60)}, expected ${String(want).slice(0, 60)}`)
}

/** @param {Float64Array} sorted @param {number} p */
const percentile = (sorted, p) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * p))]

/** @param {number} ms @param {() => Promise<void>} turn */
async function until(ms, turn) {
  const end = performance.now() + ms
  do await turn()
  while (performance.now() < end)
}

/** Sequential calls. Microseconds. */
async function unary(/** @type {Setting} */ { client, effort }) {
  await until(effort.warm, async () => check(await client.add(2, 5), 7, 'add(2, 5)'))
  const times = new Float64Array(100_000)
  const end = performance.now() + effort.run
  let n = 0
  for (let before = performance.now(); n < times.length && before < end; n++) {
    const result = await client.add(2, 5)
    const after = performance.now()
    times[n] = after - before
    if (result !== 7) check(result, 7, 'add(2, 5)')
    before = after
  }
  const sorted = times.subarray(0, n).sort()
  return { p50: percentile(sorted, 0.5) * 1000, p99: percentile(sorted, 0.99) * 1000, calls: n }
}

/** `width` calls in flight at any time, over the given clients in turn. Calls per second. */
async function callers(/** @type {Client[]} */ clients, /** @type {number} */ width, /** @type {number} */ ms) {
  let next = 0
  let done = 0
  const start = performance.now()
  let end = start + ms
  const caller = async () => {
    while (end) {
      const k = next++
      const result = await clients[k % clients.length].add(k, 5)
      if (result !== k + 5) check(result, k + 5, `add(${k}, 5)`)
      if ((++done & 63) === 0 && performance.now() > end) end = 0
    }
  }
  await Promise.all(Array.from({ length: width }, caller))
  return done / ((performance.now() - start) / 1000)
}

const inflight =
  (/** @type {number} */ width) =>
  async (/** @type {Setting} */ { client, effort }) => {
    await callers([client], width, effort.warm)
    return { calls: await callers([client], width, effort.run) }
  }

/** One-way messages until the receiver has counted the last one. Messages per second. */
async function oneway(/** @type {Setting} */ { client, effort, text }) {
  const pool = text ? messages.map((m) => m.toString('latin1')) : messages
  const round = async (/** @type {number} */ ms) => {
    const start = performance.now()
    const end = start + ms
    let sent = 0
    do {
      for (let i = 0; i < 256; i++) {
        const wait = client.oneway?.(pool[sent++ & 1023])
        if (wait) await wait
      }
    } while (performance.now() < end)
    const got = await client.finish?.()
    const seconds = (performance.now() - start) / 1000
    const want = expected(sent)
    check(got?.count, want.count, 'messages that arrived')
    check(got?.wrong, 0, 'messages that arrived damaged')
    check(got?.hash, want.hash, 'checksum of the messages')
    return sent / seconds
  }
  await round(effort.warm)
  return { messages: await round(effort.run) }
}

/** 64 KiB there and back, 8 in flight. GB/s, each byte counted once. */
async function echo(/** @type {Setting} */ { client, effort, text }) {
  const pool = text ? payloads().map((p) => p.toString('latin1')) : payloads()
  const same = text ? (/** @type {any} */ a, /** @type {any} */ b) => a === b : (/** @type {any} */ a, /** @type {any} */ b) => a.equals(b)
  const round = async (/** @type {number} */ ms) => {
    const start = performance.now()
    let done = 0
    let next = 0
    const caller = async () => {
      while (performance.now() - start < ms) {
        const sent = pool[next++ & 7]
        if (!same(sent, await client.echo?.(sent))) throw new Wrong('the echo is not what was sent')
        done++
      }
    }
    await Promise.all(Array.from({ length: 8 }, caller))
    return (done * PAYLOAD_BYTES) / 1e6 / (performance.now() - start)
  }
  await round(effort.warm)
  return { gbps: await round(effort.run) }
}

/** An 8 MiB Float64Array as argument, summed by the callee. Milliseconds. */
async function sum(/** @type {Setting} */ { client, effort }) {
  const { array, total } = numbers()
  const rest = total - array[0]
  let k = 0
  const call = async () => {
    array[0] = ++k
    const start = performance.now()
    const result = await client.sum?.(array)
    const time = performance.now() - start
    check(result, rest + k, 'sum of the array')
    return time
  }
  await until(effort.warm, async () => void (await call()))
  /** @type {number[]} */
  const times = []
  await until(effort.run, async () => void times.push(await call()))
  const sorted = Float64Array.from(times).sort()
  return { p50: percentile(sorted, 0.5), p99: percentile(sorted, 0.99), calls: times.length }
}

/** Memory of the server for each idle client (KB, 1024 bytes), then calls in all with every client in turn, 256 in flight. */
async function clients(/** @type {Setting} */ { connect, memory, effort }) {
  const open = async (/** @type {number} */ n) => {
    /** @type {Client[]} */
    const list = []
    while (list.length < n) {
      list.push(...(await Promise.all(Array.from({ length: Math.min(20, n - list.length) }, connect))))
    }
    return list
  }
  const touch = (/** @type {Client[]} */ list) => Promise.all(list.map(async (c, i) => check(await c.add(i, 5), i + 5, `add(${i}, 5)`)))
  const first = await open(Math.min(20, effort.clients))
  for (let i = 0; i < 20; i++) await touch(first)
  await Promise.all(first.map((c) => c.close()))
  const before = await memory()
  const list = await open(effort.clients)
  await touch(list)
  const after = await memory()
  await callers(list, Math.min(256, list.length), effort.warm)
  const calls = await callers(list, Math.min(256, list.length), effort.run)
  await Promise.all(list.map((c) => c.close()))
  const each = 1024 * list.length
  return { rss: (after.rss - before.rss) / each, heap: (after.heap - before.heap) / each, calls }
}

/** @type {Record<string, (setting: Setting) => Promise<Record<string, number>>>} */
export const measures = {
  unary,
  inflight64: inflight(64),
  inflight256: inflight(256),
  inflight1024: inflight(1024),
  oneway,
  echo,
  sum,
  clients,
  python: unary,
  pythonSum: sum,
}

// node bench/hub.mjs [--only talkwire,redis] [--cases fan,queue] [--smoke] [--strict]: the hub beside brokers and their own clients. See README.md.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { brokers } from './hub/brokers.mjs'
import { engines } from './hub/index.mjs'
import { median } from './lib/report.mjs'

const { values: options } = parseArgs({
  options: {
    only: { type: 'string' },
    cases: { type: 'string' },
    smoke: { type: 'boolean', default: false },
    strict: { type: 'boolean', default: false },
  },
})
const { smoke, strict } = options
const effort = smoke
  ? { warm: 20, run: 20, rounds: 1, block: 200, grow: [2, 20], jobs: 2000 }
  : { warm: 1500, run: 2000, rounds: 5, block: 10_000, grow: [10, 1000], jobs: 1_000_000 }
const SUBSCRIBERS = 4

/** @type {Record<string, string>} */
const titles = {
  fan: `64 bytes to ${SUBSCRIBERS} processes · messages delivered/s · more is better`,
  queue: 'durable jobs of 64 bytes, pushed, taken and acknowledged · jobs/s · then µs of a push, p50, 256 in flight',
  state: 'set and get of 64 bytes in turn, 64 in flight · /s · then µs, p50',
  lease: 'a lock, taken and given back · µs, p50 · less is better',
}
/** @param {string | undefined} list @param {string[]} known */
function chosen(list, known) {
  const names = list?.split(',') ?? known
  const unknown = names.find((name) => !known.includes(name))
  if (unknown === undefined) return names
  console.error(`unknown: "${unknown}"; known: ${known.join(', ')}`)
  return process.exit(2)
}
const names = chosen(options.only, Object.keys(engines))
const cases = chosen(options.cases, [...Object.keys(titles), 'growth'])

const folder = mkdtempSync(path.join(os.tmpdir(), 'talkwire-bench-'))
process.env.TALKWIRE_RUNTIME_DIR = folder
/** @type {Set<import('node:child_process').ChildProcess>} */
const started = new Set()
process.on('exit', () => {
  for (const child of started) child.kill('SIGKILL')
  rmSync(folder, { recursive: true, force: true })
})
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(130))

/** @param {string} program @param {string[]} args */
async function start(program, args) {
  const child = fork(fileURLToPath(new URL(`lib/${program}.mjs`, import.meta.url)), args)
  started.add(child)
  const ended = once(child, 'exit').then(([code, signal]) => Promise.reject(new Error(`a process of ${args[0]} ended (${signal ?? code})`)))
  ended.catch(() => {}) // of interest only to those who wait for something else meanwhile
  const heard = async () => (await Promise.race([once(child, 'message'), ended]))[0]
  await heard()
  return {
    /** @param {string} job @param {unknown} [told] */
    async do(job, told) {
      child.send({ job, told })
      const { answer, failed, code } = await heard()
      if (failed) throw Object.assign(new Error(failed), { code })
      return answer
    },
    end() {
      started.delete(child)
      child.kill('SIGKILL')
      return ended.catch(() => {})
    },
  }
}
/** @typedef {Awaited<ReturnType<typeof start>>} Process */

/** An engine of its own, and so many processes that use it. @param {string} name @param {number} count */
async function open(name, count) {
  const place = mkdtempSync(path.join(folder, 'e-'))
  const broker = await brokers[engines[name].broker ?? 'none'](place, started)
  /** @type {Process[]} */
  const ends = []
  for (let n = 0; n < count; n++) {
    ends.push(await start('hub-end', [name, broker.address]))
    await ends[n].do('open', n === 0)
  }
  return {
    ends,
    async end() {
      await Promise.all(ends.map((one) => one.end()))
      await broker.end()
    },
  }
}

/** What each case measures; the first figure is compared. @type {Record<string, (ends: Process[]) => Promise<(ms: number) => Promise<number[]>>>} */
const measures = {
  async fan([publisher, ...subscribers]) {
    for (const one of subscribers) await one.do('subscribe')
    await publisher.do('joined', subscribers.length)
    return async (ms) => {
      const begin = performance.now()
      let before = Promise.resolve()
      let total = 0
      // Two blocks on the way: nobody runs away from a subscriber, and nobody waits for one.
      while (performance.now() < begin + ms) {
        const count = await publisher.do('publish', effort.block)
        await before
        before = Promise.all(subscribers.map((one) => one.do('until', count))).then(() => {})
        total += effort.block
      }
      await before
      return [((total * subscribers.length) / (performance.now() - begin)) * 1000]
    }
  },
  async queue([producer, worker]) {
    await worker.do('work')
    return async (ms) => {
      const before = await worker.do('taken')
      const begin = performance.now()
      const { count, p50 } = await producer.do('push', ms)
      await worker.do('until', count)
      return [((count - before) / (performance.now() - begin)) * 1000, p50]
    }
  },
  state:
    async ([one]) =>
    async (ms) => {
      const { rate, p50 } = await one.do('state', ms)
      return [rate, p50]
    },
  lease:
    async ([one]) =>
    async (ms) => [(await one.do('lease', ms)).p50],
}
/** @type {Record<string, number>} */
const processes = { fan: SUBSCRIBERS + 1, queue: 2, state: 1, lease: 1 }

/** @param {string} name @param {string} what */
async function measure(name, what) {
  const { ends, end } = await open(name, processes[what])
  try {
    const round = await measures[what](ends)
    await round(effort.warm)
    /** @type {number[][]} */
    const rounds = []
    for (let n = 0; n < effort.rounds; n++) rounds.push(await round(effort.run))
    return rounds[0].map((_, index) => median(rounds.map((round) => round[index])))
  } finally {
    await end()
  }
}

/** @param {number[]} figures */
const show = (figures) => figures.map((figure) => Math.round(figure).toLocaleString('en').padStart(11)).join('')

/** @param {string} what */
async function compare(what) {
  if (!names.some((name) => engines[name].cases.includes(what))) return
  console.log(`\n${titles[what]}`)
  /** @type {Record<string, number>} */
  const first = {}
  for (const [name, { what: title, cases, pair, broker }] of Object.entries(engines)) {
    if (!names.includes(name) || !cases.includes(what)) continue
    try {
      const figures = await measure(name, what)
      first[name] = figures[0]
      const ratio = (/** @type {string} */ to) => (first[to] === undefined ? '' : `   ${(figures[0] / first[to]).toFixed(2)} x ${to}`)
      console.log(`${title.padEnd(34)}${show(figures)}${pair ? ratio(pair) : name === 'talkwire' ? '' : ratio('talkwire')}`)
    } catch (/** @type {any} */ reason) {
      const absent = reason.code === 'ENOENT' || reason.code === 'ERR_MODULE_NOT_FOUND'
      if (!absent || strict) process.exitCode = 1
      console.log(`${title.padEnd(34)}   ${absent ? `not available: ${broker ?? reason.message}` : reason.stack}`)
    }
  }
}

/** What a message and a job cost when there are many. */
async function growth() {
  console.log(`\nthe embedded hub, as it grows · µs each`)
  for (const count of effort.grow) {
    const { ends, end } = await open('talkwire', 2)
    await ends[1].do('subscribeMany', count)
    const messages = Math.ceil((effort.grow[1] * 200) / count)
    const begin = performance.now()
    await Promise.all([ends[1].do('until', messages * count), ends[0].do('publish', messages)])
    console.log(`a message to one of ${String(count).padEnd(9)} ${(((performance.now() - begin) * 1000) / (messages * count)).toFixed(2)}`)
    await end()
  }
  const { ends, end } = await open('talkwire', 2)
  const part = effort.jobs / 10
  const pushes = []
  for (let n = 0; n < 10; n++) pushes.push((await ends[0].do('pushMany', part)) / part)
  await ends[1].do('work')
  const takes = []
  for (let n = 1; n <= 10; n++) {
    const begin = performance.now()
    await ends[1].do('until', n * part)
    takes.push((performance.now() - begin) / part)
  }
  const line = (/** @type {number[]} */ list) => list.map((each) => (each * 1000).toFixed(1)).join(' ')
  console.log(`pushed, each tenth of ${effort.jobs}: ${line(pushes)}`)
  console.log(`taken and done:      ${line(takes)}`)
  await end()
}

for (const what of cases) await (what === 'growth' ? growth() : compare(what))

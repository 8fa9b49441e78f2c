// node bench/locks.mjs [--smoke]: locks between processes, ours and others'. Each acquisition adds one to a plain counter, which is checked.
import { fork, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { SharedMemory } from 'talkwire/memory'
import { findPython } from './lib/processes.mjs'

const smoke = process.argv.includes('--smoke')
const repetitions = smoke ? 1 : 3
const PROCESSES = 4
const MILLISECONDS = smoke ? 50 : 1000
const here = (/** @type {string} */ name) => fileURLToPath(new URL(`lib/${name}`, import.meta.url))
const python = findPython()

/** @type {Record<string, { what: string, python?: boolean, package?: string }>} */
const locks = {
  mutex: { what: 'Mutex, acquireSync()' },
  'mutex-async': { what: 'Mutex, await acquire()' },
  'mutex-fair': { what: 'Mutex, fair, acquireSync()' },
  flock: { what: 'FileLock (flock), acquireSync()' },
  'proper-lockfile': { what: 'proper-lockfile', package: 'proper-lockfile' },
  python: { what: "Python's multiprocessing.Lock", python: true },
}

/** @param {string} name @returns {string | undefined} why it cannot be measured */
function missing(name) {
  const { python: isPython, package: needs } = locks[name]
  if (isPython) return python.problem
  try {
    if (needs) createRequire(import.meta.url).resolve(needs)
  } catch {
    return `${needs} is not installed`
  }
  return undefined
}

/** @param {string} name @param {number} processes @returns {Promise<{ rates: number[] }>} acquisitions per second, of each process */
async function run(name, processes) {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'talkwire-bench-'))
  try {
    return locks[name].python ? await runPython(processes) : await runNode(name, processes, folder)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** @param {string} name @param {number} processes @param {string} folder */
async function runNode(name, processes, folder) {
  const segment = `talkwire-bench-${process.pid}`
  const memory = SharedMemory.create(segment, 4096)
  try {
    const ends = Array.from({ length: processes }, () => fork(here('lock-end.mjs'), [name, segment, folder, String(MILLISECONDS)]))
    const ready = ends.map((end) => new Promise((resolve) => end.once('message', resolve)))
    await Promise.all(ready)
    const results = ends.map((end) => new Promise((resolve, reject) => end.once('message', resolve).once('exit', reject)))
    for (const end of ends) end.send('go')
    const all = /** @type {{ count: number, rate: number }[]} */ (await Promise.all(results))
    // They end with their channel.
    for (const end of ends) end.disconnect()
    const total = all.reduce((sum, { count }) => sum + count, 0)
    const counted = memory.array(Float64Array, 0, 1)[0]
    if (counted !== total) throw new Error(`${name}: ${counted} additions were counted of ${total}`)
    return { rates: all.map(({ rate }) => rate) }
  } finally {
    memory.unlink()
    memory.close()
  }
}

/** @param {number} processes @returns {Promise<{ rates: number[] }>} acquisitions per second, of each process */
async function runPython(processes) {
  const child = spawn(python.command, [here('lock-end.py'), String(processes), String(MILLISECONDS)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let text = ''
  for await (const chunk of child.stdout) text += chunk
  const { counts, milliseconds } = /** @type {{ counts: number[], milliseconds: number }} */ (JSON.parse(text))
  return { rates: counts.map((count) => (count / milliseconds) * 1000) }
}

console.log(
  `acquire and release, an addition between · ${MILLISECONDS} ms each · ns alone, less is better; then ${PROCESSES} processes, in all per second`,
)
for (const [name, { what }] of Object.entries(locks)) {
  const reason = missing(name)
  if (reason) {
    console.log(`${what.padEnd(34)} not available: ${reason}`)
    continue
  }
  const alone = []
  const contended = []
  const fairness = []
  for (let n = 0; n < repetitions; n++) {
    const one = await run(name, 1)
    alone.push(1e9 / one.rates[0])
    const { rates } = await run(name, PROCESSES)
    contended.push(rates.reduce((sum, rate) => sum + rate, 0))
    fairness.push(Math.min(...rates) / Math.max(...rates))
  }
  const all = (/** @type {number[]} */ list, /** @type {number} */ digits) =>
    list
      .toSorted((a, b) => a - b)
      .map((value) => value.toFixed(digits))
      .join('  ')
  console.log(`${what.padEnd(34)} ${all(alone, 0)} ns · ${all(contended, 0)} /s · least/most of one process ${all(fairness, 2)}`)
}

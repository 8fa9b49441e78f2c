// node bench/rings.mjs [--smoke]: rings between two Node processes, beside a naive one over the same memory. Each message is checked.
import { execFileSync, fork, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { ringBytes, SharedMemory } from 'talkwire/memory'
import { canPin, cores } from './lib/processes.mjs'

const smoke = process.argv.includes('--smoke')
const repetitions = smoke ? 1 : 5
process.env.TALKWIRE_RUNTIME_DIR = mkdtempSync(path.join(os.tmpdir(), 'talkwire-bench-'))
process.on('exit', () => rmSync(/** @type {string} */ (process.env.TALKWIRE_RUNTIME_DIR), { recursive: true, force: true }))
const program = fileURLToPath(new URL('lib/ring-end.mjs', import.meta.url))
const [one, two] = canPin() && cores().length > 1 ? cores() : [null, null]

/** @type {{ what: string, title: string, count: number, who: string[], value: string, readers?: number }[]} */
const cases = [
  { what: 'stream', title: '64-byte messages one way · M/s', count: 10_000_000, who: ['naive', 'ring'], value: 'rate' },
  { what: 'turns', title: 'to and fro, 64 bytes, spinning · ns', count: 1_000_000, who: ['naive', 'ring'], value: 'nanoseconds' },
  { what: 'parked', title: 'to and fro, 64 bytes, both sleep between · µs, p50', count: 10_000, who: ['ring'], value: 'microseconds' },
  { what: 'connection', title: 'shm: one way, commit() to Sink.message(), 64 bytes · M/s', count: 5_000_000, who: ['ring'], value: 'rate' },
  {
    what: 'session',
    title: 'shm: one way, a contract’s oneway to its handler, 64 bytes · M/s',
    count: 2_000_000,
    who: ['ring'],
    value: 'rate',
  },
  { what: 'broadcast', title: 'one writer, four readers · M deliveries/s', count: 5_000_000, who: ['ring'], value: 'rate', readers: 4 },
]

/** A word in C, to and fro; undefined without a compiler, or when nothing is pinned. */
function compileSpin() {
  if (one === null || two === null || spawnSync('cc', ['--version']).status !== 0) return undefined
  const compiled = path.join(/** @type {string} */ (process.env.TALKWIRE_RUNTIME_DIR), 'spin')
  execFileSync('cc', ['-O2', '-o', compiled, fileURLToPath(new URL('lib/spin.c', import.meta.url))])
  return (/** @type {number} */ count) => Number(execFileSync(compiled, [String(count), one, two], { encoding: 'utf8' }))
}

/** @param {string} name @param {string[]} args @param {string | null} core */
function start(name, args, core) {
  const options = core === null ? {} : { execPath: 'taskset', execArgv: ['-c', core, process.execPath] }
  const child = fork(program, [args[0], args[1], args[2], name, args[3]], options)
  return new Promise((resolve, reject) => {
    /** @type {any} */
    let result
    child.once('message', (message) => {
      result = message
      child.disconnect()
    })
    child.once('exit', (code, signal) => {
      if (result) resolve(result)
      else reject(new Error(`${args.join(' ')} ended without a result (${signal ?? code})`))
    })
  })
}

/** @param {(typeof cases)[number]} bench @param {string} who */
async function measure({ what, count, value, readers = 1 }, who) {
  const name = `talkwire-bench-${process.pid}`
  const memory = SharedMemory.create(name, 2 * (ringBytes(1 << 22) + 64))
  try {
    const number = String(smoke ? Math.ceil(count / 100) : count)
    const ends = Array.from({ length: readers }, () => start(name, [what, who, 'a', number], readers > 1 ? null : one))
    const results = await Promise.all([...ends, start(name, [what, who, 'b', number], readers > 1 ? null : two)])
    return (
      results.reduce((sum, result) => sum + (result[value] ?? 0), 0) - (what === 'turns' || what === 'parked' ? results.at(-1)[value] : 0)
    )
  } finally {
    memory.unlink()
    memory.close()
  }
}

if (one === null) console.log('nothing is pinned: there is no taskset, or only one processor')
const spin = compileSpin()
if (!spin) console.log('without the floor in C of a round trip: there is no cc, or nothing is pinned')
for (const bench of cases) {
  /** @type {Record<string, number[]>} */
  const figures = {}
  // In turn, so that what a neighbour does hits all alike.
  for (let n = 0; n < repetitions; n++) {
    for (const who of bench.who) (figures[who] ??= []).push(await measure(bench, who))
    if (bench.what === 'turns' && spin) (figures['C'] ??= []).push(spin(smoke ? bench.count / 100 : bench.count))
  }
  for (const who of Object.keys(figures)) {
    const sorted = figures[who].toSorted((a, b) => a - b)
    console.log(`${bench.title.padEnd(64)} ${who.padEnd(6)} ${sorted.map((figure) => figure.toFixed(1)).join('  ')}`)
  }
}

// node bench/protocols.mjs [--only http,ws] [--smoke] [--strict]: calls through each protocol, in turn with its bare library. See README.md.
import { fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { canPin, cores } from './lib/processes.mjs'
import { align, median, number } from './lib/report.mjs'
import { protocols } from './protocols/index.mjs'

const { values: options } = parseArgs({
  options: { only: { type: 'string' }, smoke: { type: 'boolean', default: false }, strict: { type: 'boolean', default: false } },
})
const { smoke } = options
/** Calls before the first round, at most so many milliseconds of them; milliseconds a measurement. */
const effort = smoke ? { warm: 1, most: 0, run: 20, rounds: 1 } : { warm: 20_000, most: 10_000, run: 400, rounds: 7 }
const names = options.only?.split(',') ?? Object.keys(protocols)
const unknown = names.find((name) => !protocols[name])
if (unknown !== undefined) {
  console.error(`unknown protocol "${unknown}"; known: ${Object.keys(protocols).join(', ')}`)
  process.exit(2)
}

const folder = mkdtempSync(path.join(os.tmpdir(), 'talkwire-bench-'))
process.env.TALKWIRE_RUNTIME_DIR = folder
/** @type {import('node:child_process').ChildProcess[]} */
const started = []
process.on('exit', () => {
  for (const child of started) child.kill('SIGKILL')
  rmSync(folder, { recursive: true, force: true })
})
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(130))

const program = fileURLToPath(new URL('lib/protocol-end.mjs', import.meta.url))
const [one, two] = canPin() && cores().length > 1 ? cores() : [null, null]

class Absent extends Error {}

/** One process of a side. @param {string} name @param {string} who @param {string | null} core */
async function start(name, who, core) {
  const child = fork(program, [name, who], core === null ? {} : { execPath: 'taskset', execArgv: ['-c', core, process.execPath] })
  started.push(child)
  const ended = once(child, 'exit').then(([code, signal]) => Promise.reject(new Error(`a process of ${who} ended (${signal ?? code})`)))
  ended.catch(() => {}) // of interest only to those who wait for something else meanwhile
  const heard = async () => (await Promise.race([once(child, 'message'), ended]))[0]
  await heard()
  return {
    /** @param {string} job @param {unknown} [told] */
    async do(job, told) {
      child.send({ job, told })
      const { answer, failed, code } = await heard()
      if (code === 'ERR_MODULE_NOT_FOUND') throw new Absent(failed.split('\n')[0].replace(/^Error( \[\w+\])?: | imported from .*$/g, ''))
      if (failed) throw new Error(failed)
      return answer
    },
    end() {
      child.kill('SIGKILL')
      return ended.catch(() => {})
    },
  }
}

/** A bus of its own. @returns {Promise<string>} its address */
async function startBus() {
  const bus = `unix:path=${path.join(folder, 'bus')}`
  const file = path.join(folder, 'bus.conf')
  const policy = '<policy context="default"><allow send_destination="*"/><allow eavesdrop="true"/><allow own="*"/></policy>'
  writeFileSync(file, `<busconfig><type>session</type><listen>${bus}</listen><auth>EXTERNAL</auth>${policy}</busconfig>`)
  const daemon = spawn('dbus-daemon', [`--config-file=${file}`, '--nofork', '--print-address=1'], { stdio: ['ignore', 'pipe', 'ignore'] })
  started.push(daemon)
  await new Promise((resolve, reject) => {
    daemon.once('error', () => reject(new Absent('dbus-daemon does not run')))
    daemon.stdout.once('data', resolve)
  })
  return bus
}

/** @typedef {{ calls: number, p50: number, used: number }} Round calls/s with 64 in flight, µs with one, µs of processor time a call, of both ends */

/** One side, ready to be measured. @param {string} name @param {string} who @param {import('./protocols/index.mjs').Place} place */
async function open(name, who, place) {
  const [server, client] = await Promise.all([start(name, who, two), start(name, who, one)])
  await client.do('connect', await server.do('serve', place))
  const measure = async (/** @type {string} */ what, /** @type {number} */ ms) => {
    const before = await server.do('used')
    const { values, made, used } = await client.do('measure', { what, ms })
    return { ...values, made, used: (used + (await server.do('used')) - before) / made }
  }
  const end = Date.now() + effort.most
  // The compiler of V8 counts calls, not milliseconds.
  for (let made = 0; made < effort.warm;) {
    made += (await measure('inflight64', effort.run)).made
    if (Date.now() > end) break
  }
  return {
    /** @returns {Promise<Round>} */
    async round() {
      const { calls, used } = await measure('inflight64', effort.run)
      return { calls, used, p50: (await measure('unary', effort.run)).p50 }
    },
    end: () => Promise.all([client.end(), server.end()]),
  }
}

/** @param {string} name */
async function compare(name) {
  const place = { folder, ...(protocols[name].bus && { bus: await startBus() }) }
  const [ours, bare] = await Promise.all([open(name, 'ours', place), open(name, 'bare', place)])
  /** @type {[Round, Round][]} */
  const rounds = []
  // In turn, so that what the machine does beside it is shared; who is first changes.
  for (let n = 0; n < effort.rounds; n++) {
    if (n % 2 === 0) rounds.push([await ours.round(), await bare.round()])
    else {
      const other = await bare.round()
      rounds.push([await ours.round(), other])
    }
  }
  await Promise.all([ours.end(), bare.end()])
  return rounds
}

const columns = /** @type {const} */ (['calls', 'p50', 'used'])
const table = [['protocol', 'calls/s', 'bare', '×', 'p50 µs', 'bare', '×', 'CPU µs/call', 'bare', '×', 'to reach']]
const notes = []
for (const name of names) {
  const { library, least } = protocols[name]
  try {
    const rounds = await compare(name)
    const middle = (/** @type {(round: [Round, Round]) => number} */ of) => median(rounds.map(of))
    const cells = columns.flatMap((column) => [
      number(middle(([ours]) => ours[column])),
      number(middle(([, bare]) => bare[column])),
      middle(([ours, bare]) => ours[column] / bare[column]).toFixed(2),
    ])
    const reached = middle(([ours, bare]) => ours.calls / bare.calls) >= least
    table.push([name, ...cells, smoke ? '-' : `× ${least.toFixed(2)} ${reached ? 'reached' : 'not reached'}`])
    notes.push([name, `beside ${library}`])
  } catch (/** @type {any} */ error) {
    notes.push([name, error instanceof Absent ? `not available: ${error.message}` : `FAILED: ${error.stack}`])
    if (options.strict || !(error instanceof Absent)) process.exitCode = 1
  }
}
console.log(
  `Protocols: 64 calls in flight, then one; in turn with the bare library, medians of ${effort.rounds}${smoke ? ' · smoke: the figures mean nothing' : ''}`,
)
console.log(`${align(table)}\n${align(notes)}`)
process.exit()

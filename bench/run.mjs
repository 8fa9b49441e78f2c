// npm run bench: Talkwire and its peers, measured in turn on the same machine. See README.md.
import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { help, parseOptions } from './lib/options.mjs'
import { canPin, cores, findPython, runPair } from './lib/processes.mjs'
import { align, print, summarise } from './lib/report.mjs'
import { compare, printTargets } from './lib/targets.mjs'
import { peers } from './peers/index.mjs'

/** Cases whose figure depends on where the processes run: measured in every placement, the others in the last one. */
const everywhere = ['unary', 'sum', 'python', 'pythonSum']

function parse() {
  try {
    return parseOptions(process.argv.slice(2))
  } catch (/** @type {any} */ error) {
    console.error(`${error.message}\n${help}`)
    process.exit(2)
  }
}

const options = parse()
if (options.help) {
  console.log(help)
  process.exit()
}

const pinned = canPin()
const [first, second] = cores()
/** @type {{ name: string, client: string | null, server: string | null }[]} */
const placements = !pinned
  ? [{ name: 'not pinned', client: null, server: null }]
  : [{ name: 'same core', client: first, server: first }, ...(second ? [{ name: 'two cores', client: first, server: second }] : [])]
const notes = [
  ...(pinned ? [] : ['taskset is missing: processes are not pinned, and latency depends on where they happen to run']),
  ...(pinned && !second ? ['two cores: not available, only one processor may be used'] : []),
]

const python = findPython()
/** @type {Record<string, Record<string, string>>} reason by case and peer */
const missing = {}
const failures = /** @type {string[]} */ ([])
const samples = /** @type {import('./lib/report.mjs').Sample[]} */ ([])
const folder = mkdtempSync(path.join(os.tmpdir(), 'talkwire-bench-'))
process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(130))

/** @param {string} peer @param {string[]} cases @param {string} reason */
function absent(peer, cases, reason) {
  for (const name of cases) (missing[name] ??= {})[peer] ??= `not available: ${reason}`
}

/** Somebody else's package is not installed, or its native part does not load. @param {string} peer @param {{ failed?: string, code?: string }} answer */
const unavailable = (peer, { code = '', failed = '' }) =>
  !peers[peer].ours &&
  (['ERR_MODULE_NOT_FOUND', 'MODULE_NOT_FOUND', 'ERR_DLOPEN_FAILED'].includes(code) || /^Error: Failed to load .*\.node\b/.test(failed))

let pairs = 0
/** @param {string} peer @param {string[]} cases @param {typeof placements[number]} placement @param {number} repetition */
async function measure(peer, cases, placement, repetition) {
  const wanted = cases.filter((name) => !missing[name]?.[peer])
  if (wanted.length === 0) return
  if (process.stderr.isTTY)
    process.stderr.write(`\r\x1b[K${repetition + 1}/${options.repetitions} ${placement.name}: ${peer} ${wanted.join(' ')}`)
  const address = path.join(folder, `${++pairs}.sock`)
  const answer = await runPair({ name: peer, address, cases: wanted, python: python.command, effort: options.effort }, placement)
  if (unavailable(peer, answer))
    return absent(
      peer,
      peers[peer].cases,
      String(answer.failed)
        .split('\n')[0]
        .replace(/^Error( \[\w+\])?: | imported from .*$/g, ''),
    )
  const fail = (/** @type {string} */ name, /** @type {string} */ why) => {
    failures.push(`${peer}, ${name}, ${placement.name}: ${why}`)
    ;(missing[name] ??= {})[peer] = `FAILED: ${why.split('\n')[0]}`
  }
  if (!answer.results) return wanted.forEach((name) => fail(name, String(answer.failed)))
  for (const [name, values] of Object.entries(answer.results)) {
    if (values.failed) fail(name, values.failed)
    else samples.push({ peer, case: name, placement: placement.name, repetition, values })
  }
}

for (const [name, peer] of Object.entries(peers)) {
  if (!peer.python) continue
  if (python.problem) absent(name, peer.cases, python.problem)
  else if (python.numpyProblem) absent(name, ['pythonSum'], python.numpyProblem)
}

const started = Date.now()
for (let repetition = 0; repetition < options.repetitions; repetition++) {
  for (const placement of placements) {
    const last = placement === placements.at(-1)
    for (const peer of options.only) {
      const cases = peers[peer].cases.filter((name) => options.cases.includes(name) && (last || everywhere.includes(name)))
      await measure(
        peer,
        cases.filter((name) => name !== 'clients'),
        placement,
        repetition,
      )
      // In processes of its own: memory that earlier cases left behind would hide what a client takes.
      await measure(
        peer,
        cases.filter((name) => name === 'clients'),
        placement,
        repetition,
      )
    }
  }
}
if (process.stderr.isTTY) process.stderr.write('\r\x1b[K')

for (const reasons of Object.values(missing)) {
  for (const peer of Object.keys(reasons)) if (!options.only.includes(peer)) delete reasons[peer]
}
for (const name of Object.keys(missing)) if (!options.cases.includes(name)) delete missing[name]
const rows = summarise(samples)
const targets = options.smoke ? [] : compare(rows)
const machine = {
  node: process.version,
  platform: `${process.platform} ${process.arch}`,
  cpu: os.cpus()[0]?.model ?? 'unknown',
  cores: cores().length || os.availableParallelism(),
}
const used = placements.map((p) => p.name)
if (options.json) {
  const { repetitions, smoke, effort } = options
  console.log(
    JSON.stringify(
      {
        machine,
        peers: Object.fromEntries(options.only.map((name) => [name, peers[name].wire])),
        repetitions,
        smoke,
        effort,
        placements: used,
        notes,
        rows,
        missing,
        failures,
        targets,
      },
      null,
      2,
    ),
  )
} else {
  const seconds = Math.round((Date.now() - started) / 1000)
  console.log(`Talkwire bench · Node ${machine.node} · ${machine.platform} · ${machine.cpu} · ${machine.cores} cores`)
  console.log(
    `${options.repetitions} repetitions in turn, medians · ${seconds} s${options.smoke ? ' · smoke: the figures mean nothing' : ''}`,
  )
  for (const note of notes) console.log(note)
  console.log(`\n${print(rows, used, missing)}${printTargets(targets)}\n\n${align(options.only.map((name) => [name, peers[name].wire]))}`)
  if (failures.length) console.log(`\nWRONG\n${failures.join('\n')}`)
}
const lacking = Object.keys(missing).some((name) => Object.keys(missing[name]).length > 0)
process.exitCode = failures.length || (options.strict && lacking) ? 1 : 0

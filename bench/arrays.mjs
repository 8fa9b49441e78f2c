// node bench/arrays.mjs [--smoke]: a SharedArray handed to another process by a call, however large it is, beside a call with two
// numbers and the same elements sent over the socket. Each answer is checked.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { connect } from 'talkwire'
import { SharedArray } from 'talkwire/memory'
import { python } from '../scripts/python.mjs'

const smoke = process.argv.includes('--smoke')
const runtime = mkdtempSync(path.join(os.tmpdir(), 'talkwire-bench-'))
process.env.TALKWIRE_RUNTIME_DIR = runtime
process.on('exit', () => rmSync(runtime, { recursive: true, force: true }))
const clients = fileURLToPath(new URL('../clients/python', import.meta.url))
const lib = (/** @type {string} */ file) => fileURLToPath(new URL(`lib/${file}`, import.meta.url))

const KIB = 1024
const SIZES = [8 * KIB, 8 * KIB * KIB, 256 * KIB * KIB]
/** The one whose elements are sent, too. */
const SENT = 8 * KIB * KIB
const partners = { node: [process.execPath, lib('array-end.mjs')], python: [python(), lib('array-end.py')] }

/** Microseconds, p50. @param {number} count @param {() => Promise<void>} action */
async function p50(count, action) {
  const rounds = smoke ? Math.ceil(count / 50) : count
  for (let n = 0; n < Math.ceil(rounds / 10); n++) await action()
  const times = []
  for (let n = 0; n < rounds; n++) {
    const began = performance.now()
    await action()
    times.push(performance.now() - began)
  }
  return 1000 * /** @type {number} */ (times.toSorted((a, b) => a - b)[times.length >> 1])
}

/** @param {unknown} is @param {unknown} expected */
function check(is, expected) {
  if (is !== expected) throw new Error(`${String(is)} came in place of ${String(expected)}`)
}

/** @param {string} title @param {number} figure @param {number} call */
const tell = (title, figure, call) =>
  console.log(`${title.padEnd(58)} ${figure.toFixed(1).padStart(10)} µs  ${(figure / call).toFixed(2).padStart(7)} × a small call`)

/** @param {string} language @param {string[]} command */
async function measure(language, [program = '', ...args]) {
  const name = `bench-${language}`
  const child = spawn(program, [...args, name], {
    env: { ...process.env, PYTHONPATH: clients },
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  try {
    await once(child.stdout, 'data')
    /** @type {any} */
    const client = await connect(`unix:${name}`)
    const call = await p50(20_000, async () => check(await client.add(2, 5), 7))
    tell(`${language}: a call with two numbers`, call, call)
    for (const bytes of SIZES) await hand(language, client, bytes, call)
    await client.close()
  } finally {
    child.kill()
    await once(child, 'exit')
  }
}

/** @param {string} language @param {any} client @param {number} bytes @param {number} call */
async function hand(language, client, bytes, call) {
  const name = `talkwire-bench-${process.pid}-${language}-${bytes}`
  const array = SharedArray.create(name, 'f8', bytes / 8)
  const { values } = array
  let n = 0
  try {
    values.fill(1)
    const size = bytes < KIB * KIB ? `${bytes / KIB} KiB` : `${bytes / KIB / KIB} MiB`
    tell(`${language}: ${size}, opened by its name`, await p50(200, async () => check(await client.open(name), values.length)), call)
    const handed = await p50(10_000, async () => {
      values[values.length - 1] = ++n
      array.publish()
      check(await client.last(), n)
    })
    tell(`${language}: ${size}, handed over`, handed, call)
    if (bytes !== SENT) return
    const sum = values.length - 1 + n
    tell(`${language}: ${size}, handed over and summed there`, await p50(200, async () => check(await client.sum(), sum)), call)
    tell(`${language}: ${size}, sent and summed there`, await p50(200, async () => check(await client.sum_of(values), sum)), call)
  } finally {
    array.unlink()
    array.close()
  }
}

for (const [language, command] of Object.entries(partners)) await measure(language, command)

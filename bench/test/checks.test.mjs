// The bench's checks have to notice wrong answers: each fault that is planted here must be reported.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as service from '../lib/service.mjs'
import { Wrong, measures } from '../measure.mjs'
import { median, summarise } from '../lib/report.mjs'
import { parseOptions } from '../lib/options.mjs'

const effort = { warm: 1, run: 5, clients: 3 }
const tick = () => new Promise((resolve) => setImmediate(resolve))

/** A client without a wire: what a right peer does. @returns {import('../measure.mjs').Client} */
function right() {
  service.finish()
  return {
    add: async (a, b) => (await tick(), service.add(a, b)),
    oneway: (m) => service.noteBytes(m),
    finish: async () => service.finish(),
    echo: async (p) => Buffer.from(service.echo(p)),
    sum: async (a) => service.sum(a),
    close() {},
  }
}

/** @param {string} name @param {Partial<import('../measure.mjs').Client>} [fault] */
function run(name, fault) {
  const client = { ...right(), ...fault }
  return measures[name]({ client, connect: async () => client, memory: async () => ({ rss: 0, heap: 0 }), text: false, effort })
}

for (const name of Object.keys(measures)) {
  test(`${name}: right answers pass`, async () => {
    const values = await run(name)
    assert.ok(Object.values(values).every(Number.isFinite))
  })
}

/** Lets the first `n` messages pass, then does something else. */
const after = (/** @type {number} */ n, /** @type {(m: Buffer) => void} */ fault) => {
  let count = 0
  return (/** @type {Buffer} */ m) => (++count === n ? fault(m) : service.noteBytes(m))
}
/** @type {Buffer | undefined} */
let held
const changed = (/** @type {Buffer} */ m, /** @type {number} */ at) => {
  const copy = Buffer.from(m)
  copy[at] ^= 1
  return copy
}
let calls = 0

/** @type {[what: string, name: string, fault: Partial<import('../measure.mjs').Client>][]} */
const faults = [
  ['a wrong result', 'unary', { add: async () => 8 }],
  ['one wrong result in 500', 'inflight256', { add: async (a, b) => (await tick(), ++calls % 500 ? a + b : a) }],
  ['answers swapped between calls', 'inflight256', { add: async (a, b) => (await tick(), (a ^ 1) + b) }],
  ['a lost message', 'oneway', { oneway: after(100, () => {}) }],
  ['a doubled message', 'oneway', { oneway: after(100, (m) => (service.noteBytes(m), service.noteBytes(m))) }],
  ['a damaged first byte', 'oneway', { oneway: after(100, (m) => service.noteBytes(changed(m, 0))) }],
  ['a damaged byte in the middle', 'oneway', { oneway: after(65, (m) => service.noteBytes(changed(m, 30))) }],
  ['a short message', 'oneway', { oneway: after(100, (m) => service.noteBytes(m.subarray(1))) }],
  [
    'two messages in the wrong order',
    'oneway',
    {
      oneway: (m) => {
        if (++calls % 64 === 10) held = m
        else {
          service.noteBytes(m)
          if (held) service.noteBytes(held)
          held = undefined
        }
      },
    },
  ],
  ['a damaged echo', 'echo', { echo: async (p) => changed(p, 40_000) }],
  ['a short echo', 'echo', { echo: async (p) => p.subarray(8) }],
  ['the echo of another call', 'echo', { echo: async () => Buffer.alloc(65536, 'A') }],
  ['an array whose last element is lost', 'sum', { sum: async (a) => service.sum(a.subarray(0, -1)) }],
  ['an old sum', 'sum', { sum: async (a) => 0 * a[0] }],
  ['a client that gets the answer of another', 'clients', { add: async (a, b) => a + b + 1 }],
]

for (const [what, name, fault] of faults) {
  test(`${name}: ${what} is noticed`, async () => {
    calls = 0
    held = undefined
    await assert.rejects(run(name, fault), Wrong)
  })
}

test('ratios compare figures of the same repetition', () => {
  const sample = (/** @type {string} */ peer, /** @type {number} */ repetition, /** @type {number} */ p50) => ({
    peer,
    case: 'unary',
    placement: 'same core',
    repetition,
    values: { p50, p99: p50 },
  })
  const rows = summarise([
    sample('floor', 0, 10),
    sample('ws', 0, 20),
    sample('floor', 1, 100),
    sample('ws', 1, 200),
    sample('floor', 2, 11),
    sample('ws', 2, 33),
  ])
  assert.equal(rows.find((r) => r.peer === 'ws')?.ratio, 2)
  assert.equal(rows.find((r) => r.peer === 'floor')?.ratio, 1)
  assert.equal(median([3, 1, 2, 10]), 2.5)
})

test('options: names are checked', () => {
  assert.deepEqual(parseOptions(['--cases', 'inflight,echo', '--only', 'floor']).cases, ['inflight256', 'inflight1024', 'echo'])
  assert.throws(() => parseOptions(['--only', 'flor']), /unknown peer "flor"/)
  assert.throws(() => parseOptions(['--cases', 'unari']), /unknown case/)
  assert.throws(() => parseOptions(['--repetitions', '0']), TypeError)
})

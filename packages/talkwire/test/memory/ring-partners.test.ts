/** The other end of a ring is a program in another language, which has only spec/rings.md. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { turns } from '../../compliance/ends.js'
import { compileC, HAS_CC } from '../helpers/c.js'
import { fails } from '../helpers/expect.js'
import type { Consumer } from '../../src/memory/consumer.js'
import { Ring, type RingOptions } from '../../src/memory/ring.js'
import { SharedMemory } from '../../src/memory/shared-memory.js'
import { run, type Running } from '../session/processes.js'
import { freshSegment, python, source } from './actors.js'
import { readNumber, RING, writeNumber } from './rings.js'

const COUNT = 3000

async function finished(partner: Running): Promise<void> {
  await partner.line('done')
  if (partner.child.exitCode === null) await once(partner.child, 'exit')
  assert.equal(partner.child.exitCode, 0)
}

async function read(ring: Ring): Promise<void> {
  using consumer = ring.consumer()
  for (let next = 0; next < COUNT;) {
    await consumer.ready({ timeout: 20_000 })
    consumer.read((data, offset, length) => assert.equal(readNumber(data, offset, length), next++))
  }
}

async function write(ring: Ring): Promise<void> {
  using producer = ring.producer()
  for (let n = 0; n < COUNT;)
    if (writeNumber(producer, n)) n++
    else await producer.ready(112, { timeout: 20_000 })
}

type Start = (name: string, path: string, role: string, kind: number) => Running

function pairs(language: string, start: Start, kinds: readonly NonNullable<RingOptions['producers']>[]): void {
  for (const producers of kinds)
    for (const role of ['produce', 'consume'])
      test(`${language}, ${producers}: ${role}`, async () => {
        const name = freshSegment()
        using memory = SharedMemory.create(name, RING.size)
        const ring = new Ring({ memory }, { producers })
        const partner = start(name, memory.path, role, producers === 'many' ? 2 : 1)
        await (role === 'produce' ? read(ring) : write(ring))
        await finished(partner)
        memory.unlink()
      })
}

const producersOf = (kind: number): 'one' | 'many' => (kind === 2 ? 'many' : 'one')
const inPython = (name: string, role: string, count: number, ...more: string[]): Running =>
  run(python, [source('ring_end.py'), name, role, String(count), ...more])

pairs('Python', (name, _, role, kind) => inPython(name, role, COUNT, producersOf(kind)), ['one', 'many'])

/** What each of several producers wrote is in its order. */
function readAll(consumer: Consumer, next: number[]): void {
  consumer.read((data, offset, length) => {
    const n = readNumber(data, offset, length)
    const from = next.indexOf(n)
    assert.notEqual(from, -1, `${n} is nobody's next`)
    next[from]!++
  })
}

test('Python, many: two in Python and Node write at a time, Node reads', async () => {
  const name = freshSegment()
  using memory = SharedMemory.create(name, RING.size)
  const ring = new Ring({ memory }, { producers: 'many' })
  const partners = [inPython(name, 'produce', 1000, 'many'), inPython(name, 'produce', 1000, 'many')]
  // The numbers that each of the three writes next, as far as they were read.
  const next = [0, 0, 0]
  let written = 0
  using consumer = ring.consumer()
  using producer = ring.producer()
  while (next.some((n) => n < 1000)) {
    if (written < 1000 && writeNumber(producer, written)) written++
    else await consumer.ready({ timeout: 20_000 })
    readAll(consumer, next)
  }
  await Promise.all(partners.map(finished))
  assert.equal(consumer.lost, 0)
  memory.unlink()
})

for (const reader of ['Node', 'Node at once', 'Python'])
  test(`Python, many: a producer that is killed at any change loses what it had in its hand, and nothing else; ${reader} reads, the other writes on`, async () => {
    for (let at = 1, last = false; !last; at++) {
      const name = freshSegment()
      using memory = SharedMemory.create(name, RING.size)
      const ring = new Ring({ memory }, { producers: 'many' })
      const victim = inPython(name, 'die', 2, 'many', String(at))
      await once(victim.child, 'exit')
      last = victim.child.signalCode === null
      if (last) assert.equal(await victim.line('changes'), `changes ${at - 1}`)
      // The one in its hand is there, or not; what another one writes is, in any case.
      const got = reader === 'Python' ? await readInPython(ring, name) : await readAfterPython(ring, name, reader === 'Node at once')
      assert.ok(['0,1,7', '0,1,2,7'].includes(String(got)), `killed at change ${at}: ${String(got)}`)
      assert.ok(!last || String(got) === '0,1,2,7')
      memory.unlink()
    }
  })

async function readAfterPython(ring: Ring, name: string, atOnce: boolean): Promise<number[]> {
  using consumer = ring.consumer()
  const numbers: number[] = []
  const read = (): number => consumer.read((data, offset, length) => void numbers.push(readNumber(data, offset, length)))
  // What the dead one had claimed is passed here, maybe beyond the tail that it did not live to move.
  while (atOnce && consumer.hasMessage) {
    read()
    await turns()
  }
  await finished(inPython(name, 'seven', 1, 'many'))
  while (numbers.at(-1) !== 7) {
    await consumer.ready({ timeout: 20_000 })
    read()
  }
  return numbers
}

async function readInPython(ring: Ring, name: string): Promise<number[]> {
  const partner = run(python, [source('ring_rest.py'), name])
  using producer = ring.producer()
  while (!writeNumber(producer, 7)) await producer.ready(112, { timeout: 20_000 })
  return JSON.parse((await partner.line('read ')).slice(5)) as number[]
}

if (HAS_CC) {
  const program = compileC(import.meta.url, 'ring')
  pairs('C', (_, path, role, kind) => run(program, [path, role, String(kind), String(COUNT)]), ['one', 'many'])

  test('C and Python, without Node', async () => {
    const name = freshSegment()
    using memory = SharedMemory.create(name, RING.size)
    const producer = run(program, [memory.path, 'produce', '1', String(COUNT)])
    const consumer = run(python, [source('ring_end.py'), name, 'consume', String(COUNT)])
    await finished(producer)
    await finished(consumer)
    memory.unlink()
  })

  test('a C producer that is killed loses what it had in its hand; Node takes its place', async () => {
    const name = freshSegment()
    using memory = SharedMemory.create(name, RING.size)
    const ring = new Ring({ memory })
    const partner = run(program, [memory.path, 'produce', '1', '1000000'])
    using consumer = ring.consumer()
    let next = 0
    const take = (): number => consumer.read((data, offset, length) => assert.equal(readNumber(data, offset, length), next++))
    while (next < COUNT) {
      await consumer.ready({ timeout: 20_000 })
      take()
    }
    assert.throws(() => ring.producer(), fails('UNAVAILABLE'))
    await partner.kill()
    using producer = ring.producer()
    while (take() > 0);
    assert.ok(writeNumber(producer, next))
    assert.equal(take(), 1)
    memory.unlink()
  })
}

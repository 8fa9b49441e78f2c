/** The other end of a ring is a program in another language, which has only spec/rings.md. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { compileC, HAS_CC } from '../helpers/c.js'
import { fails } from '../helpers/expect.js'
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

pairs('Python', (name, _, role) => run(python, [source('ring_end.py'), name, role, String(COUNT)]), ['one'])

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

/** A process is killed at each single change of shared memory that an operation of a ring makes; whoever comes then finds it in order. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { freshName } from '../helpers/place.js'
import { run } from '../session/processes.js'
import { Ring } from '../../src/memory/ring.js'
import { SharedMemory } from '../../src/memory/shared-memory.js'
import { RING_HEADER, WORD } from '../../src/memory/ring-layout.js'
import { CAPACITY, MESSAGES, NOTES, readNumber, RING, writeNumber } from './rings.js'

const script = fileURLToPath(new URL('fixtures/ring-sweep.js', import.meta.url))
const LAST = 1000

interface Scene {
  readonly ring: Ring
  readonly segment: string
}

async function child(operation: string, segment: string, at: number): Promise<{ killed: boolean; changes: number }> {
  const running = run(process.execPath, [script, operation, segment, String(at)])
  await once(running.child, 'exit')
  if (running.child.signalCode === 'SIGKILL') return { killed: true, changes: 0 }
  assert.equal(running.child.exitCode, 0, `${operation}, change ${at}`)
  return { killed: false, changes: Number((await running.line('changes ')).split(' ')[1]) }
}

/** So that the records of the sweep run over the end. */
function turn(ring: Ring): void {
  using producer = ring.producer()
  using consumer = ring.consumer()
  for (let n = 0; n < 12; n++) {
    assert.ok(writeNumber(producer, n))
    consumer.read(() => {})
  }
}

/** What is there before. */
const before: Record<string, (scene: Scene) => Promise<void> | void> = {
  write: ({ ring }) => turn(ring),
  read({ ring }) {
    turn(ring)
    using producer = ring.producer()
    for (let n = 0; n < MESSAGES; n++) assert.ok(writeNumber(producer, n))
  },
}

for (const producers of ['one', 'many'] as const)
  for (const what of ['write', 'write and read', 'read'])
    test(`${what}, ${producers}: killed at each change`, async (t) => {
      let points = 0
      for (let at = 1; points === 0; at++) {
        const segment = `tw-test-${freshName()}`
        using memory = SharedMemory.create(segment, NOTES + 64)
        const notes = memory.array(Int32Array, NOTES, 16)
        const ring = new Ring({ memory, ...RING }, { producers })
        const [operation, readFirst] = what.split(' and ') as [string, string?]
        await before[operation]!({ ring, segment })
        const { killed, changes } = await child(`${operation} ${producers}`, segment, at)
        if (!killed) points = changes
        const got: number[] = []
        using consumer = ring.consumer()
        const take = (): number => consumer.read((data, offset, length) => got.push(readNumber(data, offset, length)))
        if (readFirst) take()
        using producer = ring.producer()
        if (producers === 'many') await producer.ready(40, { timeout: 5000 })
        assert.ok(writeNumber(producer, LAST))
        while (got.at(-1) !== LAST) {
          await consumer.ready({ timeout: 5000 })
          take()
        }
        got.pop()
        const [done, begun] = [notes[0]!, notes[1]!]
        if (operation === 'write') {
          assert.deepEqual(
            got,
            Array.from({ length: got.length }, (_, n) => n),
            `change ${at}`,
          )
          assert.ok(got.length >= done && got.length <= begun, `change ${at}: ${got.length} read, ${done} to ${begun} written`)
        } else {
          // What was in the killed hand comes again, nothing else.
          const first = got[0] ?? MESSAGES
          assert.ok(first === done || first === done - 1, `change ${at}: goes on with ${first} after ${done}`)
          assert.deepEqual(
            got,
            Array.from({ length: got.length }, (_, n) => first + n),
          )
          assert.equal(got.at(-1) ?? MESSAGES - 1, MESSAGES - 1)
        }
        assert.ok(consumer.lost <= 1)
        memory.unlink()
      }
      t.diagnostic(`${points} changes`)
      assert.ok(points > MESSAGES)
    })

test('inherit, many: whoever takes the right to claim from a dead one is killed itself', async (t) => {
  let points = 0
  for (let at = 1; points === 0; at++) {
    const segment = `tw-test-${freshName()}`
    using memory = SharedMemory.create(segment, NOTES + 64)
    const notes = memory.array(Int32Array, NOTES, 16)
    const ring = new Ring({ memory, ...RING }, { producers: 'many' })
    turn(ring)
    // Dies with the right to claim, with a record that the tail does not tell of.
    assert.equal((await child('write many', segment, 8)).killed, true)
    const header = memory.array(Int32Array)
    const tail = Atomics.load(header, WORD.tail)
    assert.ok(Atomics.load(header, WORD.claiming) !== 0 && Atomics.load(header, (RING_HEADER + (tail & (CAPACITY - 1))) / 4) < 0)
    notes.fill(0)
    const { killed, changes } = await child('inherit many', segment, at)
    if (!killed) points = changes
    using producer = ring.producer()
    await producer.ready(40, { timeout: 5000 })
    assert.ok(writeNumber(producer, LAST))
    using consumer = ring.consumer()
    const got: number[] = []
    while (got.at(-1) !== LAST) {
      await consumer.ready({ timeout: 5000 })
      consumer.read((data, offset, length) => got.push(readNumber(data, offset, length)))
    }
    got.pop()
    assert.deepEqual(
      got,
      Array.from({ length: got.length }, (_, n) => n),
      `change ${at}`,
    )
    assert.ok(got.length >= notes[0]! && got.length <= notes[1]!)
    memory.unlink()
  }
  t.diagnostic(`${points} changes`)
})

/** A process is killed at each single change of shared memory that an operation of a ring makes; whoever comes then finds it in order. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Ring } from '../../src/memory/ring.js'
import { RING_HEADER, WORD } from '../../src/memory/ring-layout.js'
import { createPlace, deadAtEach, deadIn, type Place } from './ring-sweeps.js'
import { CAPACITY, MESSAGES, readNumber, RING, writeNumber } from './rings.js'

const LAST = 1000

interface Scene extends Place {
  readonly ring: Ring
}

function createScene(producers: 'one' | 'many'): Scene {
  const place = createPlace()
  return { ...place, ring: new Ring({ memory: place.memory, ...RING }, { producers }) }
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
const before: Record<string, (scene: Scene) => void> = {
  write: ({ ring }) => turn(ring),
  read({ ring }) {
    turn(ring)
    using producer = ring.producer()
    for (let n = 0; n < MESSAGES; n++) assert.ok(writeNumber(producer, n))
  },
}

const countTo = (length: number, first = 0): number[] => Array.from({ length }, (_, n) => first + n)

for (const producers of ['one', 'many'] as const)
  for (const what of ['write', 'write and read', 'read'])
    test(`${what}, ${producers}: killed at each change`, async (t) => {
      const [operation, readFirst] = what.split(' and ') as [string, string?]
      const prepare = (count: number): Scene[] =>
        Array.from({ length: count }, () => {
          const scene = createScene(producers)
          before[operation]!(scene)
          return scene
        })
      const points = await deadAtEach(`${operation} ${producers}`, prepare, async ({ ring, notes }, at) => {
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
          assert.deepEqual(got, countTo(got.length), `change ${at}`)
          assert.ok(got.length >= done && got.length <= begun, `change ${at}: ${got.length} read, ${done} to ${begun} written`)
        } else {
          // What was in the killed hand comes again, nothing else.
          const first = got[0] ?? MESSAGES
          assert.ok(first === done || first === done - 1, `change ${at}: goes on with ${first} after ${done}`)
          assert.deepEqual(got, countTo(got.length, first))
          assert.equal(got.at(-1) ?? MESSAGES - 1, MESSAGES - 1)
        }
        assert.ok(consumer.lost <= 1)
      })
      t.diagnostic(`${points} changes`)
      assert.ok(points > MESSAGES)
    })

/** Somebody died with the right to claim, with a record that the tail does not tell of. */
async function withDeadClaims(count: number): Promise<Scene[]> {
  const scenes = Array.from({ length: count }, () => createScene('many'))
  for (const { ring } of scenes) turn(ring)
  await deadIn(
    scenes,
    'write many',
    scenes.map(() => 8),
  )
  for (const { memory, notes } of scenes) {
    const header = memory.array(Int32Array)
    const tail = Atomics.load(header, WORD.tail)
    assert.ok(Atomics.load(header, WORD.claiming) !== 0 && Atomics.load(header, (RING_HEADER + (tail & (CAPACITY - 1))) / 4) < 0)
    notes.fill(0)
  }
  return scenes
}

test('inherit, many: whoever takes the right to claim from a dead one is killed itself', async (t) => {
  const points = await deadAtEach('inherit many', withDeadClaims, async ({ ring, notes }, at) => {
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
    assert.deepEqual(got, countTo(got.length), `change ${at}`)
    assert.ok(got.length >= notes[0]! && got.length <= notes[1]!)
  })
  t.diagnostic(`${points} changes`)
})

/** Producers and the consumer of a ring are killed again and again; no message is torn, doubled or lost but the one in the killed hand. */
import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import { freshName } from '../helpers/place.js'
import { ringBytes } from '../../src/memory/ring-layout.js'
import { Ring } from '../../src/memory/ring.js'
import type { Storm } from '../sync/kill-storm.js'
import { SharedMemory } from '../../src/memory/shared-memory.js'
import { fixture, type Running } from '../session/processes.js'
import { JOURNAL, LIVES, SENT_AT, SIZE, BEGUN_AT, SEEN_AT } from './storm.js'

const PRODUCERS = 3

/** The same times in each run. */
function* pauses(): Generator<number, never> {
  for (let seed = 11; ;) yield 5 + (((seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff) >> 8) % 46)
}

export async function ringStorm(kills: number): Promise<Storm> {
  assert.ok(kills + PRODUCERS + 2 < LIVES, 'the journal has no room for so many')
  const segment = `tw-test-${freshName()}`
  using memory = SharedMemory.create(segment, SIZE)
  const journal = memory.array(Int32Array, JOURNAL, 3 * LIVES)
  let life = 0
  const produce = (): Running => fixture(import.meta.url, 'storm-user.js', 'produce', segment, String(life++))
  const consume = (): Running => fixture(import.meta.url, 'storm-user.js', 'consume', segment)
  const producers = Array.from({ length: PRODUCERS }, produce)
  let consumer = consume()
  const ready = ({ child }: Running): Promise<unknown> =>
    child.exitCode === null ? Promise.resolve() : Promise.reject(new Error('it ended by itself'))
  await Promise.all([...producers, consumer].map((each) => each.line('ready')))
  const pause = pauses()
  for (let kill = 0; kill < kills; kill++) {
    await delay(pause.next().value)
    const which = kill % (PRODUCERS + 1)
    const victim = producers[which] ?? consumer
    await ready(victim)
    await victim.kill()
    const next = which < PRODUCERS ? (producers[which] = produce()) : (consumer = consume())
    await next.line('ready')
  }
  for (const producer of producers) await producer.kill()
  await ready(consumer)
  await consumer.kill()
  // What is left in it, and one more to show that it goes on.
  const ring = new Ring({ memory, size: ringBytes(4096) }, { producers: 'many' })
  using last = ring.consumer()
  const take = (): number =>
    last.read(({ words }, offset) => {
      const [from, n] = [words[offset >> 2]!, words[(offset >> 2) + 1]!]
      const seen = journal[SEEN_AT + from]!
      assert.ok(n === seen + 1 || n === seen, `life ${from}: ${n} after ${seen}`)
      journal[SEEN_AT + from] = n
    })
  using again = ring.producer()
  for (let done = false; !done;) {
    take()
    const at = again.tryClaim(8)
    if (at < 0) {
      await again.ready(8, { timeout: 5000 })
      continue
    }
    again.data.words[at >> 2] = LIVES - 1
    again.data.words[(at >> 2) + 1] = 1
    again.commit()
    done = true
  }
  while (journal[SEEN_AT + LIVES - 1] !== 1) {
    await last.ready({ timeout: 5000 })
    take()
  }
  let total = 0
  for (let n = 0; n < life; n++) {
    const [begun, sent, seen] = [journal[BEGUN_AT + n]!, journal[SENT_AT + n]!, journal[SEEN_AT + n]!]
    assert.ok(seen === sent || seen === begun, `life ${n}: ${seen} read, ${sent} written, ${begun} begun`)
    assert.ok(begun - sent <= 1)
    total += seen
  }
  assert.ok(last.lost <= kills + PRODUCERS)
  assert.equal(consumer.child.signalCode, 'SIGKILL')
  assert.ok(total > 0)
  memory.unlink()
  return { kills: kills + PRODUCERS + 1, sections: total }
}

/** The log on a disk that remembers: whatever instant the power is cut at, what is left is a state that was, with all that was on disk. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { openLogOn } from '../../src/hub/embedded/log.js'
import type { Log } from '../../src/hub/embedded/log-types.js'
import { Disk } from './log-disk.js'
import { onDisk, removal, set, Shelf } from './log-shelf.js'
import { randomOf, seedOf, type Random } from './random.js'

const SEGMENT = 4096

/** What the machine held after an append, and where that ended. */
interface Moment {
  readonly end: number
  readonly state: string
}

/** One or two changes that belong together. */
function change(shelf: Shelf, log: Log, random: Random, number: number): number {
  const key = random.below(12)
  const value = `${number}-`.padEnd(random.below(20) === 0 ? 600 : 8 + random.below(60), 'x')
  const [first, second] = [random.below(4) === 0 ? removal(key) : set(key, value), set(20 + (key % 3), value)]
  return shelf.write(log, random.below(2) ? [first] : [first, second])
}

/** Appends by turns, closes and opens again, so that all that a log ever does is done. */
async function history(disk: Disk, random: Random): Promise<{ moments: Moment[]; acked: { time: number; end: number }[] }> {
  const moments: Moment[] = [{ end: 0, state: '[]' }]
  const acked: { time: number; end: number }[] = []
  for (let session = 0, number = 0; session < 3; session++) {
    const shelf = new Shelf()
    const log = await openLogOn(disk, shelf, SEGMENT)
    assert.deepEqual(shelf.complaints, [])
    assert.equal(shelf.state(), moments.at(-1)!.state)
    shelf.onSynced = (end) => acked.push({ time: disk.time, end })
    for (let turn = 0; turn < 60; turn++) {
      for (let count = 1 + random.below(4); count > 0; count--) {
        const end = change(shelf, log, random, number++)
        moments.push({ end, state: shelf.state() })
      }
      if (random.below(3) === 0) await onDisk(shelf, moments.at(-1)!.end)
      else await new Promise(setImmediate)
    }
    await log.close()
  }
  return { moments, acked }
}

test('power cut at any instant: all that was on disk, nothing by halves, and never the same complaint twice', async () => {
  const seed = seedOf()
  const random = randomOf(seed)
  const disk = new Disk(random)
  const { moments, acked } = await history(disk, random)
  assert.ok(disk.calls.filter(({ call, name }) => call === 'remove' && name.endsWith('.log')).length > 3, 'segments were cleaned')
  for (let time = 0; time <= disk.time; time++) {
    const what = `seed ${seed}, cut at ${time}`
    const left = Disk.of(random, disk.after(time, random))
    const shelf = new Shelf()
    const log = await openLogOn(left, shelf, SEGMENT)
    const end = acked.findLast((ack) => ack.time <= time)?.end ?? 0
    const state = shelf.state()
    assert.ok(
      moments.some((moment, index) => moment.state === state && (moments[index + 1]?.end ?? Infinity) > end),
      `${what}: ${state} never was, or is older than ${end}`,
    )
    assert.ok(
      shelf.complaints.every((complaint) => complaint.includes('not finished')),
      `${what}: ${shelf.complaints.join('; ')}`,
    )
    // It goes on, and what was cut does not come back.
    await onDisk(shelf, shelf.write(log, [set(99, 'after')]))
    await log.close()
    const again = new Shelf()
    await (await openLogOn(Disk.of(random, left.contents()), again, SEGMENT)).close()
    assert.equal(again.state(), shelf.state(), what)
    assert.deepEqual(again.complaints, [], what)
  }
})

test('what is needed no more because of something that is not on disk yet stays until it is', async () => {
  const random = randomOf(1)
  const disk = new Disk(random)
  const shelf = new Shelf()
  const log = await openLogOn(disk, shelf, SEGMENT)
  await onDisk(shelf, shelf.write(log, [set(1, 'old')]))
  const live = shelf.live.bind(shelf)
  let asked = false
  shelf.live = (kind, body, place) => {
    // What comes in this moment begins a segment of its own, whose head says which segments are removed.
    if (!asked) shelf.write(log, [set(1, 'new'.padEnd(SEGMENT, '.'))])
    asked = true
    return live(kind, body, place)
  }
  for (let number = 0; !asked; number++) await onDisk(shelf, shelf.write(log, [set(2, `${number}`.padEnd(500, '.'))]))
  await log.close()
  for (let time = disk.calls.findLast(({ call, name }) => call === 'rename' && name.endsWith('.log'))!.at; time <= disk.time; time++) {
    const found = new Shelf()
    await (await openLogOn(Disk.of(random, disk.after(time, random)), found, SEGMENT)).close()
    assert.match(found.entries.get(1)?.value ?? 'nothing', /^(old|new)/, `cut at ${time}`)
  }
})

/** What a disk does to files: every length, every bit. Found, told once, set aside; the intact rest is there. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { BATCH_HEADER, decodeHead, SEGMENT_HEADER, walk } from '../../src/hub/embedded/log-format.js'
import { openLogOn } from '../../src/hub/embedded/log.js'
import { NOTES } from '../../src/hub/embedded/log-notes.js'
import { Disk } from './log-disk.js'
import { onDisk, set, Shelf } from './log-shelf.js'
import { randomOf, seedOf } from './random.js'

const SEGMENT = 4096
const seed = seedOf()
const random = randomOf(seed)
const what = (text: string): string => `seed ${seed}: ${text}`

type Contents = Map<string, Buffer>

/** Batch number n says that key n is set. `closed`: cleanly. */
async function made(batches: number, size: number, closed: boolean): Promise<Contents> {
  const disk = new Disk(random)
  const shelf = new Shelf()
  const log = await openLogOn(disk, shelf, SEGMENT)
  for (let key = 0; key < batches; key++) await onDisk(shelf, shelf.write(log, [set(key, `${key}:`.padEnd(size, 'v'))]))
  const killed = disk.contents()
  await log.close()
  return closed ? disk.contents() : killed
}

interface Seen {
  readonly keys: number[]
  readonly complaints: string[]
  readonly left: Contents
}

async function seen(contents: Contents): Promise<Seen> {
  const disk = Disk.of(random, contents)
  const shelf = new Shelf()
  await (await openLogOn(disk, shelf, SEGMENT)).close()
  return { keys: [...shelf.entries.keys()], complaints: shelf.complaints, left: disk.contents() }
}

/** The same with one file changed; undefined: it is gone. */
function changed(contents: Contents, name: string, change: (bytes: Buffer) => Buffer | undefined): Contents {
  const copy = new Map(contents)
  const bytes = change(Buffer.from(copy.get(name)!))
  if (bytes) copy.set(name, bytes)
  else copy.delete(name)
  return copy
}

const flipped = (bytes: Buffer, bit: number): Buffer => {
  bytes[bit >>> 3]! ^= 1 << (bit & 7)
  return bytes
}

const segmentsOf = (contents: Contents): string[] => [...contents.keys()].filter((name) => name.endsWith('.log')).sort()

const batchesIn = (bytes: Buffer): { from: number; to: number }[] => [...walk(bytes, decodeHead(bytes)!)].filter(({ batch }) => batch)

const keysTo = (count: number): number[] => Array.from({ length: count }, (_, key) => key)

/** It was told of once, and whoever opens the log again finds the same and hears nothing. */
async function isToldOnce({ keys, left }: Seen, text: string): Promise<void> {
  const again = await seen(left)
  assert.deepEqual(again.keys, keys, text)
  assert.deepEqual(again.complaints, [], text)
}

describe('the last batches at every length', () => {
  for (const closed of [true, false])
    test(closed ? 'of a log that was closed' : 'of a log whose process was killed', async () => {
      const contents = await made(6, 40, closed)
      const [name] = segmentsOf(contents) as [string]
      const batches = batchesIn(contents.get(name)!)
      for (let length = batches[4]!.from; length <= batches[5]!.to; length++) {
        const whole = batches.filter(({ to }) => to <= length).length
        const result = await seen(changed(contents, name, (bytes) => bytes.subarray(0, length)))
        const text = what(`${length} bytes`)
        // Of a killed process the sync of the fifth batch proves the fourth, and nothing proves the last.
        assert.deepEqual(result.keys, keysTo(whole), text)
        // A batch begins with the log's id, and that with a zero in one log of 256.
        const nothing = contents
          .get(name)!
          .subarray(batches[whole - 1]!.to, length)
          .every((byte) => byte === 0)
        const isClean = length === batches[5]!.to || (!closed && nothing)
        assert.equal(result.complaints.length, isClean ? 0 : 1, `${text}: ${result.complaints.join()}`)
        await isToldOnce(result, text)
      }
    })
})

describe('every flipped bit', () => {
  for (const closed of [true, false])
    test(`of ${closed ? 'a closed log' : 'the log of a killed process'} costs its batch and is told of`, async () => {
      const contents = await made(5, 150, closed)
      const [name] = segmentsOf(contents) as [string]
      for (const [key, { from, to }] of batchesIn(contents.get(name)!).entries())
        for (let bit = from * 8; bit < to * 8; bit++) {
          if (bit >= (from + BATCH_HEADER) * 8 && random.below(100) > 0) continue
          const result = await seen(changed(contents, name, (bytes) => flipped(bytes, bit)))
          const text = what(`bit ${bit} of batch ${key}`)
          assert.deepEqual(
            result.keys,
            keysTo(5).filter((each) => each !== key),
            text,
          )
          assert.equal(result.complaints.length, 1, `${text}: ${result.complaints.join()}`)
          const copy = [...result.left].find(([each]) => each.endsWith('.damaged'))
          assert.equal(copy?.[1].subarray(0, to - from).length, to - from, text)
          if (bit % 16 === 0) await isToldOnce(result, text)
        }
    })

  test('of the header of a segment costs nothing and is told of', async () => {
    const contents = await made(30, 150, true)
    for (const name of segmentsOf(contents))
      for (let bit = 0; bit < SEGMENT_HEADER * 8; bit++) {
        const result = await seen(changed(contents, name, (bytes) => flipped(bytes, bit)))
        assert.deepEqual(result.keys, keysTo(30), what(`bit ${bit} of ${name}`))
        assert.equal(result.complaints.length, 1, what(`bit ${bit} of ${name}`))
        if (bit % 16 === 0) await isToldOnce(result, what(`bit ${bit} of ${name}`))
      }
  })

  test('of the notes costs nothing and is told of', async () => {
    const contents = await made(4, 40, true)
    for (let bit = 0; bit < contents.get(NOTES)!.length * 8; bit++) {
      const result = await seen(changed(contents, NOTES, (bytes) => flipped(bytes, bit)))
      assert.deepEqual(result.keys, keysTo(4))
      assert.equal(result.complaints.length, 1)
    }
  })
})

describe('whole files', () => {
  test('any segment may be missing, empty or cut: the others are there', async () => {
    const contents = await made(80, 150, true)
    const names = segmentsOf(contents)
    assert.ok(names.length >= 4)
    for (const name of names)
      for (const change of [
        () => undefined,
        () => Buffer.alloc(0),
        (bytes: Buffer) => bytes.subarray(0, 100),
        (bytes: Buffer) => bytes.fill(0),
      ]) {
        const lost = batchesIn(contents.get(name)!).length
        const result = await seen(changed(contents, name, change))
        assert.ok(result.complaints.length > 0, what(name))
        assert.ok(result.keys.length >= 80 - lost && result.keys.length < 80, what(`${name}: ${result.keys.length}`))
        await isToldOnce(result, what(name))
      }
  })

  test('all but the last header gone: what is left of one segment is read', async () => {
    const contents = await made(6, 100, true)
    const [name] = segmentsOf(contents) as [string]
    const result = await seen(changed(contents, name, (bytes) => bytes.fill(0, 0, SEGMENT_HEADER)))
    assert.deepEqual(result.keys, keysTo(6))
    assert.equal(result.complaints.length, 1)
  })

  test('nothing is left: it says so and begins anew', async () => {
    const contents = await made(6, 100, true)
    const [name] = segmentsOf(contents) as [string]
    const result = await seen(changed(contents, name, () => undefined))
    assert.deepEqual(result.keys, [])
    assert.equal(result.complaints.length, 1)
    await isToldOnce(result, 'nothing')
  })

  test('a file of another log under the name of ours is not read', async () => {
    const contents = await made(80, 150, true)
    const other = await made(80, 150, true)
    const name = segmentsOf(contents)[1]!
    const result = await seen(changed(contents, name, () => other.get(name)!))
    assert.ok(result.complaints.some((complaint) => complaint.includes('no batch of this log')))
    assert.equal(result.keys.length, 80 - batchesIn(contents.get(name)!).length)
    await isToldOnce(result, 'other')
  })

  test('bytes in a body that look like a batch are none, also when the batch around them is damaged', async () => {
    const contents = await made(3, 100, true)
    const [name] = segmentsOf(contents) as [string]
    const inner = batchesIn(contents.get(name)!)[0]!
    const disk = Disk.of(random, contents)
    const shelf = new Shelf()
    const log = await openLogOn(disk, shelf, SEGMENT)
    const { end } = log.append([
      { kind: 1, body: Buffer.concat([Buffer.from([9, 0, 0, 0]), contents.get(name)!.subarray(inner.from, inner.to)]) },
    ])
    await onDisk(shelf, end)
    await onDisk(shelf, shelf.write(log, [set(10, 'last')]))
    await log.close()
    const outer = batchesIn(disk.contents().get(name)!)[3]!
    let replays = 0
    const counting = new Shelf()
    counting.replay = () => void replays++
    const damaged = changed(disk.contents(), name, (bytes) => flipped(bytes, outer.from * 8))
    await (await openLogOn(Disk.of(random, damaged), counting, SEGMENT)).close()
    assert.equal(replays, 4)
  })
})

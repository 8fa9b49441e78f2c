/** Ten thousand operations against what they should have made; what a failing disk leaves; that nothing grows that should not. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { openLogOn } from '../../src/hub/embedded/log.js'
import type { Log } from '../../src/hub/embedded/log-types.js'
import { fails } from '../helpers/expect.js'
import { Disk } from './log-disk.js'
import { onDisk, removal, set, Shelf } from './log-shelf.js'
import { randomOf, seedOf } from './random.js'

const seed = seedOf()

async function opened(disk: Disk, segment = 16 * 1024): Promise<{ shelf: Shelf; log: Log }> {
  const shelf = new Shelf()
  return { shelf, log: await openLogOn(disk, shelf, segment) }
}

test('ten thousand operations, with cleaning, reading, closing and killing', async () => {
  const random = randomOf(seed)
  let disk = new Disk(random)
  let { shelf, log } = await opened(disk)
  let moves = 0
  const again = async (): Promise<void> => {
    const [state] = [shelf.state()]
    moves += shelf.moves
    disk = Disk.of(random, disk.contents())
    ;({ shelf, log } = await opened(disk))
    assert.equal(shelf.state(), state, `seed ${seed}`)
    assert.deepEqual(shelf.complaints, [], `seed ${seed}`)
  }
  for (let number = 0; number < 10_000; number++) {
    const key = random.below(200)
    const end = shelf.write(log, [random.below(3) === 0 ? removal(key) : set(key, `${number}`.padEnd(random.below(300), 'y'))])
    const dice = random.below(500)
    if (dice < 40) await onDisk(shelf, end)
    else if (dice < 80) await reads(log, shelf, random.below(200), `seed ${seed}`)
    else if (dice < 85) {
      await log.close()
      await again()
    } else if (dice < 90) {
      await onDisk(shelf, end)
      await again()
    }
  }
  await log.close()
  await again()
  assert.ok(moves > 200, `${moves} records were moved`)
  assert.ok(log.stats().bytes < 400_000, `${log.stats().bytes} bytes for ${shelf.liveBytes()}`)
  await log.close()
})

async function reads(log: Log, shelf: Shelf, key: number, what: string): Promise<void> {
  const entry = shelf.entries.get(key)
  if (!entry) return
  const { value } = entry
  const body = Buffer.from(await log.read(entry.place))
  assert.equal(body.subarray(4).toString(), value, what)
}

describe('a disk that fails', () => {
  for (const [what, code, expected, truncates] of [
    ['EIO, and what could not be written is still read', 'EIO', 'UNAVAILABLE', true],
    ['EIO, and the file cannot be cut either', 'EIO', 'UNAVAILABLE', false],
    ['it is full', 'ENOSPC', 'NO_SPACE', true],
  ] as const)
    test(`${what}: nothing is acknowledged, and it does not come back`, async () => {
      const random = randomOf(seed)
      for (let after = 1; after <= 12; after++) {
        const disk = new Disk(random)
        const { shelf, log } = await opened(disk, 1024)
        let writes = 0
        disk.fault = (call, name) => {
          if (call === 'truncate' && !truncates && writes >= after) return code
          return call === 'write' && name.endsWith('.log') && ++writes === after ? code : undefined
        }
        let acked = shelf.state()
        for (let number = 0; shelf.failures.length === 0; number++) {
          const end = shelf.write(log, [set(number, 'z'.repeat(90)), set(number + 1000, 'w')])
          const state = shelf.state()
          await onDisk(shelf, end).then(
            () => (acked = state),
            () => {},
          )
        }
        assert.deepEqual(
          shelf.failures.map((reason) => reason.code),
          [expected],
        )
        assert.throws(() => log.append([set(1, 'no')]), fails('CLOSED'))
        await assert.rejects(log.close(), fails('CLOSED'))
        assert.equal(disk.released, 1)
        const next = Disk.of(random, disk.contents())
        const { shelf: found, log: second } = await opened(next, 1024)
        assert.equal(found.state(), acked, `seed ${seed}, write ${after}`)
        assert.deepEqual(found.complaints, [])
        await onDisk(found, found.write(second, [set(5000, 'goes on')]))
        await second.close()
        const { shelf: last, log: third } = await opened(Disk.of(random, next.contents()), 1024)
        assert.equal(last.state(), found.state())
        assert.deepEqual(last.complaints, [])
        await third.close()
      }
    })

  test('no room for the next segment: it says so and waits, and goes on when there is room', async () => {
    const random = randomOf(seed)
    const disk = new Disk(random)
    const { shelf, log } = await opened(disk, 4096)
    disk.fault = (call, name) => (call === 'write' && name === 'next' ? 'ENOSPC' : undefined)
    const full = new Promise<void>((resolve) => (shelf.onFull = resolve))
    let end = 0
    for (let number = 0; shelf.fulls.length === 0; number++) {
      end = shelf.write(log, [set(number, 'z'.repeat(90))])
      await Promise.race([onDisk(shelf, end), full])
    }
    assert.equal(shelf.fulls[0]!.code, 'NO_SPACE')
    assert.ok(!disk.contents().has('next'), 'what little room there is is left to others')
    const before = shelf.reached
    end = shelf.write(log, [set(5000, 'later')])
    disk.fault = () => undefined
    await onDisk(shelf, end)
    assert.ok(shelf.reached > before)
    assert.deepEqual(shelf.fulls.slice(1), [undefined])
    await log.close()
    const { shelf: found, log: second } = await opened(Disk.of(random, disk.contents()), 4096)
    assert.equal(found.state(), shelf.state())
    await second.close()
  })

  test('no room for the next segment, and it is closed: NO_SPACE, and what was on disk is there', async () => {
    const random = randomOf(seed)
    const disk = new Disk(random)
    const { shelf, log } = await opened(disk, 4096)
    disk.fault = (call, name) => (call === 'write' && name === 'next' ? 'ENOSPC' : undefined)
    const full = new Promise<void>((resolve) => (shelf.onFull = resolve))
    let acked = ''
    for (let number = 0; shelf.fulls.length === 0; number++) {
      const end = shelf.write(log, [set(number, 'z'.repeat(90))])
      const state = shelf.state()
      await Promise.race([
        onDisk(shelf, end).then(
          () => (acked = state),
          () => {},
        ),
        full,
      ])
    }
    assert.ok(shelf.entries.size > 25, `${shelf.entries.size}`)
    await assert.rejects(log.close(), fails('NO_SPACE'))
    assert.equal(disk.released, 1)
    const { shelf: found, log: second } = await opened(Disk.of(random, disk.contents()), 4096)
    assert.equal(found.state(), acked)
    await onDisk(found, found.write(second, [set(1, 'room')]))
    await second.close()
  })
})

test('a million records: each part of them costs as much work as any other', async () => {
  const random = randomOf(seed)
  const disk = new Disk(random)
  const { shelf, log } = await opened(disk, 1024 * 1024)
  const work: { writes: number; asked: number; bytes: number; files: number }[] = []
  const PARTS = 10
  for (let part = 0, number = 0; part < PARTS; part++) {
    const [calls, asked] = [disk.calls.length, shelf.asked]
    for (let turn = 0; turn < 200; turn++) {
      let end = 0
      for (let count = 0; count < 250; count++, number++)
        end = shelf.write(log, [set(number, 'value of 32 bytes, more or less.'), removal(Math.max(0, number - 500))])
      await onDisk(shelf, end)
    }
    work.push({ writes: disk.calls.length - calls, asked: shelf.asked - asked, ...log.stats() })
  }
  for (const { writes, asked, bytes, files } of work.slice(3)) {
    assert.ok(writes < 2 * work[1]!.writes, JSON.stringify(work))
    assert.ok(asked < 150_000, JSON.stringify(work))
    assert.ok(bytes < 5 * 1024 * 1024 && files <= 6, JSON.stringify(work))
  }
  assert.ok(shelf.moves < 10_000, `${shelf.moves} moved`)
  await log.close()
})

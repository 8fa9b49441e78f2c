/** The log on the disk of this machine. What a disk may do to it is in the other files. */
import assert from 'node:assert/strict'
import { closeSync, mkdirSync, openSync, readdirSync, statSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { filesIn } from '../../src/hub/embedded/log-files.js'
import { BATCH_LIMIT, crc32, crc32ByTable } from '../../src/hub/embedded/log-format.js'
import { openLog, openLogOn } from '../../src/hub/embedded/log.js'
import { fails } from '../helpers/expect.js'
import { freshPath } from '../helpers/place.js'
import { onDisk, removal, set, Shelf } from './log-shelf.js'

test('what was appended is there again, and can be read back at once and later', async () => {
  const folder = freshPath()
  const shelf = new Shelf()
  const log = await openLog(folder, shelf)
  const { places, end } = log.append([set(1, 'one'), set(2, 'two')])
  const body = new Uint8Array(4).fill(3)
  const own = log.append([{ kind: 7, body }])
  body.fill(9)
  assert.equal((await log.read(places[1]!)).length, 7)
  assert.ok(log.synced >= end)
  assert.deepEqual([...(await log.read(own.places[0]!))], [3, 3, 3, 3])
  await assert.rejects(log.read(places[1]! + 1), fails('NOT_FOUND', 'INVALID_MEMORY'))
  await assert.rejects(log.read(own.end), fails('NOT_FOUND'))
  await log.close()
  assert.throws(() => log.append([set(3, 'late')]), fails('CLOSED'))
  await assert.rejects(log.read(places[0]!), fails('CLOSED'))
  await log.close()
  const again = new Shelf()
  const second = await openLog(folder, again)
  assert.deepEqual([again.replayed, again.complaints], [3, []])
  assert.deepEqual([...(await second.read(own.places[0]!))], [3, 3, 3, 3])
  await second.close()
})

test('a record that was damaged on disk is not read back as if it were right', async () => {
  const folder = freshPath()
  const shelf = new Shelf()
  const log = await openLog(folder, shelf)
  await onDisk(shelf, shelf.write(log, [set(1, 'one'), set(2, 'two')]))
  const { place } = shelf.entries.get(2)!
  const fd = openSync(join(folder, '0000000001.log'), 'r+')
  writeSync(fd, 'X', place + 12 + 5)
  closeSync(fd)
  await assert.rejects(log.read(place), fails('INVALID_MEMORY'))
  await log.close()
})

test('its files are for its user alone, and so is its folder', async () => {
  const folder = freshPath()
  const log = await openLog(folder, new Shelf())
  await log.close()
  assert.equal(statSync(folder).mode & 0o777, 0o700)
  assert.deepEqual(readdirSync(folder).sort(), ['0000000001.log', 'lock', 'notes'])
  for (const name of readdirSync(folder)) assert.equal(statSync(join(folder, name)).mode & 0o777, 0o600, name)
})

test('one at a time has it; whoever comes hears who that is', async () => {
  const folder = freshPath()
  const log = await openLog(folder, new Shelf())
  await assert.rejects(
    openLog(folder, new Shelf()),
    (reason) => fails('UNAVAILABLE')(reason) && String(reason).includes(`process ${process.pid};`),
  )
  await log.close()
  await (await openLog(folder, new Shelf())).close()
  const file = freshPath()
  writeFileSync(file, '')
  await assert.rejects(openLog(file, new Shelf()), fails('UNAVAILABLE', 'INVALID_ADDRESS'))
})

test('what cannot be a record is refused before anything of its append is written', async () => {
  const folder = freshPath()
  const log = await openLog(folder, new Shelf())
  assert.throws(() => log.append([set(1, 'x'), { kind: -1, body: new Uint8Array() }]), TypeError)
  await log.close()
  const shelf = new Shelf()
  await (await openLog(folder, shelf)).close()
  assert.equal(shelf.replayed, 0)
})

test('large appends, empty bodies, more than a batch and more than a segment', async () => {
  const folder = freshPath()
  const shelf = new Shelf()
  const log = await openLogOn(await filesIn(folder), shelf, 1024 * 1024)
  const large = 'm'.repeat(3 * 1024 * 1024)
  shelf.write(log, [set(1, large)])
  for (let key = 10; key < 30; key++) shelf.write(log, [set(key, 'k'.repeat(BATCH_LIMIT / 10)), set(key + 100, '')])
  await onDisk(shelf, shelf.write(log, [set(2, large), set(3, '')]))
  assert.equal((await log.read(shelf.entries.get(1)!.place)).length, 4 + large.length)
  await log.close()
  const again = new Shelf()
  await (await openLog(folder, again)).close()
  assert.equal(again.state(), shelf.state())
})

test('a backup while it is written and cleaned is a log of its own, as of when it was asked for', async () => {
  const folder = freshPath()
  const shelf = new Shelf()
  const log = await openLogOn(await filesIn(folder), shelf, 16 * 1024)
  const backups: { path: string; state: string }[] = []
  for (let turn = 0; turn < 40; turn++) {
    let end = 0
    for (let key = 0; key < 50; key++) end = shelf.write(log, [set(key, `${turn}`.padEnd(60, '-')), removal((key + turn) % 50)])
    await onDisk(shelf, end)
    if (turn % 10 !== 5) continue
    const path = freshPath()
    backups.push({ path, state: shelf.state() })
    const copying = log.backup(path)
    shelf.write(log, [set(60, 'after it')])
    await copying
  }
  assert.ok(shelf.moves > 0)
  await assert.rejects(log.backup(folder), fails('ALREADY_EXISTS'))
  const occupied = freshPath()
  mkdirSync(occupied)
  writeFileSync(join(occupied, 'mine'), '')
  await assert.rejects(log.backup(occupied), fails('ALREADY_EXISTS'))
  await log.close()
  for (const { path, state } of backups) {
    const found = new Shelf()
    const copy = await openLogOn(await filesIn(path), found, 16 * 1024)
    assert.deepEqual([found.complaints, found.state()], [[], state])
    await onDisk(found, found.write(copy, [set(1, 'goes on')]))
    await copy.close()
  }
})

test('the checksum by table is that of zlib', () => {
  const bytes = Buffer.from('123456789')
  assert.equal(crc32ByTable(bytes), 0xcbf43926)
  assert.equal(crc32(bytes), 0xcbf43926)
})

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { after, test } from 'node:test'
import { SystemVMemory } from '../../src/memory/system-v.js'
import { compileC, HAS_CC } from '../helpers/c.js'
import { fails } from '../helpers/expect.js'
import { freshPath } from '../helpers/place.js'
import { startActor } from './actors.js'

const keys: number[] = []
function freshKey(): number {
  const taken = new Set(SystemVMemory.list().map(({ key }) => key))
  for (;;) {
    const key = randomInt(-(2 ** 31), -1)
    if (!taken.has(key)) return keys[keys.push(key) - 1]!
  }
}
after(() => {
  for (const { key } of SystemVMemory.list()) if (keys.includes(key)) SystemVMemory.remove(key)
})

test('create only, open only, open or create; sizes; removal', () => {
  const key = freshKey()
  assert.throws(() => SystemVMemory.open(key), fails('NOT_FOUND'))
  assert.throws(() => SystemVMemory.remove(key), fails('NOT_FOUND'))
  using memory = SystemVMemory.create(key, 5000, { mode: 0o640 })
  assert.deepEqual([memory.size, memory.bytes.length, memory.bytes.every((byte) => byte === 0)], [5000, 5000, true])
  assert.throws(() => SystemVMemory.create(key, 5000), fails('ALREADY_EXISTS'))
  using same = SystemVMemory.openOrCreate(key, 100)
  memory.array(Float64Array)[3] = 2.5
  assert.equal(same.array(Float64Array)[3], 2.5)
  assert.throws(() => SystemVMemory.openOrCreate(key, 5001), fails('INVALID_MEMORY'))
  using reader = SystemVMemory.open(key, { readOnly: true })
  assert.equal(reader.array(Float64Array)[3], 2.5)
  const info = SystemVMemory.list().find((segment) => segment.key === key)!
  assert.deepEqual(info, { key, id: memory.id, size: 5000, mode: 0o640, uid: process.getuid!(), creator: process.pid, attached: 3 })
  memory.remove()
  memory.remove()
  assert.throws(() => SystemVMemory.open(key), fails('NOT_FOUND'))
  assert.equal(same.array(Float64Array)[3], 2.5, 'who has it keeps it')
  using anew = SystemVMemory.openOrCreate(key, 10)
  assert.equal(anew.bytes[0], 0)
  anew.remove()
})

test('without a key, by its id', () => {
  const memory = SystemVMemory.create(undefined, 64)
  memory.bytes[5] = 9
  using other = SystemVMemory.attach(memory.id)
  assert.equal(other.bytes[5], 9)
  memory.remove()
  assert.equal(memory.close(), 1)
  assert.throws(() => memory.bytes, fails('CLOSED'))
  assert.throws(() => SystemVMemory.attach(2 ** 31 - 1), fails('NOT_FOUND'))
})

test('keys and sizes that cannot be are refused', () => {
  for (const key of [0, 0.5, 2 ** 31, -(2 ** 31) - 1, NaN, '5' as never]) assert.throws(() => SystemVMemory.open(key), RangeError)
  assert.throws(() => SystemVMemory.create(freshKey(), 0), RangeError)
  assert.throws(() => SystemVMemory.create(freshKey(), 2 ** 52), fails('NO_SPACE', 'INVALID_MEMORY'))
})

test('ipcs(1) sees it', () => {
  const key = freshKey()
  using memory = SystemVMemory.create(key, 12_345)
  const { stdout } = spawnSync('ipcs', ['-m'], { encoding: 'utf8' })
  const hex = (key >>> 0).toString(16).padStart(8, '0')
  assert.match(stdout, new RegExp(`^0x${hex} +${memory.id} .* 600 +12345 +1`, 'm'))
  memory.remove()
})

if (HAS_CC)
  test('a C program with shmget, in both directions, and with ftok', async () => {
    const sysv = await startActor(compileC(import.meta.url, 'sysv'))
    const path = freshPath()
    writeFileSync(path, '')
    const key = SystemVMemory.keyOf(path, 200)
    keys.push(key)
    assert.equal(await sysv.tell(`key ${path} 200`), String(key))
    assert.equal(await sysv.tell(`create ${key} 100`), 'opened')
    using theirs = SystemVMemory.open(key)
    theirs.bytes.set(Buffer.from('node'))
    assert.equal(await sysv.tell('read 4'), 'node')
    assert.equal(await sysv.tell(`remove ${key}`), 'removed')
    using ours = SystemVMemory.create(key, 50)
    assert.equal(await sysv.tell(`open ${key}`), 'opened')
    await sysv.tell('write from-C')
    assert.equal(Buffer.from(ours.bytes.subarray(0, 6)).toString(), 'from-C')
    ours.remove()
    await sysv.end()
  })

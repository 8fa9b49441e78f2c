import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { test } from 'node:test'
import { MappedFile } from '../../src/memory/mapped-file.js'
import { fails } from '../helpers/expect.js'
import { freshPath } from '../helpers/place.js'
import { run } from '../session/processes.js'
import { program, python, source } from './actors.js'

test('what is written to the memory is in the file, and the other way round', () => {
  const path = freshPath()
  writeFileSync(path, 'hello world')
  using file = MappedFile.open(path)
  assert.equal(file.size, 11)
  file.bytes.set(Buffer.from('HELLO'))
  assert.equal(readFileSync(path, 'utf8'), 'HELLO world')
  writeFileSync(path, 'other', { flag: 'r+' })
  assert.equal(Buffer.from(file.bytes).toString(), 'other world')
})

test('a file is made, or made larger, with its mode; what was in it stays', () => {
  const path = freshPath()
  assert.throws(() => MappedFile.open(path), fails('NOT_FOUND'))
  assert.throws(() => MappedFile.open(path, { size: 10, readOnly: true }), fails('NOT_FOUND'))
  MappedFile.open(path, { size: 10, mode: 0o640 }).close()
  assert.deepEqual([statSync(path).size, statSync(path).mode & 0o777], [10, 0o640])
  {
    using file = MappedFile.open(path)
    file.bytes[9] = 7
  }
  using larger = MappedFile.open(path, { size: 10_000 })
  assert.deepEqual([larger.size, larger.bytes[9], larger.bytes[9999]], [10_000, 7, 0])
  using smaller = MappedFile.open(path, { size: 5 })
  assert.equal(smaller.size, 10_000)
})

test('growing: new arrays see all of it, earlier ones their part, also what another process added', () => {
  const path = freshPath()
  using file = MappedFile.open(path, { size: 4096 })
  const early = file.bytes
  file.grow(3 * 4096)
  file.array(Uint8Array, 2 * 4096)[0] = 5
  early[0] = 6
  assert.deepEqual([early.length, file.size, file.bytes[0]], [4096, 3 * 4096, 6])
  writeFileSync(path, 'more', { flag: 'a' })
  file.grow(1)
  assert.equal(Buffer.from(file.bytes.subarray(-4)).toString(), 'more')
  using reader = MappedFile.open(path, { readOnly: true })
  assert.throws(() => reader.grow(1_000_000), fails('PERMISSION_DENIED'))
  assert.throws(() => file.grow(0), RangeError)
})

test('flushing resolves when the disk has it; it may be closed meanwhile', async () => {
  const path = freshPath()
  const file = MappedFile.open(path, { size: 1 << 20 })
  file.bytes.fill(3)
  const flushes = Promise.all([file.flush(), file.flush()])
  file.close()
  await flushes
  await assert.rejects(file.flush(), fails('CLOSED'))
  assert.throws(() => file.flushSync(), fails('CLOSED'))
  assert.throws(() => file.grow(5), fails('CLOSED'))
  assert.throws(() => file.bytes, fails('CLOSED'))
  using again = MappedFile.open(path)
  again.flushSync()
  assert.equal(again.bytes[(1 << 20) - 1], 3)
})

test('only regular files of at least one byte', () => {
  const empty = freshPath()
  writeFileSync(empty, '')
  const folder = freshPath()
  mkdirSync(folder)
  const fifo = freshPath()
  spawnSync('mkfifo', [fifo])
  for (const [path, code] of [
    [empty, 'INVALID_MEMORY'],
    [folder, 'INVALID_MEMORY'],
    [fifo, 'INVALID_MEMORY'],
    ['/dev/null', 'INVALID_MEMORY'],
    [`${empty}/x`, 'NOT_FOUND'],
    [freshPath().padEnd(300, 'x'), 'INVALID_ADDRESS'],
  ] as const)
    for (const readOnly of [false, true]) assert.throws(() => MappedFile.open(path, { readOnly }), fails(code), path)
  assert.throws(() => MappedFile.open(empty, { size: 0.5 }), RangeError)
})

test('without koffi nothing is made', () => {
  const path = freshPath()
  const { stdout } = spawnSync(
    process.execPath,
    ['--require', source('../../transports/fixtures/without-koffi.cjs'), program('all-refused'), path],
    { encoding: 'utf8' },
  )
  assert.equal(stdout, 'MISSING_PACKAGE\n'.repeat(6))
  assert.ok(!existsSync(path))
})

test('another process maps the same file: Python', async () => {
  const path = freshPath()
  using file = MappedFile.open(path, { size: 16 })
  const script = 'import mmap, sys\nwith open(sys.argv[1], "r+b") as file:\n    mmap.mmap(file.fileno(), 0)[0:6] = b"python"'
  assert.equal(spawnSync(python, ['-c', script, path]).status, 0)
  assert.equal(Buffer.from(file.bytes.subarray(0, 6)).toString(), 'python')
})

test('a file that somebody made smaller before it is mapped is mapped as it is; one made smaller later ends who touches it', async () => {
  const path = freshPath()
  MappedFile.open(path, { size: 3 * 4096 }).close()
  const reader = run(process.execPath, [program('touches'), path])
  await reader.line('mapped 12288')
  truncateSync(path, 4096)
  using file = MappedFile.open(path)
  assert.equal(file.size, 4096)
  // As documented: nobody survives that. It is the reader that ends, and not by an endless loop.
  const ended = once(reader.child, 'exit')
  reader.child.stdin!.write('touch\n')
  assert.deepEqual(await ended, [null, 'SIGBUS'])
})

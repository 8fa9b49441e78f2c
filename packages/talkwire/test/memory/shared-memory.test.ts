import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { linkSync, mkdirSync, readdirSync, readFileSync, rmdirSync, statSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { MessageChannel, receiveMessageOnPort, Worker } from 'node:worker_threads'
import { SharedMemory } from '../../src/memory/shared-memory.js'
import { compileC, HAS_CC } from '../helpers/c.js'
import { fails } from '../helpers/expect.js'
import { freshPath, place } from '../helpers/place.js'
import { run } from '../session/processes.js'
import { eventually } from '../transports/fixtures/support.js'
import { exists, freshSegment, program, remove, startActor, startNode, startPython } from './actors.js'

const records = (): string[] => readdirSync(join(place, 'run/memory')).filter((file) => file !== 'lock')

test('what one process writes another one reads; both may write', async () => {
  const name = freshSegment()
  using memory = SharedMemory.create(name, 64)
  const other = await startNode()
  assert.equal(await other.tell(`open ${name}`), '64')
  memory.bytes.set(Buffer.from('hello'))
  assert.equal(await other.tell('read 5'), 'hello')
  await other.tell('write again')
  assert.equal(Buffer.from(memory.bytes.subarray(0, 5)).toString(), 'again')
  await other.end()
  memory.unlink()
  assert.deepEqual(records(), [])
})

test('create only where nothing is; open only what is there; open-or-create both', () => {
  const name = freshSegment()
  assert.throws(() => SharedMemory.open(name), fails('NOT_FOUND'))
  assert.throws(() => SharedMemory.unlink(name), fails('NOT_FOUND'))
  using memory = SharedMemory.create(name, 100)
  assert.throws(() => SharedMemory.create(name, 100), fails('ALREADY_EXISTS'))
  using same = SharedMemory.openOrCreate(name, 80)
  assert.deepEqual([memory.size, same.size, same.bytes.length], [100, 100, 100])
  assert.throws(() => SharedMemory.openOrCreate(name, 101), fails('INVALID_MEMORY'))
  SharedMemory.unlink(name)
  using anew = SharedMemory.openOrCreate(name, 101)
  assert.equal(anew.size, 101)
  memory.unlink()
  assert.ok(exists(name), 'that name is not the old one any more')
  anew.unlink()
  assert.ok(!exists(name))
})

test('eight processes create at once: one has made it, all have the same, twenty times', async () => {
  const actors = await Promise.all(Array.from({ length: 8 }, () => startNode()))
  for (let round = 0; round < 20; round++) {
    const name = freshSegment()
    const made = await Promise.all(actors.map((actor) => actor.tell(`create ${name} 64`)))
    assert.deepEqual(made.toSorted(), ['64', ...Array<string>(7).fill('ALREADY_EXISTS')])
    await actors[made.indexOf('64')]!.tell('unlink')
    const all = await Promise.all(actors.map((actor) => actor.tell(`openOrCreate ${name} 64`)))
    assert.deepEqual(all, Array<string>(8).fill('64'))
    const counts = await Promise.all(actors.map((actor) => actor.tell('add')))
    assert.deepEqual(counts.map(Number).toSorted(), [1, 2, 3, 4, 5, 6, 7, 8])
    // All take it away, and one may make it anew meanwhile: nobody takes away what is new.
    const [again] = await Promise.all([eventuallyMade(actors[0]!, name), ...actors.slice(1).map((actor) => actor.tell('unlink'))])
    assert.equal(again, '64')
    assert.ok(exists(name))
    SharedMemory.unlink(name)
  }
  await Promise.all(actors.map((actor) => actor.end()))
  assert.deepEqual(records(), [])
})

async function eventuallyMade(actor: { tell(line: string): Promise<string> }, name: string): Promise<string> {
  for (;;) {
    const answer = await actor.tell(`create ${name} 64`)
    if (answer !== 'ALREADY_EXISTS') return answer
  }
}

test('names are taken away by one process at a time', async () => {
  const name = freshSegment()
  using memory = SharedMemory.create(name, 64)
  const holder = run('flock', [join(place, 'run/memory/lock'), 'sh', '-c', 'echo has it; cat'])
  await holder.line('has it')
  assert.throws(() => SharedMemory.unlink(name), fails('UNAVAILABLE'))
  assert.throws(() => memory.unlink(), fails('UNAVAILABLE'))
  const ended = once(holder.child, 'exit')
  holder.child.stdin!.end()
  await ended
  memory.unlink()
  assert.ok(!exists(name))
})

test('memory is closed and its name taken away though the runtime directory is gone', () => {
  const script = [
    'import { SharedMemory } from "talkwire/memory"',
    'import { rmSync } from "node:fs"',
    'const memory = SharedMemory.create(process.argv[1], 10)',
    'rmSync(process.env.TALKWIRE_RUNTIME_DIR.replace("/a/b", ""), { recursive: true })',
    'process.prependListener("exit", () => memory.unlink())',
  ].join('\n')
  const name = freshSegment()
  const env = { ...process.env, TALKWIRE_RUNTIME_DIR: `${freshPath()}/a/b` }
  mkdirSync(env.TALKWIRE_RUNTIME_DIR.replace('/b', ''), { recursive: true })
  assert.equal(spawnSync(process.execPath, ['--input-type=module', '-e', script, name], { env, stdio: 'inherit' }).status, 0)
  assert.ok(!exists(name))
})

test('sizes are exact, and every byte is zero', () => {
  const name = freshSegment()
  for (const size of [1, 7, 4096, 4097, 8 * 1024 * 1024 + 5]) {
    using memory = SharedMemory.create(name, size)
    assert.equal(statSync(memory.path).size, size)
    assert.equal(memory.bytes.length, size)
    assert.ok(memory.bytes.every((byte) => byte === 0))
    memory.unlink()
  }
  for (const size of [0, -1, 1.5, NaN, Infinity, 2 ** 60]) assert.throws(() => SharedMemory.create(name, size), /RangeError|NO_SPACE/)
  assert.ok(!exists(name))
})

test('arrays of any type; an offset or length that does not fit is refused with the numbers', () => {
  using memory = SharedMemory.anonymous(30)
  assert.equal(memory.array(Float64Array).length, 3)
  assert.equal(memory.array(BigInt64Array, 8, 2).byteOffset, 8)
  assert.equal(memory.array(Uint16Array, 30).length, 0)
  memory.array(Uint8Array, 8)[0] = 7
  assert.equal(memory.array(Uint8ClampedArray, 8, 1)[0], 7)
  for (const [offset, length] of [[4], [-8], [0.5], [32], [8, 3], [0, -1], [0, 1.5]] as [number, number?][])
    assert.throws(() => memory.array(Float64Array, offset, length), RangeError)
})

test('modes are exact, whatever the umask', () => {
  const before = process.umask(0o077)
  try {
    for (const mode of [0o600, 0o660, 0o644]) {
      using memory = SharedMemory.create(freshSegment(), 10, { mode })
      assert.equal(statSync(memory.path).mode & 0o777, mode)
      memory.unlink()
    }
  } finally {
    process.umask(before)
  }
})

test('read-only memory shows what others write; a write to it ends the process', async () => {
  const name = freshSegment()
  using memory = SharedMemory.create(name, 10)
  using reader = SharedMemory.open(name, { readOnly: true })
  memory.bytes[3] = 5
  assert.equal(reader.bytes[3], 5)
  const other = await startNode()
  await other.tell(`open ${name} readOnly`)
  const ended = once(other.running.child, 'exit')
  other.running.child.stdin!.write('#2 write x\n')
  assert.deepEqual(await ended, [null, 'SIGSEGV'])
  memory.unlink()
})

test('the list tells size, mode, maker and users', async () => {
  const name = freshSegment()
  using memory = SharedMemory.create(name, 5000, { mode: 0o640 })
  const other = await startNode()
  await other.tell(`open ${name}`)
  const find = (): ReturnType<typeof SharedMemory.list>[number] | undefined => SharedMemory.list().find((each) => each.name === name)
  const info = find()!
  assert.deepEqual(
    [info.size, info.mode, info.uid, info.creator?.pid, info.creator?.alive],
    [5000, 0o640, process.getuid!(), process.pid, true],
  )
  assert.deepEqual(info.users.toSorted(), [process.pid, other.pid].toSorted())
  await other.end()
  assert.deepEqual(find()!.users, [process.pid])
  memory.unlink()
  assert.equal(find(), undefined)
})

test('names that could be something else are refused', () => {
  const bad = ['', '/', '.', '..', '../x', 'a/b', '//a', 'a\0b', 'a\r\nb', 'a\u0085b', 'a\ud800', 'sem.x', 'x'.repeat(201), 'ü'.repeat(101)]
  for (const name of bad)
    for (const use of [SharedMemory.open, (each: string) => SharedMemory.create(each, 1), SharedMemory.unlink])
      assert.throws(() => use(name), fails('INVALID_ADDRESS'), JSON.stringify(name))
  assert.throws(() => SharedMemory.open(5 as never), TypeError)
  for (const name of [`${freshSegment()}-ünï-文字 and spaces`, `.${freshSegment()}`, freshSegment().padEnd(200, 'x')]) {
    using memory = SharedMemory.create(`/${name}`, 1)
    assert.equal(memory.name, name)
    using same = SharedMemory.open(name)
    assert.equal(same.size, 1)
    memory.unlink()
  }
})

test('what is put under our name is neither followed nor written to', () => {
  const target = freshPath('.txt')
  writeFileSync(target, 'precious')
  const victim = SharedMemory.create(freshSegment(), 8)
  const name = freshSegment()
  const path = `/dev/shm/${name}`
  const plants: [plant: () => void, remove: () => void, open: Parameters<typeof fails>][] = [
    [() => symlinkSync(target, path), () => unlinkSync(path), ['PERMISSION_DENIED']],
    [() => mkdirSync(path), () => rmdirSync(path), ['INVALID_MEMORY']],
    [() => spawnSync('mkfifo', [path]), () => unlinkSync(path), ['INVALID_MEMORY']],
    [() => linkSync(victim.path, path), () => unlinkSync(path), ['INVALID_MEMORY']],
  ]
  for (const [plant, clear, codes] of plants) {
    plant()
    assert.throws(() => SharedMemory.create(name, 10), fails('ALREADY_EXISTS'))
    assert.throws(() => SharedMemory.open(name), fails(...codes))
    assert.throws(() => SharedMemory.open(name, { readOnly: true }), fails(...codes))
    assert.throws(() => SharedMemory.openOrCreate(name, 10), fails(...codes))
    clear()
  }
  assert.equal(readFileSync(target, 'utf8'), 'precious')
  victim.unlink()
  victim.close()
})

test('memory that its maker has not sized yet says so', () => {
  const name = freshSegment()
  writeFileSync(`/dev/shm/${name}`, '')
  assert.throws(() => SharedMemory.open(name), fails('INVALID_MEMORY'))
  SharedMemory.unlink(name)
})

test('closed memory gives no arrays, and says how many are held', () => {
  const name = freshSegment()
  const memory = SharedMemory.create(name, 16)
  const array = memory.array(Int32Array)
  array[1] = 5
  assert.equal(memory.close(), 1)
  assert.equal(memory.close(), 1)
  assert.throws(() => memory.bytes, fails('CLOSED'))
  assert.throws(() => memory.unlink(), fails('CLOSED'))
  assert.equal(array[1], 5)
  SharedMemory.unlink(name)
})

test('memory is neither transferred nor shared by a copy of its buffer', () => {
  using memory = SharedMemory.anonymous(4096)
  const bytes = memory.bytes
  bytes[0] = 1
  const { port1, port2 } = new MessageChannel()
  // Some versions of Node say so, others copy.
  const copied = (copy: () => ArrayBuffer): void => {
    let clone: ArrayBuffer
    try {
      clone = copy()
    } catch (reason) {
      return assert.equal((reason as Error).name, 'DataCloneError')
    }
    assert.equal(new Uint8Array(clone)[0], 1)
    new Uint8Array(clone)[0] = 2
  }
  const buffer = bytes.buffer as ArrayBuffer
  copied(() => structuredClone(buffer, { transfer: [buffer] }) as ArrayBuffer)
  copied(() => {
    port1.postMessage(buffer, [buffer])
    return receiveMessageOnPort(port2)!.message as ArrayBuffer
  })
  port1.close()
  port2.close()
  assert.equal(bytes[0], 1)
  assert.equal(bytes.length, 4096)
  for (const method of ['transfer', 'transferToFixedLength'] as const)
    assert.throws(() => (bytes.buffer as unknown as Record<string, () => void>)[method]!(), TypeError)
})

test('a process that ends with memory open ends well', () => {
  const script = 'import { SharedMemory } from "talkwire/memory"; globalThis.kept = SharedMemory.anonymous(10).bytes'
  const { status, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' })
  assert.deepEqual([status, stderr], [0, ''])
})

test('an array that outlives its memory shows its bytes, never others; collected, the mapping is gone', async () => {
  const other = await startActor(process.execPath, '--expose-gc', program('outlives'))
  await other.end()
  assert.equal(other.running.child.exitCode, 0)
})

test('Atomics work on mapped memory, between processes: nothing is lost', async () => {
  const memory = SharedMemory.anonymous(64)
  const words = memory.array(Int32Array)
  const longs = memory.array(BigInt64Array)
  const adders = await Promise.all(Array.from({ length: 2 }, () => startActor(process.execPath, program('adder'), memory.path)))
  // Both wait here, so that they run at the same time.
  Atomics.store(words, 15, 1)
  for (const adder of adders) await adder.running.line('done')
  assert.equal(Atomics.load(words, 0), 400_000)
  assert.equal(Atomics.load(longs, 1), 400_000n)
  assert.equal(words[4], 400_000, 'guarded by compareExchange')
  for (const adder of adders) await adder.end()
  memory.close()
})

test('a thread opens it too; the end of a thread, however it ends, leaves everybody else theirs', async () => {
  const name = freshSegment()
  using memory = SharedMemory.create(name, 64)
  const words = memory.array(Int32Array)
  for (const how of ['ends', 'terminated']) {
    const worker = new Worker(new URL('fixtures/thread.js', import.meta.url), { workerData: { name, how } })
    // Both may come at once.
    const exit = once(worker, 'exit')
    await once(worker, 'message')
    if (how === 'terminated') await worker.terminate()
    await exit
  }
  assert.equal(words[0], 2)
  assert.throws(() => SharedMemory.create(name, 64), fails('ALREADY_EXISTS'))
  memory.unlink()
})

test('children inherit no descriptor of it', () => {
  const name = freshSegment()
  using memory = SharedMemory.create(name, 10)
  using anonymous = SharedMemory.anonymous(10)
  const { stdout } = spawnSync('ls', ['-l', '/proc/self/fd'], { encoding: 'utf8' })
  assert.match(stdout, / 0 -> /)
  assert.doesNotMatch(stdout, /shm|memfd/)
  assert.notEqual(memory.fd, anonymous.fd)
  memory.unlink()
})

// -- lifetime

test('what a crash left behind is taken away by the next one; its bytes are not seen again', async () => {
  for (const how of ['create', 'open'] as const)
    for (const end of ['SIGKILL', 'exit 1', 'throw']) {
      const name = freshSegment()
      const maker = await startNode()
      await maker.tell(`create ${name} 64`)
      await maker.tell('write secret')
      const ended = once(maker.running.child, 'exit')
      if (end === 'SIGKILL') await maker.running.kill()
      else maker.running.child.stdin!.write(`#9 ${end}\n`)
      await ended.catch(() => {})
      assert.ok(exists(name))
      if (how === 'open') assert.throws(() => SharedMemory.open(name), fails('NOT_FOUND'))
      else {
        using memory = SharedMemory.create(name, 32)
        assert.equal(memory.bytes[0], 0)
        memory.unlink()
      }
      assert.ok(!exists(name))
    }
  assert.deepEqual(records(), [])
})

test('what lives is never taken away', async () => {
  const living: Record<string, (name: string) => Promise<() => Promise<void>>> = {
    'a user with Talkwire': async (name) => {
      const user = await startNode()
      await user.tell(`open ${name}`)
      return () => user.end()
    },
    'a stopped user': async (name) => {
      const user = await startNode()
      await user.tell(`open ${name}`)
      process.kill(user.pid, 'SIGSTOP')
      return () => user.running.kill()
    },
    'a foreign mapping': async (name) => {
      const user = await startPython('tracked')
      await user.tell(`open ${name}`)
      return async () => {
        await user.running.kill()
        // Python's tracker outlives it by a moment, and knows nothing of records.
        await eventually(() => !exists(name), "Python's tracker has taken the name away")
        SharedMemory.clean()
      }
    },
    'a user of the Python client': async (name) => {
      const user = await startPython('talkwire')
      assert.equal(await user.tell(`open ${name}`), '64')
      return () => user.end()
    },
  }
  for (const [what, begin] of Object.entries(living)) {
    const name = freshSegment()
    const maker = await startNode()
    await maker.tell(`create ${name} 64`)
    const end = await begin(name)
    await maker.running.kill()
    assert.throws(() => SharedMemory.create(name, 64), fails('ALREADY_EXISTS'), what)
    SharedMemory.open(name).close()
    await end()
    if (exists(name)) SharedMemory.create(name, 64).unlink()
    assert.deepEqual(records(), [], what)
  }
})

test('a stopped maker lives', async () => {
  const name = freshSegment()
  const maker = await startNode()
  await maker.tell(`create ${name} 64`)
  process.kill(maker.pid, 'SIGSTOP')
  assert.throws(() => SharedMemory.create(name, 64), fails('ALREADY_EXISTS'))
  SharedMemory.open(name).close()
  await maker.running.kill()
  assert.throws(() => SharedMemory.open(name), fails('NOT_FOUND'))
})

test('left on purpose it stays: closed, ended in good order, or persist and killed', async () => {
  for (const how of ['close', 'end', 'persist']) {
    const name = freshSegment()
    const maker = await startNode()
    await maker.tell(`create ${name} 64 600 ${how}`)
    await maker.tell('write kept')
    if (how === 'close') await maker.tell('close')
    if (how === 'end') await maker.end()
    else await maker.running.kill()
    using memory = SharedMemory.open(name)
    assert.equal(Buffer.from(memory.bytes.subarray(0, 4)).toString(), 'kept')
    memory.unlink()
  }
  assert.deepEqual(records(), [])
})

test('a record of an earlier segment says nothing of a new one', async () => {
  const name = freshSegment()
  const maker = await startNode()
  await maker.tell(`create ${name} 64`)
  await maker.running.kill()
  const [record] = records() as [string]
  const text = readFileSync(join(place, 'run/memory', record), 'utf8')
  const { since } = JSON.parse(text) as { since: number }
  // A program that knows nothing of Talkwire makes it anew, and gets the number of the old inode: later by the clock of files, which
  // stands still for some milliseconds.
  const foreign = () => {
    unlinkSync(`/dev/shm/${name}`)
    writeFileSync(`/dev/shm/${name}`, 'foreign', { mode: 0o600 })
    return statSync(`/dev/shm/${name}`)
  }
  let made = foreign()
  while (made.birthtimeMs <= since + 1) made = foreign()
  const { ino } = made
  writeFileSync(join(place, 'run/memory', `${name}.${ino}.json`), text.replace(/"inode":\d+/, `"inode":${ino}`))
  using memory = SharedMemory.open(name)
  assert.equal(Buffer.from(memory.bytes).toString(), 'foreign')
  memory.unlink()
  unlinkSync(join(place, 'run/memory', record))
})

// -- anonymous memory

test('anonymous memory: others open its path, nobody makes it smaller or larger', async () => {
  const memory = SharedMemory.anonymous(4096)
  const [node, other] = await Promise.all([startNode(), startPython('tracked')])
  assert.equal(await node.tell(`attach ${memory.path}`), '4096')
  assert.equal(await other.tell(`attach ${memory.path}`), '4096')
  await other.tell('write python')
  assert.equal(await node.tell('read 6'), 'python')
  assert.equal(await other.tell(`shrink ${memory.path}`), 'PermissionError')
  using same = SharedMemory.attach(memory.fd, { readOnly: true })
  assert.equal(Buffer.from(same.bytes.subarray(0, 6)).toString(), 'python')
  memory.close()
  await node.tell('write still')
  assert.equal(await other.tell('read 5'), 'still')
  await Promise.all([node.end(), other.end()])
})

test('memory that could become smaller is not attached', () => {
  const file = freshPath()
  writeFileSync(file, 'x'.repeat(100))
  assert.throws(() => SharedMemory.attach(file), fails('INVALID_MEMORY'))
  assert.throws(() => SharedMemory.attach(freshPath()), fails('NOT_FOUND'))
  const fifo = freshPath()
  spawnSync('mkfifo', [fifo])
  assert.throws(() => SharedMemory.attach(fifo, { readOnly: true }), fails('INVALID_MEMORY'))
  const name = freshSegment()
  using named = SharedMemory.create(name, 10)
  assert.throws(() => SharedMemory.attach(named.path), fails('INVALID_MEMORY'))
  named.unlink()
})

// -- C

if (HAS_CC)
  test('a C program with shm_open, in both directions', async () => {
    const shm = await startActor(compileC(import.meta.url, 'shm', '-lrt'))
    const name = freshSegment()
    assert.equal(await shm.tell(`create /${name} 100`), 'opened')
    using theirs = SharedMemory.open(name)
    assert.equal(theirs.size, 100)
    theirs.bytes.set(Buffer.from('from Node'.replace(' ', '-')))
    assert.equal(await shm.tell('read 9'), 'from-Node')
    assert.equal(await shm.tell(`unlink /${name}`), 'unlinked')
    assert.throws(() => SharedMemory.open(name), fails('NOT_FOUND'))
    using ours = SharedMemory.create(name, 50)
    assert.equal(await shm.tell(`open /${name}`), 'opened')
    assert.equal(await shm.tell('write from-C'), 'written')
    assert.equal(Buffer.from(ours.bytes.subarray(0, 6)).toString(), 'from-C')
    ours.unlink()
    await shm.end()
    remove(name)
  })

test('nothing is left behind', async () => {
  await eventually(() => !SharedMemory.list().some(({ name }) => name.includes(`tw-test-t${process.pid}-`)), 'the segments are gone')
  assert.deepEqual(records(), [])
})

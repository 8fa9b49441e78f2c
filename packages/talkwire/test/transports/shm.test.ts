import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { closeSync, openSync, readdirSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { LocalEnd, pattern, soon, turns } from '../../compliance/ends.js'
import { testTransport } from '../../compliance/index.js'
import { connect, serve, TalkwireError } from '../../src/index.js'
import { addSeals, createMemfd, SEAL } from '../../src/kernel/mapping.js'
import { Consumer } from '../../src/memory/consumer.js'
import { Producer } from '../../src/memory/producer.js'
import { ringBytes, WORD } from '../../src/memory/ring-layout.js'
import { openRing } from '../../src/memory/ring-place.js'
import { saySleeps } from '../../src/memory/seats.js'
import { SharedMemory } from '../../src/memory/shared-memory.js'
import { runtimeDirectory } from '../../src/discovery/names.js'
import { shm } from '../../src/transports/shm.js'
import type { ByteConnection, Connection, Sink } from '../../src/transports/transport.js'
import { unix } from '../../src/transports/unix.js'
import { fails } from '../helpers/expect.js'
import { freshName, freshPath } from '../helpers/place.js'
import { eventually, script } from './fixtures/support.js'

testTransport({ test, transport: shm, address: () => `shm:${freshName()}` })

const CAPACITY = 64 * 1024
const over = new TalkwireError('CONNECTION_LOST', 'the test is over')
const descriptors = (): string[] => readdirSync('/proc/self/fd')

/** A listening end, and where it listens. */
async function listening(
  behaviour: ConstructorParameters<typeof LocalEnd>[0] = {},
  options: { handshake?: number; maxMessage?: number } = {},
) {
  const address = `shm:${freshName()}`
  const ends: LocalEnd[] = []
  const listener = await shm.listen!(
    address,
    (connection) => {
      const end = new LocalEnd(behaviour)
      ends.push(end)
      return end.accepted(connection)
    },
    options,
  )
  const socket = `unix:${join(runtimeDirectory(), `${address.slice(4)}.shm`)}`
  return { address, socket, ends, listener }
}

/** Connects to the socket beside the rings and says something; returns what comes back, and the end. */
async function say(socket: string, ...notes: unknown[]): Promise<{ heard: string[]; ended: Promise<void>; connection: ByteConnection }> {
  const heard: string[] = []
  let end!: () => void
  const ended = new Promise<void>((resolve) => {
    end = resolve
  })
  const sink: Sink = {
    message: (bytes, start, stop) => void heard.push(bytes.toString('utf8', start, stop)),
    value() {},
    drained() {},
    closed: end,
  }
  const connection = (await unix.connect!(socket, sink)) as ByteConnection
  for (const note of notes) {
    connection.begin().text(typeof note === 'string' ? note : JSON.stringify(note))
    connection.commit()
  }
  return { heard, ended, connection }
}

test('shm: whoever says nonsense is told why, and leaves nothing', async () => {
  const { address, socket, listener, ends } = await listening()
  const before = descriptors()
  const plain = openSync(freshPath('.file'), 'w+')
  writeFileSync(plain, Buffer.alloc(2 * ringBytes(CAPACITY)))
  const unsealed = createMemfd('unsealed')
  writeFileSync(unsealed, Buffer.alloc(2 * ringBytes(CAPACITY)))
  const growing = createMemfd('growing')
  writeFileSync(growing, Buffer.alloc(2 * ringBytes(CAPACITY)))
  addSeals(growing, SEAL.shrink)
  const small = SharedMemory.anonymous(4096)
  const cases: [note: unknown, code: string][] = [
    [{ shm: 2, descriptor: 3 }, 'UNSUPPORTED'],
    [{ shm: 1, descriptor: -1 }, 'INVALID_MESSAGE'],
    [{ shm: 1, descriptor: '../../1/fd/3' }, 'INVALID_MESSAGE'],
    [{ shm: 1 }, 'INVALID_MESSAGE'],
    [{ shm: 1, descriptor: 1_000_000 }, 'PERMISSION_DENIED'],
    [{ shm: 1, descriptor: plain }, 'INVALID_MEMORY'],
    [{ shm: 1, descriptor: unsealed }, 'INVALID_MEMORY'],
    [{ shm: 1, descriptor: growing }, 'INVALID_MEMORY'],
    [{ shm: 1, descriptor: small.fd }, 'INVALID_MEMORY'],
  ]
  for (const [note, code] of cases) {
    const { heard, ended } = await say(socket, note)
    await soon(ended, 'the end')
    assert.equal((JSON.parse(heard[0]!) as { error: { code: string } }).error.code, code, JSON.stringify(note))
  }
  for (const nonsense of ['[]', '7', 'null', '{', 'x'.repeat(5000)]) await soon((await say(socket, nonsense)).ended, 'the end')
  for (const fd of [plain, unsealed, growing]) closeSync(fd)
  small.close()
  assert.equal(ends.length, 0)
  await eventually(() => descriptors().length <= before.length, 'all descriptors are closed')

  const end = new LocalEnd()
  end.connection = await shm.connect!(address, end)
  end.send(pattern(10))
  await eventually(() => ends.length === 1, 'the listener goes on')
  await ends[0]!.got(1)
  end.connection.abort(over)
  await ends[0]!.ending()
  await listener.close()
})

test('shm: whoever says nothing is not waited for', async () => {
  const { socket, listener } = await listening({}, { handshake: 50 })
  const silent = await say(socket)
  await soon(silent.ended, 'the end')
  await listener.close()
})

test('shm: who is refused there hears the reason here', async () => {
  const server = net.createServer((peer) => {
    const text = JSON.stringify({ error: { code: 'UNSUPPORTED', message: 'shm: version 9 is spoken here' } })
    const head = Buffer.alloc(4)
    head.writeUInt32BE(text.length)
    peer.end(Buffer.concat([head, Buffer.from(text)]))
  })
  const path = freshPath('.sock')
  await new Promise<void>((resolve) => server.listen(path, resolve))
  await assert.rejects(connect(`shm:${path}`), fails('UNSUPPORTED'))
  server.close()
})

/** A client that has its memory to itself, and writes what it likes. */
async function stranger(socket: string) {
  const memory = SharedMemory.anonymous(2 * ringBytes(CAPACITY))
  const size = memory.size / 2
  const ring = openRing('one producer', { memory, size })
  const producer = new Producer(ring)
  const line = await say(socket, { shm: 1, descriptor: memory.fd })
  return {
    ...line,
    memory,
    ring,
    /** A part as spec/shm.md has it. */
    part(length: number, before: number, size: number): void {
      const offset = producer.tryClaim(8 + size)
      producer.data.words[offset >> 2] = length
      producer.data.words[(offset >> 2) + 1] = before
      producer.data.bytes.fill(0x61, offset + 8, offset + 8 + size)
      producer.commit()
    },
    bell(): void {
      line.connection.begin()
      line.connection.commit()
    },
  }
}

test('shm: parts that do not fit together end the connection, and announce no memory', async () => {
  const { socket, listener, ends } = await listening({}, { maxMessage: 1_000_000 })
  const cases: [parts: [length: number, before: number, size: number][], code: string][] = [
    [
      [
        [100, 0, 50],
        [100, 40, 60],
      ],
      'INVALID_MESSAGE',
    ],
    [
      [
        [100, 0, 50],
        [90, 50, 40],
      ],
      'INVALID_MESSAGE',
    ],
    [[[100, 50, 50]], 'INVALID_MESSAGE'],
    [
      [
        [100, 0, 50],
        [100, 50, 60],
      ],
      'INVALID_MESSAGE',
    ],
    [
      [
        [100, 0, 50],
        [10, 0, 10],
      ],
      'INVALID_MESSAGE',
    ],
    [[[100, 0, 0]], 'INVALID_MESSAGE'],
    [
      [
        [100, 0, 50],
        [100, 50, 0],
      ],
      'INVALID_MESSAGE',
    ],
    [[[1_000_001, 0, 50]], 'MESSAGE_TOO_LARGE'],
    [[[0xffff_ffff, 0, 50]], 'MESSAGE_TOO_LARGE'],
    [[[-5, 0, 50]], 'MESSAGE_TOO_LARGE'],
  ]
  for (const [parts, code] of cases) {
    const { part, bell, ended, memory } = await stranger(socket)
    for (const each of parts) part(...each)
    bell()
    await soon(ended, `the end of ${JSON.stringify(parts)}`)
    assert.equal(await ends.at(-1)!.ending(), code, JSON.stringify(parts))
    assert.equal(ends.at(-1)!.messages.length, 0)
    memory.close()
  }
  await listener.close()
})

test('shm: whoever sends while the other side goes does not fall over its bell', async () => {
  let server: ByteConnection | undefined
  let open = true
  const address = `shm:${freshName()}`
  const listener = await shm.listen!(address, (connection) => {
    server = connection as ByteConnection
    return { message() {}, value() {}, drained() {}, closed: () => (open = false) }
  })
  const { connection, ended, memory } = await stranger(`unix:${join(runtimeDirectory(), `${address.slice(4)}.shm`)}`)
  const size = memory.size / 2
  const toUs = openRing('one producer', { memory, offset: size, size })
  await eventually(() => server !== undefined, 'it is accepted')
  const sendsAll = (async () => {
    while (open) {
      saySleeps(toUs, 'readers')
      server!.begin().text('a message')
      server!.commit()
      await new Promise((resolve) => setImmediate(resolve))
    }
  })()
  await connection.close()
  await soon(sendsAll, 'the end')
  await ended
  memory.close()
  await listener.close()
})

test('shm: a reader that read all and sleeps is rung for when what had waited follows', async () => {
  let server: ByteConnection | undefined
  const address = `shm:${freshName()}`
  const listener = await shm.listen!(address, (connection) => {
    server = connection as ByteConnection
    return { message() {}, value() {}, drained() {}, closed() {} }
  })
  const { bell, connection, ended, heard, memory } = await stranger(`unix:${join(runtimeDirectory(), `${address.slice(4)}.shm`)}`)
  const size = memory.size / 2
  const toUs = openRing('one producer', { memory, offset: size, size }, () => {})
  const consumer = new Consumer(toUs)
  await eventually(() => server !== undefined, 'it is accepted')
  do server!.begin().bytes(Buffer.alloc(1000))
  while (server!.commit())
  // It sleeps, and its bells so far are here.
  await eventually(() => Atomics.load(toUs.header, WORD.writersSleep) === 1, 'it waits for room')
  await turns()
  const bells = heard.length
  consumer.read(() => {})
  saySleeps(toUs, 'readers')
  bell()
  await eventually(() => consumer.hasMessage && heard.length > bells, 'a bell')
  await connection.close()
  await ended
  consumer.close()
  memory.close()
  await listener.close()
})

test('shm: a whole message over the limit ends the connection', async () => {
  const { socket, listener, ends } = await listening({}, { maxMessage: 1000 })
  const { part, bell, ended, memory } = await stranger(socket)
  part(1000, 0, 1000)
  part(1001, 0, 1001)
  bell()
  await soon(ended, 'the end')
  assert.equal(await ends[0]!.ending(), 'MESSAGE_TOO_LARGE')
  assert.deepEqual(
    ends[0]!.messages.map(({ length }) => length),
    [1000],
  )
  memory.close()
  await listener.close()
})

test('shm: an end in the middle of a message is a loss', async () => {
  const { socket, listener, ends } = await listening()
  const { part, bell, connection, ended, memory } = await stranger(socket)
  part(100, 0, 50)
  bell()
  connection.begin().text('{"end":true}')
  connection.commit()
  await soon(ended, 'the end')
  assert.equal(await ends[0]!.ending(), 'CONNECTION_LOST')
  memory.close()
  await listener.close()
})

test('shm: a ring full of messages does not keep other work waiting', async () => {
  let count = 0
  let countThen: number | undefined
  let accepted: Connection | undefined
  const address = `shm:${freshName()}`
  let done!: () => void
  const all = new Promise<void>((resolve) => {
    done = resolve
  })
  const listener = await shm.listen!(address, (connection) => {
    accepted = connection
    connection.pause()
    return {
      message() {
        if (count++ === 0) setImmediate(() => (countThen = count))
        for (const end = performance.now() + 0.5; performance.now() < end;);
        if (count === 2000) done()
      },
      value() {},
      drained() {},
      closed() {},
    }
  })
  const end = new LocalEnd()
  end.connection = await shm.connect!(address, end)
  await end.do({ do: 'count', from: 0, to: 2000 })
  await eventually(() => accepted !== undefined, 'the connection')
  accepted!.resume()
  await soon(all, 'all messages')
  assert.ok(countThen! < 2000, `other work waited for ${countThen} messages`)
  end.connection.abort(over)
  await end.ending()
  await listener.close()
})

test('shm: all that was sent before the end is read, though it takes several turns', async () => {
  const { address, listener, ends } = await listening({ when: { accept: [{ do: 'pause' }] } })
  const end = new LocalEnd()
  end.connection = await shm.connect!(address, end)
  await end.do({ do: 'count', from: 0, to: 7000 })
  assert.equal(end.connection.buffered, 0, 'all of it is in the ring')
  const closing = end.do({ do: 'close' })
  await eventually(() => ends.length === 1, 'the connection')
  await turns()
  await ends[0]!.do({ do: 'resume' })
  await soon(closing, 'close()')
  assert.equal(await ends[0]!.ending(), null)
  assert.equal(ends[0]!.messages.length, 7000)
  await listener.close()
})

test('shm: a record shorter than the head of a part is no message', async () => {
  const { socket, listener, ends } = await listening()
  const { ring, bell, ended, memory } = await stranger(socket)
  ring.data.words[0] = 12
  bell()
  await soon(ended, 'the end')
  assert.equal(await ends[0]!.ending(), 'INVALID_MESSAGE')
  memory.close()
  await listener.close()
})

test('shm: a message announced as large takes memory as it comes', async () => {
  const { socket, listener, ends } = await listening({}, { maxMessage: 1024 * 1024 * 1024 })
  const { part, bell, connection, memory } = await stranger(socket)
  const before = process.memoryUsage().arrayBuffers
  part(1024 * 1024 * 1024, 0, 1000)
  bell()
  await eventually(() => ends.length === 1, 'the connection')
  await turns()
  await turns()
  assert.ok(process.memoryUsage().arrayBuffers - before < 16 * 1024 * 1024)
  connection.abort(over)
  assert.equal(await ends[0]!.ending(), 'CONNECTION_LOST')
  memory.close()
  await listener.close()
})

test('shm: a ring that makes no sense ends the connection', async () => {
  const { socket, listener, ends } = await listening()
  for (const damage of [
    (words: Int32Array): void => void (words[0] = -1),
    (words: Int32Array): void => void (words[0] = 1_000_000),
    (words: Int32Array): void => void (words[0] = 7),
  ]) {
    const { ring, bell, ended, memory } = await stranger(socket)
    damage(ring.data.words)
    bell()
    await soon(ended, 'the end')
    assert.equal(await ends.at(-1)!.ending(), 'INVALID_MEMORY')
    memory.close()
  }
  await listener.close()
})

test('shm: what the sink is given is a copy that the other side cannot reach', async () => {
  const memories: { memory: SharedMemory; expected: number }[] = []
  const address = `shm:${freshName()}`
  const seen: number[][] = []
  const listener = await shm.listen!(address, () => ({
    message(bytes, start, end) {
      const before = bytes[start + 9]!
      for (const { memory } of memories) memory.bytes.fill(0x7a, ringBytes(CAPACITY) - CAPACITY + 16, ringBytes(CAPACITY))
      seen.push([end - start, before, bytes[start + 9]!])
    },
    value() {},
    drained() {},
    closed() {},
  }))
  for (const size of [64, 2000]) {
    const { part, bell, connection, memory } = await stranger(`unix:${join(runtimeDirectory(), `${address.slice(4)}.shm`)}`)
    memories.push({ memory, expected: size })
    part(size, 0, size)
    bell()
    await eventually(() => seen.length === memories.length, 'the message')
    assert.deepEqual(seen.at(-1), [size, 0x61, 0x61])
    connection.abort(over)
    memory.close()
    memories.length = 0
    seen.length = 0
  }
  await listener.close()
})

test('shm: who waits does nothing at all', async () => {
  const { address, listener, ends } = await listening()
  const end = new LocalEnd()
  end.connection = await shm.connect!(address, end)
  for (let count = 0; count < 200; count++) {
    end.send(pattern(20))
    await turns()
  }
  await eventually(() => ends[0]?.messages.length === 200, 'all messages')
  const idle = (): boolean => !process.getActiveResourcesInfo().some((what) => what === 'Immediate')
  // What runs now would still run after any number of turns; and a turn of this loop needs a timer of its own.
  await eventually(idle, 'both ends sleep')
  end.send(pattern(20))
  await ends[0]!.got(201)
  end.connection.abort(over)
  await ends[0]!.ending()
  await listener.close()
})

test('shm: an ended connection leaves no descriptor and no memory behind', async () => {
  const service = await serve('calc', { add: (a: number, b: number) => a + b }, { listen: `shm:${freshName()}` })
  const [address] = service.addresses
  const once = async (): Promise<void> => {
    const client = await connect<{ add(a: number, b: number): number }>(address!)
    assert.equal(await client.add(2, 5), 7)
    await client.close()
  }
  await once()
  await eventually(() => service.stats().length === 0, 'the first connection ends')
  const before = descriptors().length
  for (let count = 0; count < 20; count++) await once()
  await eventually(() => descriptors().length <= before, 'all descriptors are closed')
  await service.close()
})

test('shm: large arrays, both ways, whole', async () => {
  const service = await serve('arrays', { turn: (array: Float64Array) => array.map((value) => -value) }, { listen: `shm:${freshName()}` })
  const client = await connect<{ turn(array: Float64Array): Float64Array }>(service.addresses[0]!)
  const array = Float64Array.from({ length: 1024 * 1024 }, (_, index) => index)
  const [one, two] = await Promise.all([client.turn(array), client.turn(array.subarray(1))])
  assert.deepEqual([one.length, one[1], one.at(-1)], [1024 * 1024, -1, -(1024 * 1024 - 1)])
  assert.deepEqual([two.length, two[0], two.at(-1)], [1024 * 1024 - 1, -1, -(1024 * 1024 - 1)])
  await client.close()
  await service.close()
})

test('shm: a client heals when its service is killed and comes again', async () => {
  const address = `shm:${freshName()}`
  const program = `import { serve } from ${JSON.stringify(new URL('../../src/index.js', import.meta.url).href)}
    await serve('calc', { add: (a, b) => a + b, pid: () => process.pid }, { listen: process.argv[1] }); console.log('listening')`
  const start = async () => {
    const child = spawn(process.execPath, ['--input-type=module', '-e', program, address], { stdio: ['ignore', 'pipe', 'inherit'] })
    await soon(new Promise((resolve) => child.stdout!.once('data', resolve)), 'the service listens')
    return child
  }
  const first = await start()
  const client = await connect<{ add(a: number, b: number): number; pid(): number }>(address)
  assert.equal(await client.pid(), first.pid)
  first.kill('SIGKILL')
  await soon(new Promise((resolve) => first.once('exit', resolve)), 'the end of the service')
  const second = await start()
  assert.equal(await soon(client.add(2, 5), 'the client heals'), 7)
  assert.equal(await client.pid(), second.pid)
  await client.close()
  second.kill('SIGKILL')
  await soon(new Promise((resolve) => second.once('exit', resolve)), 'the end of the service')
})

test('shm: names are names, and whoever listens keeps them', async () => {
  for (const where of ['shm:', 'shm:../x', 'shm:a b', `shm:${'x'.repeat(65)}`])
    for (const attempt of [shm.connect!(where, new LocalEnd()), shm.listen!(where, () => new LocalEnd())])
      await assert.rejects(attempt, fails('INVALID_ADDRESS'))
  const { address, listener } = await listening()
  await assert.rejects(
    shm.listen!(address, () => new LocalEnd()),
    fails('ADDRESS_IN_USE'),
  )
  await listener.close()
  await assert.rejects(shm.connect!(address, new LocalEnd()), fails('PEER_NOT_FOUND'))
})

test('shm: without koffi it says what to install or take', async () => {
  const program = `import { connect, serve } from ${JSON.stringify(new URL('../../src/index.js', import.meta.url).href)}
    for (const attempt of [() => connect('shm:x'), () => serve('x', { f() {} }, { listen: 'shm:x' })])
      await attempt().catch((error) => console.log(error.code, /npm install koffi/.test(error.message)))`
  const child = spawn(process.execPath, ['--require', script('without-koffi.cjs'), '--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let text = ''
  child.stdout!.on('data', (chunk) => (text += chunk))
  await soon(new Promise((resolve) => child.once('close', resolve)), 'the end')
  assert.equal(text, 'MISSING_PACKAGE true\nMISSING_PACKAGE true\n')
})

/** Both ends in this process: what happens is told to `serving` and `calling`. */
async function pair(serving: Partial<Sink>, calling: Partial<Sink> = {}) {
  const address = `shm:${freshName()}`
  const nothing = { message() {}, value() {}, drained() {}, closed() {} }
  let server!: ByteConnection
  const listener = await shm.listen!(address, (connection) => {
    server = connection as ByteConnection
    return { ...nothing, ...serving }
  })
  const client = (await shm.connect!(address, { ...nothing, ...calling })) as ByteConnection
  return { client, server: () => server, close: () => Promise.all([client.close(), listener.close()]) }
}

test('shm: however little a reader takes before it pauses, its room is used, and what waited arrives in order', async () => {
  const got: number[] = []
  let drained!: () => void
  const room = new Promise<void>((resolve) => (drained = resolve))
  const ends = await pair(
    {
      message(bytes, start) {
        got.push(bytes.readInt32LE(start))
        if (got.length === 3) ends.server().pause()
      },
    },
    { drained: () => drained() },
  )
  const { client } = ends
  const send = (number: number, size = 1000): boolean => {
    const message = Buffer.alloc(size)
    message.writeInt32LE(number)
    client.begin().bytes(message)
    return client.commit()
  }
  await turns()
  let count = 0
  ends.server().pause()
  while (count < 200) assert.ok(send(count++))
  // It looks before the writer, which has then not yet said that it sleeps, and is not rung for.
  ends.server().resume()
  while (send(count++));
  await room
  assert.equal(got.length, 3)
  // The short ones between the long ones fill more than one piece of memory.
  for (const size of [1000, 1000, 1000, 5000, ...Array<number>(40).fill(1000), 3000, 10]) send(count++, size)
  ends.server().resume()
  await ends.close()
  assert.deepEqual(got, [...Array(count).keys()])
})

for (const [answers, most] of [
  [false, 1024],
  [true, 64],
] as const)
  test(`shm: a flood that is ${answers ? '' : 'not '}answered leaves the loop to others after ${most} messages`, async () => {
    const count = 12_000
    const perTurn = [0]
    let arrived!: () => void
    const all = new Promise<void>((resolve) => (arrived = resolve))
    let got = 0
    const ends = await pair({
      message() {
        perTurn[perTurn.length - 1]!++
        if (answers) {
          ends.server().begin().text('yes')
          ends.server().commit()
        }
        if (++got === count) arrived()
      },
    })
    const others = (): void => {
      perTurn.push(0)
      if (got < count) setImmediate(others)
    }
    setImmediate(others)
    for (let n = 0; n < count; n++) {
      ends.client.begin().text('what?')
      ends.client.commit()
    }
    await all
    await ends.close()
    assert.ok(Math.max(...perTurn) <= most, `${Math.max(...perTurn)} messages in one turn`)
  })

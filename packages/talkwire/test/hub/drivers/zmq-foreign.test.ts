/** Programs with pyzmq that know nothing of us, those who take over, and what is refused. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { chmodSync, mkdirSync, readdirSync } from 'node:fs'
import net from 'node:net'
import { createInterface } from 'node:readline'
import { after, test } from 'node:test'
import { soon } from '../../../compliance/ends.js'
import { fresh, hubKit, json, upTo, type Ear } from '../../../compliance/hub-kit.js'
import type { OpenDriver } from '../../../src/hub/driver.js'
import { zmq } from '../../../src/hub/drivers/zmq.js'
import { openHub } from '../../../src/hub/index.js'
import { fails } from '../../helpers/expect.js'
import { freshPort, ownHost } from '../../helpers/loopback.js'
import { freshPath } from '../../helpers/place.js'
import { otherHolder } from './zmq-holder.js'

const PLAIN = { retain: false }
const options = { credentials: undefined, onConnection() {}, onError() {}, signal: undefined }
/** The first of two that nobody has. */
const freshDoors = (): number => [freshPort(), freshPort()][0]!
const kitAt = (address: string) => hubKit({ driver: zmq, module: '', address }, (trait) => zmq.traits.includes(trait))
const python = process.env['TALKWIRE_PYTHON'] ?? 'python3'
const peer = new URL('../../../../test/hub/fixtures/zmq_peer.py', import.meta.url).pathname

interface Pyzmq {
  readonly read: () => Promise<any>
  readonly write: (value: unknown) => void
}

function pyzmq(port: number, ...words: string[]): Pyzmq {
  const child = spawn(python, [peer, ownHost, String(port), ...words], { stdio: ['pipe', 'pipe', 'inherit'] })
  after(() => child.kill('SIGKILL'))
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]()
  return {
    read: async () => JSON.parse((await soon(lines.next(), `a line of ${words.join(' ')}`)).value as string),
    write: (value) => void child.stdin.write(`${JSON.stringify(value)}\n`),
  }
}

/** Publishes until the first comes: who has just connected has no way to say that it hears. */
async function until(hub: OpenDriver, topic: string, { read }: Pyzmq, called = topic): Promise<void> {
  let came = false
  const first = read().then((frames) => {
    came = true
    return frames
  })
  while (!came) {
    await hub.topics!.publish(topic, json('begin'), PLAIN)
    await new Promise((resolve) => setImmediate(resolve))
  }
  assert.deepEqual(await first, [called, '"begin"'])
}

/** The next that is not one of those it began with. */
async function next({ read }: Pyzmq): Promise<string[]> {
  for (;;) {
    const frames = (await read()) as string[]
    if (frames.at(-1) !== '"begin"' && !frames[0]!.startsWith('\0')) return frames
  }
}

test('pyzmq hears plain frames, and is heard', async () => {
  const port = freshDoors()
  const kit = kitAt(`zmq+tcp://${ownHost}:${port}`)
  await kit.within(async () => {
    const hub = await kit.open()
    const [ears, all] = [pyzmq(port, 'hear', 'orders.'), pyzmq(port, 'hear', '')]
    await until(hub, 'orders.begin', ears)
    await until(hub, 'orders.begin', all)
    await hub.topics!.publish('other', json(0), PLAIN)
    await hub.topics!.publish('orders.new', json({ id: 1 }), PLAIN)
    await hub.topics!.publish('orders.old', { body: Buffer.from('plain'), type: 'text', headers: { trace: '7' } }, PLAIN)
    assert.deepEqual(await next(ears), ['orders.new', '{"id":1}'])
    const [topic, head, body] = (await next(ears)) as [string, string, string]
    assert.deepEqual([topic, JSON.parse(head), body], ['orders.old', { type: 'text', headers: { trace: '7' } }, 'plain'])
    assert.deepEqual(await next(all), ['other', '0'])

    const ear = await kit.listener(hub, 'odd name.>'.replace(' ', '%20'))
    const mouth = pyzmq(port, 'say', 'odd name.a/b..c')
    for (const frames of [
      [],
      ['7'],
      ['{', 'x'],
      ['null', 'x'],
      ['[]', '8'],
      ['{"type":"text","headers":{"a":"b","__proto__":"x","c":1}}', 'text'],
      ['{"type":"text"}', 'b', 'c'],
      ['\xff'],
    ])
      mouth.write(frames)
    await ear.until(4)
    assert.deepEqual(
      ear.messages.map((message) => [message.topic, message.type, Buffer.from(message.body).toString('latin1'), { ...message.headers }]),
      [
        ['odd%20name.a%2Fb.%.c', 'json', '7', {}],
        ['odd%20name.a%2Fb.%.c', undefined, '8', {}],
        ['odd%20name.a%2Fb.%.c', 'text', 'text', { a: 'b' }],
        ['odd%20name.a%2Fb.%.c', 'json', '\xff', {}],
      ],
    )
    const exact = await kit.listener(hub, 'odd%20name.a%2Fb.%.c')
    mouth.write(['9'])
    await exact.until(1)
    const odd = pyzmq(port, 'hear', 'odd name')
    await until(hub, 'odd%20name', odd, 'odd name')
  })
})

test("ZeroMQ's own forwarder is one that holds the hub", async () => {
  const port = freshDoors()
  const forwarder = pyzmq(port, 'forward')
  assert.equal(await forwarder.read(), 'held')
  const kit = kitAt(`zmq+tcp://${ownHost}:${port}`)
  await kit.within(async () => {
    const hub = await kit.open()
    const ear = await kit.listener(hub, 'news.*')
    await hub.topics!.publish('news.a', json(1), PLAIN)
    await ear.until(1)
    const ears = pyzmq(port, 'hear', 'news.')
    await until(hub, 'news.begin', ears)
  })
})

/** Publishes from each until all have heard of it; what is lost while somebody takes over is said once more. */
async function allHear(hubs: readonly OpenDriver[], ears: readonly Ear[], topic: string): Promise<void> {
  for (const [who, hub] of hubs.entries()) {
    const word = `${who} ${fresh()}`
    const heard = (): boolean => ears.every((ear) => ear.values().includes(word))
    while (!heard()) {
      await hub.topics!.publish(topic, json(word), PLAIN).catch((reason: unknown) => assert.ok(fails('UNAVAILABLE')(reason)))
      await new Promise((resolve) => setImmediate(resolve))
    }
  }
}

for (const wire of ['ipc', 'tcp'] as const)
  test(`${wire}: many open at once, one holds; when it goes, killed or closed, another takes over`, async () => {
    const folder = freshPath('-zmq')
    mkdirSync(folder, { mode: 0o700 })
    const address = wire === 'ipc' ? `zmq+ipc://${folder}/hub` : `zmq+tcp://${ownHost}:${freshDoors()}`
    const [first, second] = [otherHolder(address), otherHolder(address)]
    const kit = kitAt(address)
    await kit.within(async () => {
      await first.start()
      const seen: string[][] = []
      const hubs = await Promise.all(upTo(6).map((who) => kit.open({ onConnection: ({ state }) => void (seen[who] ??= []).push(state) })))
      await second.start()
      const topic = fresh()
      const ears = await Promise.all(hubs.map((hub) => kit.listener(hub, topic)))
      await first.kill()
      await soon(allHear(hubs, ears, topic), 'all to hear all')
      assert.deepEqual(seen.slice(0, 6), Array(6).fill(['lost', 'connected']))
      await second.kill()
      for (const gone of [0, 1, 2]) {
        await hubs[gone]!.close()
        await soon(allHear(hubs.slice(gone + 1), ears.slice(gone + 1), topic), `all to hear all without ${gone}`)
      }
    })
  })

test('a body may be used anew when publishing has resolved; what is too large is refused', async () => {
  const kit = kitAt(`zmq+tcp://${ownHost}:${freshDoors()}`)
  await kit.within(async () => {
    const hub = await kit.open()
    const ear = await kit.listener(hub, 'a')
    const body = Buffer.alloc(1_000_000)
    for (const each of upTo(20)) {
      body.fill(each)
      await hub.topics!.publish('a', { body, type: 'bytes', headers: {} }, PLAIN)
    }
    for (const [each, message] of (await ear.until(20)).entries()) assert.ok(body.fill(each).equals(message.body))
    await assert.rejects(hub.topics!.publish('a', { ...json(1), body: Buffer.alloc(64 * 1024 * 1024) }, PLAIN), fails('MESSAGE_TOO_LARGE'))
  })
})

test('who has closed leaves no socket', async () => {
  const folder = freshPath('-zmq')
  mkdirSync(folder, { mode: 0o700 })
  for (let round = 0; round < 3; round++) {
    const hub = await zmq.open(`zmq+ipc://${folder}/hub`, options)
    assert.deepEqual(readdirSync(folder).toSorted(), ['hub.pub', 'hub.sub'])
    await hub.close()
    assert.deepEqual(readdirSync(folder), [])
  }
})

test('what it lacks is refused with those that have it', async () => {
  const hub = await openHub(`zmq+tcp://${ownHost}:${freshDoors()}`)
  try {
    await assert.rejects(hub.queue('jobs').push(1), /zmq has no queues .*beanstalk/)
    await assert.rejects(hub.topic('a').request(1), /zmq has no requests .*mqtt/)
    await assert.rejects(hub.topic('a').subscribe({ slow: 'wait' }), fails('UNSUPPORTED'))
  } finally {
    await hub.close()
  }
})

test('addresses that are none, that others can reach, and that somebody else has', async () => {
  for (const wrong of [
    'zmq+tcp://127.0.0.1',
    'zmq+tcp://127.0.0.1:0',
    'zmq+tcp://127.0.0.1:65535',
    'zmq+tcp://127.0.0.1:5555?hold=yes',
    'zmq+tcp://127.0.0.1:5555?other=1',
    'zmq+ipc:',
    'zmq+ipc:a/b',
    'zmq+ipc:///tmp/',
    `zmq+ipc:///${'a'.repeat(110)}`,
  ])
    await assert.rejects(zmq.open(wrong, options), fails('INVALID_ADDRESS'), wrong)
  const folder = freshPath('-zmq')
  mkdirSync(folder)
  chmodSync(folder, 0o755)
  await assert.rejects(zmq.open(`zmq+ipc://${folder}/hub`, options), /UNAVAILABLE.*mode 0700/)
  await (await zmq.open(`zmq+ipc://${folder}/hub?insecure=yes`, options)).close()
  await assert.rejects(zmq.open(`zmq+ipc://${folder}/none/hub`, options), /UNAVAILABLE.*no folder/)
  await assert.rejects(zmq.open(`zmq+tcp://0.0.0.0:${freshDoors()}`, options), /UNAVAILABLE.*insecure=yes/)
  const named = await zmq.open(`zmq+ipc:${fresh()}`, options)
  await named.close()
  // Somebody who speaks something else has a port, and says nothing.
  const strangers = [0, 1].map(async (door) => {
    const port = freshDoors()
    const server = net.createServer((socket) => void socket.on('error', () => {}))
    await new Promise<void>((resolve) => server.listen(port + door, ownHost, resolve))
    await assert.rejects(zmq.open(`zmq+tcp://${ownHost}:${port}`, options), fails('UNAVAILABLE'))
    server.close()
  })
  await Promise.all(strangers)
})

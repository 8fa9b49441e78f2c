/** Programs that know nothing of us: redis-cli beside the driver. */
import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import net from 'node:net'
import { createInterface } from 'node:readline'
import { after, test } from 'node:test'
import { promisify } from 'node:util'
import { soon } from '../../../compliance/ends.js'
import { hubKit, json, upTo, valueOf } from '../../../compliance/hub-kit.js'
import { redis } from '../../../src/hub/drivers/redis.js'
import { asks, startBroker } from '../../helpers/broker.js'
import { fails } from '../../helpers/expect.js'
import { REDIS } from './brokers.js'

const broker = await startBroker(REDIS)
const address = `redis://${broker.host}:${broker.port}`
const kit = hubKit({ driver: redis, module: '', address }, () => true)
const place = ['-h', broker.host, '-p', String(broker.port)]
const cli = async (...words: string[]): Promise<string> => (await promisify(execFile)('redis-cli', [...place, ...words])).stdout.trim()

test('redis-cli SUBSCRIBE sees plain messages, redis-cli PUBLISH is heard', () =>
  kit.within(async () => {
    const hub = await kit.open()
    const ear = await kit.listener(hub, 'orders.*')
    const subscriber = spawn('redis-cli', [...place, 'SUBSCRIBE', 'talkwire.orders.new'], { stdio: ['ignore', 'pipe', 'inherit'] })
    after(() => subscriber.kill())
    const lines = createInterface(subscriber.stdout)[Symbol.asyncIterator]()
    const read = async (): Promise<string> => (await soon(lines.next(), 'a line of redis-cli')).value as string
    assert.deepEqual([await read(), await read(), await read()], ['subscribe', 'talkwire.orders.new', '1'])
    await hub.topics!.publish('orders.new', { ...json({ id: 1 }), headers: { to: 'all' } }, { retain: false })
    assert.deepEqual([await read(), await read(), await read()], ['message', 'talkwire.orders.new', '{"id":1}'])
    await cli('PUBLISH', 'talkwire.orders.new', '{"id":2}')
    await hub.topics!.publish('orders.new', json({ id: 3 }), { retain: false })
    const came = await ear.until(3)
    assert.deepEqual(came.map(valueOf), [{ id: 1 }, { id: 2 }, { id: 3 }])
    assert.deepEqual(
      came.map(({ headers }) => ({ ...headers })),
      [{ to: 'all' }, {}, {}],
    )
    assert.deepEqual(
      came.map(({ position }) => position !== undefined),
      [true, false, true],
    )
  }))

test('a foreign message to who is slow is counted as lost', () =>
  kit.within(async () => {
    const hub = await kit.open()
    const slow = await kit.listener(hub, 'slow', {}, 1)
    const fence = await kit.listener(hub, 'slow')
    await hub.topics!.publish('slow', json(1), { retain: false })
    await slow.until(1)
    for (const value of ['2', '3']) await cli('PUBLISH', 'talkwire.slow', value)
    await hub.topics!.publish('slow', json(4), { retain: false })
    await fence.until(4)
    slow.listener.room = Infinity
    slow.listener.subscription.resume()
    await slow.until(2)
    assert.deepEqual([slow.values(), slow.listener.lostCount], [[1, 4], 2])
  }))

test('redis-cli XADD feeds groups, who comes later, and queues', () =>
  kit.within(async () => {
    const hub = await kit.open()
    const member = await kit.listener(hub, 'stream', { group: 'g' })
    await cli('XADD', 'talkwire:topics', '*', 'topic', 'stream', 'body', '{"id":1}')
    await member.until(1)
    const late = await kit.listener(hub, 'stream', { from: 'all' })
    await late.until(1)
    assert.deepEqual([member.values(), late.values()], [[{ id: 1 }], [{ id: 1 }]])
    const worker = await kit.worker(hub, 'jobs')
    worker.consumption.want(1)
    await cli('XADD', 'talkwire:queue:jobs:in', '*', 'body', '{"id":2}')
    const [job] = await worker.until(1)
    assert.deepEqual([valueOf(job!), job!.attempt], [{ id: 2 }, 1])
    await job!.ack()
    await cli('XADD', 'talkwire:queue:jobs:in', '*', 'body', '{"id":3}', 'headers', '{\n"to": "all"\n}', 'type', 'json')
    const second = (await worker.until(2))[1]!
    assert.deepEqual([valueOf(second), { ...second.headers }, second.type], [{ id: 3 }, { to: 'all' }, 'json'])
    await second.ack()
    await hub.state!.set('session/1', Buffer.from('{"user":"ann"}'), 'json', {})
    assert.equal(await cli('HGET', 'talkwire:state:value:session/1', 'value'), '{"user":"ann"}')
    await hub.counters!.add('visits', 3)
    assert.equal(await cli('INCR', 'talkwire:counter:visits'), '4')
    assert.equal(await hub.counters!.add('visits', 0), 4)
  }))

test('what was cut off the stream is counted as lost', () =>
  kit.within(async () => {
    const hub = await kit.open()
    const slow = await kit.listener(hub, 'cut', {}, 1)
    const fence = await kit.listener(hub, 'cut')
    for (const value of upTo(10)) await hub.topics!.publish('cut', json(value), { retain: false })
    await fence.until(10)
    await cli('XTRIM', 'talkwire:topics', 'MAXLEN', '2')
    slow.listener.room = Infinity
    slow.listener.subscription.resume()
    await slow.until(3)
    assert.deepEqual([slow.values(), slow.listener.lostCount], [[0, 8, 9], 7])
  }))

test('what was published while a subscriber was away comes when it is back', () =>
  kit.within(async () => {
    const hub = await kit.open()
    const ears = [await kit.listener(hub, 'away'), await kit.listener(hub, 'away', { group: 'g' })]
    await hub.topics!.publish('away', json(0), { retain: false })
    await Promise.all(ears.map((ear) => ear.until(1)))
    // In one piece, which Redis does before it lets anybody in again.
    const entry = (value: number): string => `XADD talkwire:topics * topic away body ${value}\r\n`
    await asks(broker.host, broker.port, `CLIENT KILL TYPE pubsub\r\n${entry(1)}${entry(2)}`, ':')
    await Promise.all(ears.map((ear) => ear.until(3)))
    for (const ear of ears) assert.deepEqual(ear.values(), [0, 1, 2])
  }))

test('a foreign program answers requests', () =>
  kit.within(async () => {
    const hub = await kit.open()
    const responder = spawn('redis-cli', [...place, 'SUBSCRIBE', 'talkwire:request:add'], { stdio: ['ignore', 'pipe', 'inherit'] })
    after(() => responder.kill())
    const lines = createInterface(responder.stdout)[Symbol.asyncIterator]()
    const read = async (): Promise<string> => (await soon(lines.next(), 'a line of redis-cli')).value as string
    assert.equal((await Promise.all([read(), read(), read()]))[0], 'subscribe')
    const answered = new Promise((resolve) => void hub.requests!.request('add', json([1, 2]), (reply) => resolve(valueOf(reply))))
    assert.deepEqual([await read(), await read()], ['message', 'talkwire:request:add'])
    const head = JSON.parse(await read()) as { id: string; reply: string; type: string }
    assert.equal(head.type, 'json')
    assert.equal(await read(), '[1,2]')
    await cli('PUBLISH', head.reply, `${JSON.stringify({ id: head.id })}\n3`)
    assert.equal(await soon(answered, 'a reply'), 3)
  }))

const options = { credentials: undefined, onConnection() {}, onError() {}, signal: undefined }

test('a password that is wrong fails with UNAUTHENTICATED; addresses and credentials say it', async () => {
  await cli('CONFIG', 'SET', 'requirepass', 'secret')
  try {
    for (const wrong of [address, `redis://:wrong@${broker.host}:${broker.port}`])
      await assert.rejects(redis.open(wrong, options), fails('UNAUTHENTICATED'))
    const one = await redis.open(`redis://:secret@${broker.host}:${broker.port}/3`, options)
    await one.close()
    const two = await redis.open(address, { ...options, credentials: { password: 'secret' } })
    await two.close()
  } finally {
    await cli('-a', 'secret', '--no-auth-warning', 'CONFIG', 'SET', 'requirepass', '')
  }
  for (const wrong of ['redis:', 'redis://h/x', 'redis://h?prefix=a.b', 'redis://h?other=1'])
    await assert.rejects(redis.open(wrong, options), fails('INVALID_ADDRESS'))
})

test('while there is no Redis what is sent fails at once as not sent', () =>
  kit.within(async () => {
    let back: (() => void) | undefined
    const connected = new Promise<void>((resolve) => (back = resolve))
    const hub = await kit.open({ onConnection: ({ state }) => state === 'connected' && back!() })
    await broker.kill()
    // The first call may be what notices it, and then nobody knows.
    await assert.rejects(hub.counters!.add('b', 1), fails('UNAVAILABLE', 'CONNECTION_LOST'))
    await assert.rejects(
      hub.counters!.add('a', 1),
      (reason: unknown) => fails('UNAVAILABLE')(reason) && (reason as { outcome: string }).outcome === 'not-sent',
    )
    await broker.start()
    await soon(connected, 'connected')
    assert.equal(await hub.counters!.add('a', 1), 1)
  }))

test('what cannot be written for a while waits for its turn, however long that takes', async (t) => {
  // Somebody between, who can be busy.
  const sockets: net.Socket[] = []
  const between = net.createServer((near) => {
    const far = net.connect(broker.port, broker.host)
    for (const each of [near, far]) sockets.push(each.on('error', () => {}))
    near.pipe(far).pipe(near)
  })
  between.listen(0, '127.0.0.1')
  await once(between, 'listening')
  // Time passes when the test says so.
  const clocks: AbortController[] = []
  const timeout = t.mock.method(AbortSignal, 'timeout', () => {
    clocks.push(new AbortController())
    return clocks.at(-1)!.signal
  })
  const port = (between.address() as net.AddressInfo).port
  const hub = await redis.open(`redis://127.0.0.1:${port}/0?prefix=waiting`, options)
  try {
    for (const each of sockets) each.unpipe().pause()
    // More than the kernel takes, and what stands behind it.
    const calls = [hub.state!.set('large', Buffer.alloc(1 << 25), 'bytes', {}), ...[1, 2, 3].map(() => hub.counters!.add('n', 1))]
    const settled = soon(Promise.all(calls), 'the answers')
    settled.catch(() => {})
    for (let turns = 0; turns < 10; turns++) await new Promise((resolve) => setImmediate(resolve))
    for (const clock of clocks) clock.abort(new DOMException('five seconds', 'TimeoutError'))
    for (const [index, each] of sockets.entries()) each.pipe(sockets[index ^ 1]!)
    assert.deepEqual((await settled).slice(1), [1, 2, 3])
  } finally {
    timeout.mock.restore()
    await hub.close()
    for (const each of sockets) each.destroy()
    between.close()
  }
})

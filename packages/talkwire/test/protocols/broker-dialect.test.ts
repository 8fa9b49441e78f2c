import assert from 'node:assert/strict'
import { once } from 'node:events'
import net from 'node:net'
import { suite, test } from 'node:test'
import { testDialect } from '../../compliance/index.js'
import { connectRedis } from '../../src/hub/drivers/redis/connection.js'
import { mqtt, nats, redis } from '../../src/protocols/broker.js'
import { ownHost } from '../helpers/loopback.js'
import { freshName } from '../helpers/place.js'
import { at, brokers, type schemes } from './broker-places.js'

const LARGE = 16 * 1024

// Each with a prefix of its own: two services of one contract would share its calls. At once: some wait for those who say nothing any more.
suite('brokers', { concurrency: 8 }, () => {
  test('redis: what cannot be written for longer than the library would wait is written all the same', async () => {
    const { host, port } = brokers.redis
    const sockets: net.Socket[] = []
    let stalled!: (goOn: () => void) => void
    let isStalled = false
    const stall = new Promise<() => void>((resolve) => (stalled = resolve))
    const slow = net.createServer((socket) => {
      const there = net.connect(port, host)
      sockets.push(socket, there)
      there.pipe(socket)
      socket.on('data', (chunk) => {
        there.write(chunk)
        // The first large one: nobody reads on.
        if (chunk.length < LARGE || isStalled) return
        isStalled = true
        socket.pause()
        stalled(() => void socket.resume())
      })
    })
    await once(slow.listen(0, ownHost), 'listening')
    const connected = await connectRedis(`redis://${ownHost}:${(slow.address() as net.AddressInfo).port}`, {
      credentials: undefined,
      onConnection() {},
      onError() {},
      signal: undefined,
    })
    const all = Promise.all(Array.from({ length: 40 }, () => connected.command('ECHO', Buffer.alloc(1024 * 1024))))
    const goOn = await stall
    await new Promise((resolve) => setTimeout(resolve, 6_000))
    goOn()
    assert.equal((await all).length, 40)
    await connected.close()
    for (const each of sockets) each.destroy()
    slow.close()
  })

  for (const dialect of [nats, mqtt, redis])
    testDialect({ test, dialect, address: () => at(dialect.scheme as (typeof schemes)[number], freshName()) })
})

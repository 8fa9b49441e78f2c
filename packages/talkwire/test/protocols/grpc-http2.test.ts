/** The calling end of HTTP/2 when the other side says what is none, and when it just does not read. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import http2 from 'node:http2'
import net from 'node:net'
import { test } from 'node:test'
import { soon } from '../../compliance/ends.js'
import type { TalkwireError } from '../../src/index.js'
import { Http2ClientConnection } from '../../src/protocols/grpc-http2-client.js'
import { withDefaults } from '../../src/session/limits.js'

const LARGE = 2 ** 30
const LOOK = 250

test('grpc: who does not read is waited for, who says what is no HTTP/2 is not', async (t) => {
  const server = http2.createServer({ settings: { initialWindowSize: LARGE } })
  server.on('session', (session) => session.setLocalWindowSize(LARGE))
  server.on('stream', (stream: http2.ServerHttp2Stream) => stream.on('error', () => {}).respond())
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const between = net.createServer((socket) => socket.on('error', () => {}))
  between.listen(0, '127.0.0.1')
  await once(between, 'listening')
  t.mock.timers.enable({ apis: ['setInterval'] })
  const socket = net.connect((between.address() as net.AddressInfo).port, '127.0.0.1')
  const [[near]] = (await Promise.all([once(between, 'connection'), once(socket, 'connect')])) as [[net.Socket], unknown]
  const far = net.connect((server.address() as net.AddressInfo).port, '127.0.0.1')
  near
    .pipe(far)
    .on('error', () => {})
    .pipe(near)
  let over!: (cause: TalkwireError | undefined) => void
  const closed = new Promise<TalkwireError | undefined>((resolve) => (over = resolve))
  const connection = new Http2ClientConnection('grpc://127.0.0.1:1', socket, false, { limits: withDefaults(), onClosed: over })
  await once(connection.session, 'remoteSettings')
  const stream = connection.session.request({ ':path': '/' }, { endStream: false }).on('error', () => {})
  await once(stream, 'response')
  // More than the kernel takes.
  near.unpipe().pause()
  let read = false
  stream.write(Buffer.alloc(1 << 25), () => (read = true))
  while (socket.bytesWritten < 1 << 25) await new Promise((resolve) => setImmediate(resolve))
  for (let looks = 0; looks < 10; looks++) t.mock.timers.tick(LOOK)
  assert.deepEqual([connection.session.destroyed, connection.session.state.outboundQueueSize], [false, 1])
  near.pipe(far)
  while (!read) await new Promise((resolve) => setImmediate(resolve))
  far.unpipe(near)
  near.write(Buffer.from('ffffff0000ffffffff', 'hex'))
  while (!connection.session.destroyed) {
    t.mock.timers.tick(LOOK)
    await new Promise((resolve) => setImmediate(resolve))
  }
  assert.equal((await soon(closed, 'the end'))?.code, 'INVALID_MESSAGE')
  for (const each of [socket, near, far]) each.destroy()
  between.close()
  server.close()
})

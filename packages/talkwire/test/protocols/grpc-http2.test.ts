/** The calling end of HTTP/2 when the other side says what is none, and when it just does not read. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import http2 from 'node:http2'
import net from 'node:net'
import { test, type TestContext } from 'node:test'
import { soon } from '../../compliance/ends.js'
import type { TalkwireError } from '../../src/index.js'
import { Http2ClientConnection } from '../../src/protocols/grpc-http2-client.js'
import { withDefaults } from '../../src/session/limits.js'

const LARGE = 2 ** 30
const LOOK = 250

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

interface Meeting {
  readonly connection: Http2ClientConnection
  /** Ours, who stands between on our side and on the server's, and the server's streams. */
  readonly socket: net.Socket
  readonly near: net.Socket
  readonly far: net.Socket
  readonly served: http2.ServerHttp2Stream[]
  readonly closed: Promise<TalkwireError | undefined>
  /** So long that the connection looks once. */
  look(): void
}

/** A connection of ours to a server of Node's, through somebody who passes on what both say. */
async function meet(t: TestContext): Promise<Meeting> {
  const served: http2.ServerHttp2Stream[] = []
  const server = http2.createServer({ settings: { initialWindowSize: LARGE } })
  server.on('session', (session) => session.setLocalWindowSize(LARGE))
  server.on('stream', (stream: http2.ServerHttp2Stream) => {
    served.push(stream)
    stream.on('error', () => {}).respond()
  })
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
  t.after(async () => {
    for (const each of [socket, near, far]) each.destroy()
    between.close()
    server.close()
    // What is stopped later stops a timer of the next test: of timers that are mocked only the place in the row is asked.
    await closed
  })
  return { connection, socket, near, far, served, closed, look: () => t.mock.timers.tick(LOOK) }
}

test('grpc: who does not read is waited for, who says what is no HTTP/2 is not', async (t) => {
  const { connection, socket, near, far, closed, look } = await meet(t)
  const stream = connection.session.request({ ':path': '/' }, { endStream: false }).on('error', () => {})
  await once(stream, 'response')
  // More than the kernel takes.
  near.unpipe().pause()
  let read = false
  stream.write(Buffer.alloc(1 << 25), () => (read = true))
  while (socket.bytesWritten < 1 << 25) await turn()
  for (let looks = 0; looks < 10; looks++) look()
  assert.deepEqual([connection.session.destroyed, connection.session.state.outboundQueueSize], [false, 1])
  near.pipe(far)
  while (!read) await turn()
  far.unpipe(near)
  near.write(Buffer.from('ffffff0000ffffffff', 'hex'))
  while (!connection.session.destroyed) {
    look()
    await turn()
  }
  assert.equal((await soon(closed, 'the end'))?.code, 'INVALID_MESSAGE')
})

test('grpc: a connection on which nothing is called says nothing', async (t) => {
  const { connection, near, served, look } = await meet(t)
  const { session } = connection
  const stream = session.request({ ':path': '/' }, { endStream: true }).on('error', () => {})
  await once(stream, 'response')
  served[0]!.end('an answer')
  stream.resume()
  await once(stream, 'close')
  const looks = async (count: number): Promise<void> => {
    for (; count > 0; count--) {
      look()
      while (session.pendingSettingsAck) await turn()
    }
  }
  // What the call has brought is looked at.
  const asked = near.bytesRead
  await looks(6)
  const before = near.bytesRead
  assert.notEqual(before, asked)
  await looks(30)
  const PING = 17
  await new Promise<void>((resolve, reject) => session.ping((error) => (error ? reject(error) : resolve())))
  assert.equal(near.bytesRead - before, PING)
  assert.equal(session.destroyed, false)
})

/** The types of the frames in what a client has said, with their lengths and flags. */
function framesOf(said: Buffer): { type: number; length: number; flags: number }[] {
  const frames = []
  for (let at = PREFACE; at + HEAD <= said.length; at += HEAD + said.readUIntBE(at, 3))
    frames.push({ length: said.readUIntBE(at, 3), type: said[at + 3]!, flags: said[at + 4]! })
  return frames
}
const PREFACE = 24
const HEAD = 9
const DATA = 0
const SETTINGS = 4
const MOST_UNANSWERED = 5

test('grpc: who answers no settings is asked a few times, and served on', async (t) => {
  const { connection, near, far, served, look } = await meet(t)
  const said: Buffer[] = []
  near.on('data', (chunk: Buffer) => said.push(chunk))
  const { session } = connection
  const stream = session.request({ ':path': '/' }, { endStream: false }).on('error', () => {})
  await once(stream, 'response')
  const round = async (): Promise<void> => {
    served[0]!.write('more')
    await once(stream, 'data')
    for (const _ of ['asks', 'sees that it has left']) {
      look()
      while (session.state.outboundQueueSize! > 0) await turn()
    }
  }
  for (let answered = 0; answered < 20; answered++) {
    await round()
    while (session.pendingSettingsAck) await turn()
  }
  // From here on the server hears nothing.
  near.unpipe(far).resume()
  said.length = 0
  for (let unanswered = 0; unanswered < 20; unanswered++) await round()
  stream.write('the end')
  const heard = (): ReturnType<typeof framesOf> => framesOf(Buffer.concat([Buffer.alloc(PREFACE), ...said]))
  while (!heard().some(({ type }) => type === DATA)) await turn()
  assert.equal(heard().filter(({ type, flags }) => type === SETTINGS && flags === 0).length, MOST_UNANSWERED)
  assert.equal(session.destroyed, false)
})

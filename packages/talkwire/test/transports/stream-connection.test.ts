import assert from 'node:assert/strict'
import { once } from 'node:events'
import net from 'node:net'
import { Duplex, PassThrough } from 'node:stream'
import { test } from 'node:test'
import { LocalEnd, envelopeOf, pattern, soon, turns } from '../../compliance/ends.js'
import { testTransport } from '../../compliance/index.js'
import { TalkwireError } from '../../src/error.js'
import { StreamConnection, type StreamOptions } from '../../src/transports/stream-connection.js'
import type { Accept, Sink, Traits } from '../../src/transports/transport.js'
import { unix } from '../../src/transports/unix.js'
import { freshPath } from '../helpers/place.js'

// ── over any Duplex: what tls, stdio and pipes are to it ─────────────────────────────────────────

function duplexPair(): [Duplex, Duplex] {
  const [there, back] = [new PassThrough({ highWaterMark: 65_536 }), new PassThrough({ highWaterMark: 65_536 })]
  return [Duplex.from({ readable: back, writable: there }), Duplex.from({ readable: there, writable: back })]
}

const traits: Traits = {
  ordered: true,
  reliable: true,
  backpressure: true,
  crossProcess: false,
  crossHost: false,
  manyConnections: true,
  peerCredentials: false,
}
testTransport({
  test,
  transport: { scheme: 'duplex', traits },
  address: () => 'duplex:',
  async pair(sink, accept, options) {
    const [a, b] = duplexPair()
    const near = new StreamConnection(a, { address: 'duplex:' }, { ...options.near, framing: 'length' }).attach(sink)
    const far = new StreamConnection(b, { address: 'duplex:' }, options.far)
    far.attach(accept(far))
    return near
  },
})

// ── what goes into the stream ────────────────────────────────────────────────────────────────────

/** Takes writes and keeps them, one entry a write. */
class Recording extends Duplex {
  readonly writes: Buffer[][] = []
  override _read(): void {}
  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.writes.push([chunk])
    done()
  }
  override _writev(chunks: { chunk: Buffer }[], done: () => void): void {
    this.writes.push(chunks.map(({ chunk }) => chunk))
    done()
  }
}

function recorded(options: StreamOptions = { framing: 'length' }): { end: LocalEnd; stream: Recording; connection: StreamConnection } {
  const stream = new Recording()
  const end = new LocalEnd()
  const connection = new StreamConnection(stream, { address: 'test:' }, options).attach(end)
  end.connection = connection
  return { end, stream, connection }
}

test('messages of one turn leave in one write, at its end', async () => {
  const { end, stream, connection } = recorded()
  for (let index = 0; index < 50; index++) end.send(Buffer.from('{}'))
  assert.equal(stream.writes.length, 0)
  assert.equal(connection.buffered, 300)
  assert.equal(connection.unsent, 50)
  await turns()
  assert.equal(stream.writes.length, 1)
  assert.equal(stream.writes[0]![0]!.toString('latin1'), '\0\0\0\x02{}'.repeat(50))
  assert.deepEqual([connection.buffered, connection.unsent], [0, 0])
  end.send(Buffer.from('[]'))
  await turns()
  assert.equal(stream.writes.length, 2)
})

test('many messages of one turn leave in parts, so that the peer need not wait for the last', async () => {
  const { end, stream, connection } = recorded()
  for (let index = 0; index < 200; index++) end.send(Buffer.from('{}'))
  assert.equal(stream.writes.length, 3)
  assert.equal(connection.unsent, 200 - 3 * 64)
  await turns()
  assert.equal(stream.writes.length, 4)
  assert.equal(Buffer.concat(stream.writes.flat()).toString('latin1'), '\0\0\0\x02{}'.repeat(200))
})

test('a turn with many bytes does not gather all of them', async () => {
  const { end, stream } = recorded()
  for (let index = 0; index < 100; index++) end.send(Buffer.alloc(10_000))
  assert.ok(stream.writes.length >= 10, `${stream.writes.length} writes`)
  await turns()
  assert.equal(Buffer.concat(stream.writes.flat()).length, 100 * 10_004)
})

test('large attachments are written from where they are, small ones beside their message', async () => {
  const { stream, connection } = recorded()
  const [large, small] = [new Uint8Array(100_000).fill(1), new Uint8Array(100).fill(2)]
  connection.begin().attachments.push(large)
  connection.commit()
  assert.ok(
    stream.writes.flat().some((chunk) => chunk.buffer === large.buffer),
    'a large attachment was copied',
  )
  connection.begin().attachments.push(small, small)
  connection.commit()
  await turns()
  assert.ok(!stream.writes.flat().some((chunk) => chunk.buffer === small.buffer))
  const first = envelopeOf(new Uint8Array(), [large])
  const second = envelopeOf(new Uint8Array(), [small, small])
  const heads = [first, second].map(({ length }) => {
    const head = Buffer.alloc(4)
    head.writeUInt32BE(length)
    return head
  })
  assert.ok(Buffer.concat(stream.writes.flat()).equals(Buffer.concat([heads[0]!, first, heads[1]!, second])))
})

test('an attachment of the same turn goes behind the messages before it', async () => {
  const { end, stream, connection } = recorded()
  end.send(Buffer.from('"1"'))
  const writer = connection.begin()
  writer.bytes(Buffer.from('"2"'))
  writer.attachments.push(new Uint8Array(40_000))
  connection.commit()
  end.send(Buffer.from('"3"'))
  await turns()
  const bytes = Buffer.concat(stream.writes.flat()).toString('latin1')
  assert.ok(bytes.indexOf('"1"') < bytes.indexOf('"2"') && bytes.indexOf('"2"') < bytes.indexOf('"3"'))
  assert.equal(bytes.length, 7 + 4 + envelopeOf(Buffer.from('"2"'), [new Uint8Array(40_000)]).length + 7)
})

test('`explain` puts facts into the cause, also where there was none', async () => {
  const facts = new TalkwireError('PEER_EXITED', 'the child ended with exit code 3')
  const { end, stream } = recorded({ framing: 'length', explain: () => facts })
  stream.push(null)
  await soon(end.ending(), 'closed()')
  assert.equal(end.cause, facts)
})

// ── what a peer without a library sends ──────────────────────────────────────────────────────────

interface Raw {
  readonly socket: net.Socket
  readonly far: LocalEnd
  received(): Buffer
}

/** A listener of ours and a bare socket that talks to it. */
async function raw(body: (raw: Raw) => Promise<void>, far = new LocalEnd(), options: { maxMessage?: number } = {}): Promise<void> {
  const path = freshPath('.sock')
  const accept: Accept = (connection): Sink => far.accepted(connection)
  const listener = await unix.listen!(`unix:${path}`, accept, options)
  const socket = net.connect({ path, allowHalfOpen: true })
  const chunks: Buffer[] = []
  socket.on('data', (chunk) => chunks.push(chunk)).on('error', () => {})
  await once(socket, 'connect')
  try {
    await body({ socket, far, received: () => Buffer.concat(chunks) })
  } finally {
    socket.destroy()
    await listener.close()
  }
}

const answering = (): LocalEnd => {
  const end = new LocalEnd()
  const note = end.note.bind(end)
  end.note = (happening) => {
    note(happening)
    if (happening.type === 'message') end.send(Buffer.from('{"ok":1}'))
  }
  return end
}

const kinds: [name: string, sent: string, answer: string][] = [
  ['length', '\0\0\0\x02{}', '\0\0\0\x08{"ok":1}'],
  ['header', 'Content-Length: 2\r\n\r\n{}', 'Content-Length: 8\r\n\r\n{"ok":1}'],
  ['line', '{}\n', '{"ok":1}\n'],
]
for (const [name, sent, answer] of kinds) {
  test(`a peer that frames by ${name} is answered in kind`, async () => {
    await raw(async ({ socket, far, received }) => {
      socket.write(sent + sent)
      await far.got(2)
      while (received().length < 2 * answer.length) await soon(once(socket, 'data'), 'an answer')
      assert.equal(received().toString('latin1'), answer + answer)
      assert.equal(far.connection.kind === 'bytes' && far.connection.binary, name !== 'line')
    }, answering())
  })

  test(`10 MB of tiny messages framed by ${name} leave turns to everybody else (threat 15)`, async () => {
    await raw(async ({ socket, far }) => {
      let messages = 0
      let turn = 0
      let most = 0
      far.message = () => {
        messages++
        turn++
      }
      const unit = Buffer.from(sent.repeat(1000))
      const count = Math.floor((10 * 1024 * 1024) / unit.length)
      let done = false
      const look = (): void => {
        most = Math.max(most, turn)
        turn = 0
        if (!done) setImmediate(look)
      }
      setImmediate(look)
      socket.write(Buffer.concat(Array.from({ length: count }, () => unit)))
      await soon(
        (async () => {
          while (messages < count * 1000) await turns()
        })(),
        () => `${messages} of ${count * 1000} messages`,
      )
      done = true
      assert.ok(most <= 10_000, `${most} messages between two turns of the event loop`)
    })
  })
}

test('a first byte that begins no framing is told so on a line, and the connection ends', async () => {
  await raw(
    async ({ socket, far, received }) => {
      socket.write('GET / HTTP/1.1\r\n\r\n')
      assert.equal(((await far.happened('broken')) as { code?: string }).code, 'INVALID_MESSAGE')
      await soon(once(socket, 'end'), 'the end')
      assert.equal(received().toString('latin1').at(-1), '\n')
      socket.end()
      await far.ending()
    },
    new LocalEnd({ has: ['broken'], when: { broken: [{ do: 'count', from: 0, to: 1 }, { do: 'close' }] } }),
  )
})

test('an end inside a message is a loss, at every byte of it', async () => {
  for (const [, sent] of kinds.slice(0, 2)) {
    for (let length = 1; length < sent.length; length++) {
      await raw(async ({ socket, far }) => {
        socket.end(Buffer.from(sent + sent, 'latin1').subarray(0, sent.length + length))
        assert.equal(await far.ending(), 'CONNECTION_LOST')
        assert.equal(far.messages.length, 1)
      })
    }
  }
})

test('a last line needs no LF', async () => {
  await raw(async ({ socket, far }) => {
    socket.end('{}\n[1]')
    assert.equal(await far.ending(), null)
    assert.deepEqual(
      far.messages.map(({ digest }) => digest),
      ['{}', '[1]'],
    )
  })
})

test('a peer that sends its half and reads on gets every answer (printf … | socat)', async () => {
  const far = new LocalEnd({ has: ['ended'] })
  await raw(async ({ socket, received }) => {
    socket.end('{}\n')
    await far.happened('ended')
    await turns()
    far.send(Buffer.from('{"ok":1}'))
    const ended = soon(once(socket, 'end'), 'the end')
    await far.do({ do: 'close' })
    await ended
    assert.equal(received().toString(), '{"ok":1}\n')
    assert.equal(await far.ending(), null)
  }, far)
})

test('a peer that resets the connection is a loss with a cause', async () => {
  await raw(async ({ socket, far }) => {
    socket.write('{}\n')
    await far.got(1)
    far.send(Buffer.from(`"${'x'.repeat(4 << 20)}"`))
    await turns()
    socket.destroy()
    assert.equal(await far.ending(), 'CONNECTION_LOST')
  })
})

test('a message too large is refused before its body arrives', async () => {
  await raw(
    async ({ socket, far }) => {
      socket.write('\0\0\x10\0')
      assert.equal(await far.ending(), 'MESSAGE_TOO_LARGE')
    },
    new LocalEnd(),
    { maxMessage: 1000 },
  )
})

test('many connections that idle after a burst keep no buffers of their own', async () => {
  const ends: LocalEnd[] = []
  const listener = await unix.listen!(`unix:${freshPath('.sock')}`, (connection) => {
    const end = new LocalEnd().accepted(connection)
    ends.push(end)
    return end
  })
  const near: LocalEnd[] = []
  for (let index = 0; index < 100; index++) {
    const end = new LocalEnd()
    end.connection = await unix.connect!(listener.address, end)
    near.push(end)
  }
  const before = process.memoryUsage().arrayBuffers
  for (const end of near) end.send(pattern(5000))
  for (const end of near) await end.do({ do: 'turns' })
  for (const end of ends) await end.got(1)
  const grown = process.memoryUsage().arrayBuffers - before
  assert.ok(grown < 2 * 1024 * 1024, `${grown} bytes for 100 idle connections`)
  for (const end of near) end.connection.abort(new TalkwireError('CONNECTION_LOST', 'the test is over'))
  await listener.close()
})

/**
 * Shared memory: `shm:bank`. Two rings carry the messages, a Unix socket the first word, the bell and the end: spec/shm.md.
 * The side that connects makes the memory, so that a flood of clients costs the clients.
 */
import { closeSync, constants, fstatSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { parseAddress, validateName } from '../address.js'
import { runtimeDirectory } from '../discovery/names.js'
import type { Writer } from '../codecs/writer.js'
import { TalkwireError, type Code } from '../error.js'
import { needMapping, SEAL, sealsOf } from '../kernel/mapping.js'
import { ringBytes } from '../memory/ring-layout.js'
import { SharedMemory } from '../memory/shared-memory.js'
import { RingConnection, type Control, type RingPair } from './ring-connection.js'
import type { ByteConnection, Connection, Peer, Sink, Traits, Transport } from './transport.js'
import { connectPath, socketPath, unix, type UnixOptions } from './unix.js'

const VERSION = 1
/** Bytes of each ring. Larger ones fall out of the processor's cache, smaller ones fill up while the other side is not running. */
const CAPACITY = 256 * 1024
const LEAST_MEMORY = 2 * ringBytes(1024)
/** Nobody makes us map more. */
const MOST_MEMORY = 64 * 1024 * 1024
/** Of a message on the socket. */
const MAX_NOTE = 4096
const traits: Traits = {
  ordered: true,
  reliable: true,
  backpressure: true,
  crossProcess: true,
  crossHost: false,
  manyConnections: true,
  peerCredentials: true,
}

export const shm: Transport<UnixOptions> = {
  scheme: 'shm',
  traits,

  async connect(address, sink, options = {}) {
    needMapping()
    const memory = SharedMemory.anonymous(2 * ringBytes(CAPACITY))
    const line = new SocketLine(address, memory)
    try {
      options.signal?.throwIfAborted()
      line.open(await connectPath(socketPath(socketAddress(address)), address, line, { ...options, maxMessage: MAX_NOTE }))
      line.note({ shm: VERSION, descriptor: memory.fd })
      return line.start(memory, 'client', options.maxMessage, () => sink)
    } catch (reason) {
      memory.close()
      throw reason
    }
  },

  async listen(address, accept, options = {}) {
    needMapping()
    const { maxMessage, handshake } = options
    const listener = await unix.listen!(
      socketAddress(address),
      (socket) => {
        const line = new SocketLine(address)
        line.open(socket as ByteConnection)
        line.expectHello(handshake, (hello) => line.start(memoryOf(hello, socket.peer), 'server', maxMessage, accept))
        return line
      },
      { ...options, maxMessage: MAX_NOTE },
    )
    return { address, close: () => listener.close() }
  },
}

/** The socket of `shm:bank`; paths and abstract names are those of `unix:`. */
function socketAddress(address: string): string {
  const { rest } = parseAddress(address)
  if (rest.startsWith('/') || rest.startsWith('@')) return `unix:${rest}`
  return `unix:${join(runtimeDirectory(), `${validateName(rest)}.shm`)}`
}

interface Hello {
  readonly shm: number
  readonly descriptor: number
}

/** What is said on the socket besides the bell, which is an empty message. */
type Note = Hello | { readonly end: true } | { readonly error: { readonly code: string; readonly message: string } }

/** The descriptor is another process's: it is opened anew, if it is of memory that cannot change its size. */
function memoryOf({ shm: version, descriptor }: Hello, { pid }: Peer): SharedMemory {
  if (version !== VERSION)
    throw new TalkwireError('UNSUPPORTED', `shm: version ${version} is spoken there, version ${VERSION} here; take unix:`)
  if (!Number.isInteger(descriptor) || descriptor < 0) throw new TalkwireError('INVALID_MESSAGE', 'the descriptor is no number')
  const path = `/proc/${pid}/fd/${descriptor}`
  let fd: number
  try {
    fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK)
  } catch (cause) {
    throw new TalkwireError('PERMISSION_DENIED', `the memory of process ${pid} cannot be opened: ${(cause as Error).message}; take unix:`, {
      cause,
    })
  }
  try {
    const { size } = fstatSync(fd)
    if ((sealsOf(fd) & SEAL.grow) === 0 || size < LEAST_MEMORY || size > MOST_MEMORY || size % 16 !== 0)
      throw new TalkwireError(
        'INVALID_MEMORY',
        `descriptor ${descriptor} has ${size} bytes; it should be memory of fixed size, from ${LEAST_MEMORY} to ${MOST_MEMORY} bytes`,
      )
    return SharedMemory.attach(fd)
  } finally {
    closeSync(fd)
  }
}

function pairIn(memory: SharedMemory): RingPair {
  const size = memory.size / 2
  return { toServer: { memory, size }, toClient: { memory, offset: size, size } }
}

const nothing = (): void => {}

/** The socket beside the rings. */
class SocketLine implements Control, Sink {
  peer: Peer
  private socket!: ByteConnection
  private rings: RingConnection | undefined
  private hello: ((hello: Hello) => void) | undefined
  private timer: NodeJS.Timeout | undefined
  private closing = false
  private cause: TalkwireError | undefined

  constructor(
    private readonly address: string,
    private memory?: SharedMemory,
  ) {
    this.peer = { address }
  }

  open(socket: ByteConnection): void {
    this.socket = socket
    this.peer = { ...socket.peer, address: this.address }
  }

  expectHello(patience: number | undefined, then: (hello: Hello) => void): void {
    this.hello = then
    if (patience === undefined) return
    this.timer = setTimeout(() => this.socket.abort(new TalkwireError('DEADLINE_EXCEEDED', 'no hello')), patience)
    this.timer.unref()
  }

  start(
    memory: SharedMemory,
    side: 'client' | 'server',
    maxMessage: number | undefined,
    sinkOf: (connection: Connection) => Sink,
  ): RingConnection {
    this.memory = memory
    this.rings = new RingConnection(pairIn(memory), side, this, maxMessage)
    return this.rings.attach(sinkOf(this.rings))
  }

  note(note: Note): void {
    this.socket.begin().text(JSON.stringify(note))
    this.socket.commit()
  }

  /** The rings hear of the socket's end later than it takes nothing any more. */
  private unlessEnded(say: (writer: Writer) => unknown): void {
    let writer: Writer
    try {
      writer = this.socket.begin()
    } catch {
      return
    }
    say(writer)
    this.socket.commit()
  }

  // ── Control ────────────────────────────────────────────────────────────────────────────────────

  ring(): void {
    if (!this.closing) this.unlessEnded(nothing)
  }

  end(): void {
    this.unlessEnded((writer) => writer.text(JSON.stringify({ end: true } satisfies Note)))
  }

  close(): void {
    this.closing = true
    void this.socket.close()
  }

  abort(cause: TalkwireError): void {
    this.closing = true
    this.socket.abort(cause)
  }

  ref(): void {
    this.socket.ref()
  }

  unref(): void {
    this.socket.unref()
  }

  release(): void {
    this.memory?.close()
  }

  // ── Sink ───────────────────────────────────────────────────────────────────────────────────────

  message(bytes: Buffer, start: number, end: number): void {
    if (start === end) return this.rings?.rung()
    const note = JSON.parse(bytes.toString('utf8', start, end)) as Note
    if ('end' in note) this.rings?.farEnded()
    else if ('error' in note) this.cause = new TalkwireError(note.error.code as Code, note.error.message)
    else this.helloCame(note)
  }

  private helloCame(note: Hello): void {
    const { hello } = this
    clearTimeout(this.timer)
    this.hello = undefined
    if (!hello) throw new TalkwireError('INVALID_MESSAGE', 'a second hello')
    try {
      hello(note)
    } catch (reason) {
      const { code, message } = TalkwireError.from(reason, 'UNKNOWN')
      this.note({ error: { code, message } })
      void this.socket.close()
    }
  }

  value(): void {}

  drained(): void {}

  closed(cause?: TalkwireError): void {
    clearTimeout(this.timer)
    const lost = new TalkwireError('CONNECTION_LOST', 'the other side ended without a last word; it may have crashed')
    this.rings?.gone(this.cause ?? cause ?? (this.closing ? undefined : lost))
    if (!this.rings) this.memory?.close()
  }
}

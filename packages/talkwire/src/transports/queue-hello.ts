/** How two processes that share a well-known queue come to a pair of their own: spec/queues.md. What `mq:` and `sysv:` have in common. */
import { TalkwireError } from '../error.js'
import { whenEnded } from '../memory/ended.js'
import { unless } from '../memory/errors.js'
import { idOf, isAlive, self } from '../memory/owner.js'
import { queueError } from '../queues/errors.js'
import { keepTrying, repeatedly, type Watch } from '../queues/looking.js'
import type { QueueKind } from '../queues/kinds.js'
import { cleanQueues, makeRecorded, makerOf, removeRecorded } from '../queues/records.js'
import { nobodyListens } from './refusals.js'
import { QueueStream, type Piece, type QueuePair } from './queue-stream.js'
import { StreamConnection } from './stream-connection.js'
import { HANDSHAKE, type Accept, type Listener, type Sink, type TransportOptions } from './transport.js'

/** A queue of short texts. */
export interface HelloQueue {
  /** False when it is full. */
  send(text: string): boolean
  receive(): string | undefined
  /** Calls `look` in each turn in which there are some. */
  listen(look: () => void): void
  onceRoom(room: () => void): () => void
  close(): void
}

/** A pair that was made to be offered. */
export interface OfferedPair {
  readonly pair: QueuePair
  /** What the other side needs to open it; for the hello. */
  readonly words: string
  /** The other side has it open. */
  readonly welcomed: () => void
  /** It was not taken, or is at its end: nothing of it stays. */
  readonly remove: () => void
}

/** A process, and the bell that wakes it, where one is needed and it has one. */
export interface Party {
  readonly owner: bigint
  readonly bell: number | undefined
}

/** What a kind of queue knows of itself. */
export interface QueueWire {
  readonly kind: QueueKind
  /** Makes the well-known queue, which nobody has. */
  makeHello(name: string): HelloQueue
  /** Throws NOT_FOUND. `server` made it. */
  openHello(name: string, server: Party): HelloQueue
  /** Throws LIMIT_EXCEEDED, NO_SPACE. */
  offer(server: Party): OfferedPair
  /** Opens what another process, which lives, offers; `words` is its text. Undefined when they are no such words. Throws NOT_FOUND. */
  take(words: string, owner: bigint): { readonly pair: QueuePair; readonly answer: string } | undefined
}

/** Hellos answered in one turn. */
const HELLOS_A_TURN = 16
const GREETING = /^talkwire 1 (\d{1,20})((?: [\w.-]{1,255}){0,3})\n?$/

const greeting = (words: string): string => `talkwire 1 ${BigInt.asUintN(64, self())}${words && ` ${words}`}\n`

function parseGreeting(text: string): { readonly owner: bigint; readonly words: string } | undefined {
  const [, owner, words] = GREETING.exec(text) ?? []
  return owner === undefined ? undefined : { owner: BigInt.asIntN(64, BigInt(owner)), words: words!.trim() }
}

// ── the client ───────────────────────────────────────────────────────────────────────────────────

export async function connectByQueues(
  wire: QueueWire,
  name: string,
  address: string,
  sink: Sink,
  options: TransportOptions,
): Promise<StreamConnection> {
  options.signal?.throwIfAborted()
  cleanQueues()
  const server = makerOf(wire.kind, name)
  const hello = server === undefined ? undefined : unless('NOT_FOUND', () => wire.openHello(name, server))
  if (server === undefined || !hello) throw nobodyListens(address)
  let offered: OfferedPair | undefined
  try {
    offered = wire.offer(server)
    const first = await introduce(hello, offered, server.owner, address, options)
    const stream = new QueueStream(offered.pair)
    stream.once('close', offered.remove)
    const connection = follow(stream, server.owner, address, { maxMessage: options.maxMessage, framing: 'length' }).attach(sink)
    if (first.is === 'data') offered.welcomed()
    // It was welcomed, and cut at once.
    else stream.destroy(new TalkwireError('CONNECTION_LOST', 'the other end aborted'))
    return connection
  } catch (reason) {
    offered?.pair.tear()
    offered?.pair.close(true)
    offered?.remove()
    throw reason
  } finally {
    hello.close()
  }
}

/** Says hello and waits for the first piece. Rejects with PEER_NOT_FOUND or the signal's reason. */
async function introduce(
  hello: HelloQueue,
  { pair, words }: OfferedPair,
  server: bigint,
  address: string,
  { signal, handshake = HANDSHAKE }: TransportOptions,
): Promise<Piece> {
  const ending = new AbortController()
  const fail = (text: string): void => ending.abort(new TalkwireError('PEER_NOT_FOUND', `${address} ${text}`))
  const onAbort = (): void => ending.abort(signal!.reason)
  signal?.addEventListener('abort', onAbort)
  const timer = setTimeout(
    fail,
    handshake,
    `did not answer within ${handshake} ms; see whether its process is stopped, or raise limits.handshake`,
  )
  let quiet = (): void => {}
  const whenPieces: Watch = (look) => {
    pair.listen(look)
    return () => pair.listen(undefined)
  }
  try {
    quiet = whenEnded(server, () => fail('ended before it answered; start it again'))
    const text = greeting(words)
    if (!hello.send(text))
      await keepTrying(
        address,
        () => hello.send(text) || undefined,
        repeatedly((room) => hello.onceRoom(room)),
        { signal: ending.signal },
      )
    return pair.receive() ?? (await keepTrying(address, () => pair.receive(), whenPieces, { signal: ending.signal }))
  } finally {
    signal?.removeEventListener('abort', onAbort)
    clearTimeout(timer)
    quiet()
  }
}

/** A connection that ends with the process at the other end. */
function follow(
  stream: QueueStream,
  owner: bigint,
  address: string,
  options: ConstructorParameters<typeof StreamConnection>[2],
): StreamConnection {
  const ended = (): void =>
    stream.lose(new TalkwireError('CONNECTION_LOST', `process ${idOf(owner)}, at the other end of ${address}, ended`))
  try {
    stream.once(
      'close',
      queueError(address, () => whenEnded(owner, ended)),
    )
  } catch (reason) {
    // No more descriptors: a connection whose end nobody would notice is none.
    stream.destroy(TalkwireError.from(reason))
  }
  return new StreamConnection(stream, { address, pid: idOf(owner) }, options)
}

// ── the server ───────────────────────────────────────────────────────────────────────────────────

export function listenByQueues(wire: QueueWire, name: string, address: string, accept: Accept, options: TransportOptions): Listener {
  options.signal?.throwIfAborted()
  cleanQueues()
  const hello = makeRecorded(wire.kind, name, () => inUse(address, () => wire.makeHello(name)))
  let closed = false
  const close = (): void => {
    if (closed) return
    closed = true
    hello.close()
    removeRecorded(wire.kind, name)
  }
  try {
    hello.listen(() => {
      for (let count = 0; !closed && count < HELLOS_A_TURN; count++) {
        const text = hello.receive()
        if (text === undefined) return
        welcome(wire, text, address, accept, options)
      }
    })
  } catch (reason) {
    close()
    throw reason
  }
  return { address, close: async () => close() }
}

/** A queue that we have no record of is another program's. */
function inUse<T>(address: string, make: () => T): T {
  try {
    return make()
  } catch (cause) {
    if (!(cause instanceof TalkwireError) || cause.code !== 'ALREADY_EXISTS') throw cause
    throw new TalkwireError('ADDRESS_IN_USE', `the queue of ${address} is there, and is not Talkwire's; remove it, or take another name`, {
      cause,
    })
  }
}

function welcome(wire: QueueWire, text: string, address: string, accept: Accept, { maxMessage }: TransportOptions): void {
  const hello = parseGreeting(text)
  if (!hello || !isAlive(hello.owner)) return
  let taken: ReturnType<QueueWire['take']>
  try {
    taken = wire.take(hello.words, hello.owner)
  } catch {
    // It has given up, or no more descriptors are to be had: this connection is lost, the service goes on.
    return
  }
  if (!taken) return
  const { pair, answer } = taken
  pair.send({ is: 'data', bytes: Buffer.from(greeting(answer)) })
  const connection = follow(new QueueStream(pair), hello.owner, address, { maxMessage })
  connection.attach(accept(connection))
}

/** Message queues of POSIX: `mq:bank`. A well-known queue takes hellos, each connection has two queues of its own. spec/queues.md. */
import { closeSync } from 'node:fs'
import type net from 'node:net'
import { parseAddress, validateName } from '../address.js'
import { attributesOf, createQueue, openQueue, receiveFrom, sendTo } from '../kernel/mq.js'
import { onceWritable } from '../kernel/waiting.js'
import { self } from '../memory/owner.js'
import { queueError } from '../queues/errors.js'
import { posixKind } from '../queues/kinds.js'
import { validateQueueName } from '../queues/names.js'
import { whenReadable } from '../queues/readable.js'
import { makeRecorded, removeRecorded } from '../queues/records.js'
import { connectByQueues, listenByQueues, type HelloQueue, type OfferedPair, type QueueWire } from './queue-hello.js'
import type { Piece, QueuePair } from './queue-stream.js'
import type { Traits, Transport } from './transport.js'

const traits: Traits = {
  ordered: true,
  reliable: true,
  backpressure: true,
  crossProcess: true,
  crossHost: false,
  manyConnections: true,
  peerCredentials: false,
}

/** All queues of a user share 800 KiB (ulimit -q): some 45 connections of these. */
const PAIR = { messages: 4, messageSize: 2048 }
const HELLO = { messages: 10, messageSize: 1024 }
const OWN = 0o600
/** Of a message: all but this are data, and one of data that is empty is the end. */
const TORN = 1
const EMPTY = Buffer.alloc(0)

export const mq: Transport = {
  scheme: 'mq',
  traits,
  connect: async (address, sink, options = {}) => connectByQueues(wire, nameOf(address), address, sink, options),
  listen: async (address, accept, options = {}) => listenByQueues(wire, nameOf(address), address, accept, options),
}

/** With or without the slash that C programs write. */
const nameOf = (address: string): string => validateName(parseAddress(address).rest.replace(/^\//, ''))

const wire: QueueWire = {
  kind: posixKind,
  makeHello: (name) => new Hello(made(name, HELLO)),
  openHello: (name) => new Hello(opened(name)),
  offer,
  take(words) {
    const [c2s, s2c, rest] = words.split(' ')
    if (c2s === undefined || s2c === undefined || rest !== undefined) return undefined
    return { pair: openPair(c2s, s2c), answer: '' }
  },
}

const made = (name: string, size: typeof PAIR): number => queueError(`queue /${name}`, () => createQueue(name, size, OWN))
const opened = (name: string): number => queueError(`queue /${name}`, () => openQueue(validateQueueName(name)))

class Hello implements HelloQueue {
  private readonly buffer: Buffer
  private reader: net.Socket | undefined

  constructor(private readonly queue: number) {
    this.buffer = Buffer.allocUnsafe(attributesOf(queue).messageSize)
  }

  send(text: string): boolean {
    return sendTo(this.queue, Buffer.from(text), 0)
  }

  receive(): string | undefined {
    const received = receiveFrom(this.queue, this.buffer)
    return received && this.buffer.toString('latin1', 0, received.length)
  }

  listen(look: () => void): void {
    this.reader = whenReadable(this.queue, look)
  }

  onceRoom(room: () => void): () => void {
    return onceWritable(this.queue, room)
  }

  close(): void {
    this.reader?.destroy()
    closeSync(this.queue)
  }
}

let pairs = 0

function offer(): OfferedPair {
  const base = `talkwire-${BigInt.asUintN(64, self()).toString(36)}-${++pairs}`
  const names = [`${base}.c2s`, `${base}.s2c`] as const
  const queues: number[] = []
  let offered = true
  const remove = (): void => {
    if (offered) for (const name of names) removeRecorded(posixKind, name)
    offered = false
  }
  try {
    for (const name of names) queues.push(makeRecorded(posixKind, name, () => made(name, PAIR)))
  } catch (reason) {
    for (const queue of queues) closeSync(queue)
    remove()
    throw reason
  }
  // Once both sides have them open, nobody needs the names, and no crash leaves anything.
  return { pair: new Pair(queues[1]!, queues[0]!), words: names.join(' '), welcomed: remove, remove }
}

function openPair(c2s: string, s2c: string): Pair {
  const input = opened(c2s)
  try {
    return new Pair(input, opened(s2c))
  } catch (reason) {
    closeSync(input)
    throw reason
  }
}

class Pair implements QueuePair {
  readonly pieceSize: number
  private readonly buffer: Buffer
  private reader: net.Socket | undefined
  private look: (() => void) | undefined
  private readonly holds: number

  constructor(
    private readonly input: number,
    private readonly output: number,
  ) {
    const { messages, messageSize } = attributesOf(output)
    this.holds = messages
    this.pieceSize = messageSize
    this.buffer = Buffer.allocUnsafe(Math.max(attributesOf(input).messageSize, messageSize))
  }

  send(piece: Piece): boolean {
    return sendTo(this.output, piece.is === 'data' ? piece.bytes : EMPTY, 0)
  }

  receive(): Piece | undefined {
    const received = receiveFrom(this.input, this.buffer)
    if (!received) return undefined
    if (received.priority >= TORN) return { is: 'torn' }
    if (received.length === 0) return { is: 'end' }
    return { is: 'data', bytes: Buffer.from(this.buffer.subarray(0, received.length)) }
  }

  listen(look: (() => void) | undefined): void {
    this.look = look
    if (look) (this.reader ??= whenReadable(this.input, () => this.look?.())).resume()
    else this.reader?.pause()
  }

  onceRoom(room: () => void): () => void {
    return onceWritable(this.output, room)
  }

  tear(): void {
    for (let count = 0; count < this.holds && receiveFrom(this.output, this.buffer); count++);
    sendTo(this.output, EMPTY, TORN)
  }

  close(): void {
    this.reader?.destroy()
    closeSync(this.input)
    closeSync(this.output)
  }

  ref(): void {
    this.reader?.ref()
  }

  unref(): void {
    this.reader?.unref()
  }
}

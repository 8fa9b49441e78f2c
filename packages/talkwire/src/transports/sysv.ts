/** Message queues of System V: `sysv:4711`. A well-known queue takes hellos, each connection has two of its own. spec/queues.md. */
import { randomInt } from 'node:crypto'
import { parseAddress } from '../address.js'
import { TalkwireError } from '../error.js'
import { receiveSystemV, removeSystemVQueue, sendSystemV, stateOfSystemVQueue } from '../kernel/system-v-queue.js'
import { bellDescriptor, onBell, ring } from '../memory/bell.js'
import { unless } from '../memory/errors.js'
import { Pauses } from '../memory/pauses.js'
import { systemVError } from '../queues/errors.js'
import { systemVKind } from '../queues/kinds.js'
import { makeRecorded, removeRecorded } from '../queues/records.js'
import { SystemVQueue } from '../queues/system-v-queue.js'
import { connectByQueues, listenByQueues, type HelloQueue, type OfferedPair, type Party, type QueueWire } from './queue-hello.js'
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

/** The type of all messages. */
const TYPE = 1
const EMPTY = Buffer.alloc(0)
/** Milliseconds between looks: at hellos, which a plain program does not ring for; and for who rings, where no bell could be heard. */
const HELLO_LOOK = 100
const SELDOM = 1000
/** Of what a queue holds: a piece, and what is taken out until its writer is told that there is room. */
const PIECES = 8
const ROOM = 4
const LARGEST_PIECE = 4096

export const sysv: Transport = {
  scheme: 'sysv',
  traits,
  connect: async (address, sink, options = {}) => connectByQueues(wire, keyOf(address), address, sink, options),
  listen: async (address, accept, options = {}) => listenByQueues(wire, keyOf(address), address, accept, options),
}

/** In decimal digits, with its sign. Throws INVALID_ADDRESS. */
function keyOf(address: string): string {
  const { rest } = parseAddress(address)
  const key = /^(0x[0-9a-f]{1,8}|-?\d{1,10})$/i.test(rest) ? Number(rest) : 0
  if (key !== 0 && key >= -(2 ** 31) && key < 2 ** 32) return String(key | 0)
  throw new TalkwireError(
    'INVALID_ADDRESS',
    `${JSON.stringify(address.slice(0, 80))} has no key; write a number of 32 bits that is not 0, such as sysv:4711 or sysv:0x1267`,
  )
}

const wire: QueueWire = {
  kind: systemVKind,
  makeHello: (key) => hello(SystemVQueue.create(Number(key)).id, undefined),
  openHello: (key, server) => hello(SystemVQueue.open(Number(key)).id, server),
  offer,
  take(words, owner) {
    const [, c2s, s2c, bell] = /^(-?\d{1,11}) (-?\d{1,11}) (-|\d{1,10})$/.exec(words) ?? []
    if (c2s === undefined || s2c === undefined) return undefined
    const [input, output] = [c2s, s2c].map((key) => ({ key, id: SystemVQueue.open(Number(key)).id })) as [Way, Way]
    const peer = { owner, bell: bell === '-' ? undefined : Number(bell) }
    return { pair: new Pair(input, output, peer), answer: String(bellDescriptor()) }
  },
}

/** `server`: who reads it, if that is not us. */
function hello(id: number, server: Party | undefined): HelloQueue {
  let quiet = (): void => {}
  return {
    send(text) {
      const sent = systemVError('the queue of hellos', () => sendSystemV(id, TYPE, Buffer.from(text)))
      if (sent && server?.bell !== undefined) ring(server.owner, server.bell)
      return sent
    },
    receive() {
      // Who has removed it wants no hellos to come.
      const received = unless('NOT_FOUND', () => systemVError('the queue of hellos', () => receiveSystemV(id, 0)))
      return received?.bytes.toString('latin1')
    },
    listen(look) {
      const stop = onBell(look)
      const timer = setInterval(look, HELLO_LOOK)
      quiet = () => {
        stop()
        clearInterval(timer)
      }
    },
    onceRoom: (room) => after(HELLO_LOOK, room),
    close: () => quiet(),
  }
}

function after(milliseconds: number, told: () => void): () => void {
  const timer = setTimeout(told, milliseconds)
  return () => clearTimeout(timer)
}

// ── a pair ───────────────────────────────────────────────────────────────────────────────────────

interface Way {
  readonly key: string
  readonly id: number
}

function offer(server: Party): OfferedPair {
  const ways: Way[] = []
  let offered = true
  const remove = (): void => {
    if (offered) ways.forEach(forget)
    offered = false
  }
  try {
    for (let count = 0; count < 2; count++) ways.push(makeWay())
  } catch (reason) {
    remove()
    throw reason
  }
  const [c2s, s2c] = ways as [Way, Way]
  return {
    pair: new Pair(s2c, c2s, server),
    words: `${c2s.key} ${s2c.key} ${bellDescriptor()}`,
    // From here on each side takes away the queue that it reads, when it has read all.
    welcomed: () => (offered = false),
    remove,
  }
}

/** By a key, so that the record can be written first. */
function makeWay(): Way {
  for (;;) {
    const key = String(randomInt(1, 2 ** 31))
    const made = unless('ALREADY_EXISTS', () =>
      unless('ADDRESS_IN_USE', () => makeRecorded(systemVKind, key, () => SystemVQueue.create(Number(key)))),
    )
    if (made) return { key, id: made.id }
  }
}

/** By its number: another one may have its key by now. */
const forget = ({ key, id }: Way): void =>
  removeRecorded(systemVKind, key, () => unless('NOT_FOUND', () => systemVError(`sysv:${key}`, () => removeSystemVQueue(id))))

class Pair implements QueuePair {
  readonly pieceSize: number
  private readonly ringAfter: number
  private readonly pauses = new Pauses()
  private taken = 0
  private ringing = false
  private look: (() => void) | undefined
  private more = false
  private quiet: (() => void) | undefined
  private keepsAlive = true

  constructor(
    private readonly input: Way,
    private readonly output: Way,
    private readonly peer: Party,
  ) {
    const capacity = (way: Way): number => systemVError(`sysv:${way.key}`, () => stateOfSystemVQueue(way.id)).capacity
    this.pieceSize = Math.min(LARGEST_PIECE, Math.max(1, Math.floor(capacity(output) / PIECES)))
    this.ringAfter = capacity(input) / ROOM
  }

  send(piece: Piece): boolean {
    const bytes = piece.is === 'data' ? piece.bytes : EMPTY
    const sent = systemVError(`sysv:${this.output.key}`, () => sendSystemV(this.output.id, TYPE, bytes))
    if (!sent) return false
    this.pauses.reset()
    this.tell()
    return true
  }

  receive(): Piece | undefined {
    this.more = false
    let received: ReturnType<typeof receiveSystemV>
    try {
      received = systemVError(`sysv:${this.input.key}`, () => receiveSystemV(this.input.id, 0))
    } catch (reason) {
      if (reason instanceof TalkwireError && reason.code === 'NOT_FOUND') return { is: 'torn' }
      throw reason
    }
    if (!received) return undefined
    this.more = true
    this.pauses.reset()
    const { bytes } = received
    // Who waits for room waits until so much has been taken out at least once.
    this.taken += bytes.length
    if (this.taken >= this.ringAfter) {
      this.taken = 0
      this.tell()
    }
    return bytes.length === 0 ? { is: 'end' } : { is: 'data', bytes }
  }

  listen(look: (() => void) | undefined): void {
    if (look === this.look) return
    this.look = look
    this.watch()
    // What is there has been rung for.
    if (look) setImmediate(this.again)
  }

  onceRoom(room: () => void): () => void {
    if (this.peer.bell === undefined) return after(this.pauses.next(), room)
    const told = (): void => {
      stop()
      room()
    }
    const quiet = onBell(told)
    const timer = setTimeout(told, SELDOM)
    const stop = (): void => {
      quiet()
      clearTimeout(timer)
    }
    return stop
  }

  /** A queue that is gone is the news, and needs nobody to take it away. */
  tear(): void {
    forget(this.output)
    this.tell()
  }

  close(lost: boolean): void {
    this.listen(undefined)
    forget(this.input)
    // Else the other side takes it away, when it has read what is in it.
    if (lost) forget(this.output)
  }

  ref(): void {
    this.keepsAlive = true
    this.watch()
  }

  unref(): void {
    this.keepsAlive = false
    this.watch()
  }

  /** Rings once for all of this turn. */
  private tell(): void {
    const { owner, bell } = this.peer
    if (this.ringing || bell === undefined) return
    this.ringing = true
    process.nextTick(() => {
      this.ringing = false
      ring(owner, bell)
    })
  }

  private watch(): void {
    this.quiet?.()
    this.quiet = this.look && (this.peer.bell === undefined ? this.nowAndThen() : this.whenRung())
  }

  private whenRung(): () => void {
    const quiet = onBell(this.again, this.keepsAlive)
    const timer = setInterval(this.again, SELDOM).unref()
    return () => {
      quiet()
      clearInterval(timer)
    }
  }

  private nowAndThen(): () => void {
    let timer: NodeJS.Timeout
    const wait = (): void => {
      timer = setTimeout(() => {
        wait()
        this.again()
      }, this.pauses.next())
      if (!this.keepsAlive) timer.unref()
    }
    wait()
    return () => clearTimeout(timer)
  }

  private readonly again = (): void => {
    if (!this.look) return
    this.more = false
    this.look()
    // It takes only so many in one turn.
    if (this.more) setImmediate(this.again)
  }
}

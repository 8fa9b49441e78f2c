/**
 * The wire to whoever started this process: the descriptor that `spawn:` and `fork:` of any Talkwire give
 * (TALKWIRE_FD), so that stdout stays free for printing, or else stdin and stdout themselves.
 */
import { closeSync, createReadStream, createWriteStream, fstatSync, openSync } from 'node:fs'
import net from 'node:net'
import type { Duplex, Readable, Writable } from 'node:stream'
import tty from 'node:tty'
import { parseAddress } from '../address.js'
import { TalkwireError } from '../error.js'
import { peerCredentials } from '../kernel/credentials.js'
import { takeDescriptor } from '../kernel/descriptors.js'
import { dieWithParent } from '../kernel/parent-death.js'
import { PipePair } from './pipe-pair.js'
import { adopt, StreamConnection } from './stream-connection.js'
import type { Accept, Listener, Peer, Traits, Transport, TransportOptions } from './transport.js'

/** Milliseconds a process gets to end by itself after its parent died. */
const GRACE = 2000
const traits: Traits = {
  ordered: true,
  reliable: true,
  backpressure: true,
  crossProcess: true,
  crossHost: false,
  manyConnections: false,
  peerCredentials: true,
}

export const stdio: Transport = {
  scheme: 'stdio',
  traits,

  async connect(address, sink, options = {}) {
    options.signal?.throwIfAborted()
    validateRest(address)
    const { stream, peer } = parentStream(address)
    return new StreamConnection(stream, peer, { maxMessage: options.maxMessage, framing: 'length' }).attach(sink)
  },

  async listen(address, accept, options = {}) {
    options.signal?.throwIfAborted()
    validateRest(address)
    return listenOnce(address, accept, options)
  },
}

/** The one connection there is, accepted in a later turn. */
export function listenOnce(address: string, accept: Accept, { maxMessage }: TransportOptions): Listener {
  const { stream, peer } = parentStream(address)
  const starting = setImmediate(() => {
    const connection = new StreamConnection(stream, peer, { maxMessage })
    connection.attach(accept(connection))
  })
  return {
    address,
    async close() {
      clearImmediate(starting)
      // Once accepted it belongs to its connection.
      if (stream.listenerCount('end') === 0) stream.destroy()
    },
  }
}

/** Throws INVALID_ADDRESS. */
export function validateRest(address: string): void {
  if (parseAddress(address).rest !== '')
    throw new TalkwireError('INVALID_ADDRESS', `${JSON.stringify(address.slice(0, 80))}: nothing stands after the colon`)
}

let taken = false
let parent: number | undefined

/** The descriptor that our parent gave us for talking. */
function givenDescriptor(): number | undefined {
  const fd = Number(process.env['TALKWIRE_FD'] ?? NaN)
  return Number.isInteger(fd) && fd > 2 && isSocket(fd) ? fd : undefined
}

/** Whether the parent gave us a descriptor, and nobody has taken it. */
export const isGiven = (): boolean => !taken && givenDescriptor() !== undefined

function isSocket(fd: number): boolean {
  try {
    return fstatSync(fd).isSocket()
  } catch {
    return false
  }
}

/** The wire to whoever started us. Throws ADDRESS_IN_USE. */
export function parentStream(address: string): { stream: Duplex; peer: Peer } {
  if (taken)
    throw new TalkwireError(
      'ADDRESS_IN_USE',
      `this process talks to its parent already, and there is one wire for that; take another address than ${address}`,
    )
  taken = true
  bindToParent()
  const fd = givenDescriptor()
  // For us, and not for our children: Node has made it close-on-exec before any of our code ran.
  delete process.env['TALKWIRE_FD']
  const wire =
    fd === undefined ? undefined : adopt(new net.Socket({ fd, allowHalfOpen: true, manualStart: true } as net.SocketConstructorOpts))
  const [stream, socket] = wire ? [wire, wire] : takeStdio()
  stream.once('close', endWithParent)
  return { stream, peer: { address, pid: process.ppid, ...(socket instanceof net.Socket && peerCredentials(socket)) } }
}

/** Whoever started us through Talkwire takes us along when it dies: at once where the kernel can, else when the wire ends. */
function bindToParent(): void {
  const pid = Number(process.env['TALKWIRE_PARENT'] ?? NaN)
  delete process.env['TALKWIRE_PARENT']
  // Behind a wrapper (a shell, npx) our parent is somebody else, and only the end of the wire tells.
  if (process.ppid !== pid) return
  parent = pid
  dieWithParent()
}

/** After the end of the wire a parent that lives sees to our end; else nobody would. */
function endWithParent(): void {
  if (parent !== undefined && process.ppid !== parent) setTimeout(() => process.kill(process.pid, 'SIGTERM'), GRACE).unref()
}

/** stdin and stdout become the wire; what the program prints goes to stderr. */
function takeStdio(): [stream: Duplex, input: Readable] {
  const nothing = openSync('/dev/null', 'r')
  const stdin = takeDescriptor(0, nothing)
  const stdout = takeDescriptor(1, 2)
  closeSync(nothing)
  // Without koffi at least what JavaScript prints is kept off the wire.
  if (stdout === undefined) process.stdout.write = process.stderr.write.bind(process.stderr)
  const input = readable(stdin ?? 0)
  return [new PipePair(input, writable(stdout ?? 1)), input]
}

function readable(fd: number): Readable {
  if (tty.isatty(fd)) return new tty.ReadStream(fd)
  return isPipe(fd) ? new net.Socket({ fd, readable: true, writable: false }) : createReadStream('', { fd })
}

function writable(fd: number): Writable {
  if (tty.isatty(fd)) return new tty.WriteStream(fd)
  return isPipe(fd) ? new net.Socket({ fd, readable: false, writable: true }) : createWriteStream('', { fd })
}

function isPipe(fd: number): boolean {
  const stat = fstatSync(fd)
  return stat.isFIFO() || stat.isSocket()
}

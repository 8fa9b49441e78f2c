/** Two named pipes: `fifo:/run/bank` is /run/bank.c2s and /run/bank.s2c. One client at a time. The steps are those of spec/fifo.md. */
import { closeSync, constants, fstatSync, lstatSync, openSync, readSync, unlinkSync } from 'node:fs'
import net from 'node:net'
import { claim, find, type Claim } from '../discovery/names.js'
import { TalkwireError } from '../error.js'
import { makeFifo } from '../kernel/fifo.js'
import { claimClient, onceFree } from './one-client.js'
import { PipePair } from './pipe-pair.js'
import { filePathOf, nobodyListens } from './refusals.js'
import { fromSystem } from './socket.js'
import { StreamConnection } from './stream-connection.js'
import type { Accept, Listener, Peer, Sink, Traits, Transport, TransportOptions } from './transport.js'
import { claimName } from './unix.js'

const { O_RDONLY, O_WRONLY, O_NONBLOCK, O_NOFOLLOW } = constants
/** Never waits for the other end; Node adds O_CLOEXEC. */
const READ = O_RDONLY | O_NONBLOCK | O_NOFOLLOW
const WRITE = O_WRONLY | O_NONBLOCK | O_NOFOLLOW
/** Milliseconds between looks whether the server is there, as long as it has not answered. */
const PROBE = 100
const traits: Traits = {
  ordered: true,
  reliable: true,
  backpressure: true,
  crossProcess: true,
  crossHost: false,
  manyConnections: false,
  peerCredentials: false,
}

interface Paths {
  readonly c2s: string
  readonly s2c: string
  readonly claim: string
}

export const fifo: Transport = {
  scheme: 'fifo',
  traits,

  async connect(address, sink, options = {}) {
    options.signal?.throwIfAborted()
    const paths = await pathsOf(address)
    const held = claimClient(paths.claim, address)
    try {
      const [input, output] = await onceFree(() => openAsClient(paths, address), options)
      return join(paths, address, held, input, output, sink, options)
    } catch (reason) {
      held.release()
      throw reason
    }
  },

  async listen(address, accept, options = {}) {
    options.signal?.throwIfAborted()
    const paths = await pathsOf(address)
    return new FifoListener(address, paths, claim(paths.claim), accept, options)
  },
}

async function pathsOf(address: string): Promise<Paths> {
  const path = filePathOf(address)
  return { c2s: `${path}.c2s`, s2c: `${path}.s2c`, claim: await claimName(path, path) }
}

const missing = (reason: unknown): boolean => ['ENOENT', 'ENXIO'].includes((reason as NodeJS.ErrnoException).code ?? '')

// ── the client ───────────────────────────────────────────────────────────────────────────────────

/** Both descriptors. For `onceFree`. */
function openAsClient(paths: Paths, address: string): [input: number, output: number] | TalkwireError {
  const opened: number[] = []
  const give = (error: TalkwireError): TalkwireError => {
    for (const fd of opened) closeSync(fd)
    return error
  }
  try {
    opened.push(openOwn(paths.s2c, READ))
    if (isServed(opened[0]!))
      return give(
        new TalkwireError(
          'PEER_NOT_FOUND',
          `the server of ${address} still holds the session of a client that is gone; try again, or pass { wait: milliseconds }`,
        ),
      )
    opened.push(openOwn(paths.c2s, WRITE))
    if (isCurrent(opened[0]!, paths.s2c) && isCurrent(opened[1]!, paths.c2s)) return opened as [number, number]
    return give(
      new TalkwireError('PEER_NOT_FOUND', `the server of ${address} makes its pipes anew; try again, or pass { wait: milliseconds }`),
    )
  } catch (reason) {
    if (!missing(reason)) throw give(fromSystem(reason, `cannot connect to ${address}`))
    const error = give(nobodyListens(address, reason))
    // A living server that is between two clients.
    if (isClaimed(paths)) return error
    throw error
  }
}

const isClaimed = (paths: Paths): boolean => 'claimed' in find(paths.claim)

function openOwn(path: string, flags: number): number {
  const fd = openSync(path, flags)
  const stat = fstatSync(fd)
  if (stat.isFIFO() && stat.uid === process.getuid?.() && (stat.mode & 0o077) === 0) return fd
  closeSync(fd)
  throw new TalkwireError('PERMISSION_DENIED', `${path} is not a named pipe of ours alone (mode 0600); remove it or choose another path`)
}

/** Whether somebody has the pipe open for writing: a server that has not noticed its last client's end. */
function isServed(fd: number): boolean {
  try {
    return readSync(fd, Buffer.alloc(1), 0, 1, null) > 0
  } catch (reason) {
    if ((reason as NodeJS.ErrnoException).code === 'EAGAIN') return true
    throw reason
  }
}

function isCurrent(fd: number, path: string): boolean {
  const [open, named] = [fstatSync(fd), lstatSync(path, { throwIfNoEntry: false })]
  return named !== undefined && open.dev === named.dev && open.ino === named.ino
}

function join(
  paths: Paths,
  address: string,
  held: Claim,
  input: number,
  output: number,
  sink: Sink,
  { maxMessage }: TransportOptions,
): StreamConnection {
  const reading = new net.Socket({ fd: input, readable: true, writable: false })
  const pair = new PipePair(reading, new net.Socket({ fd: output, readable: false, writable: true }), {
    gone() {
      clearInterval(probe)
      try {
        held.release()
      } catch {
        // The claim's folder is gone, and the claim with it.
      }
    },
  })
  // Until it opens its end, only the other pipe knows whether the server lives.
  let answered = false
  const probe = setInterval(() => {
    if (isListening(output, paths)) return
    clearInterval(probe)
    // Its last word may be in the pipe, and is read before the next of these.
    setImmediate(() => {
      if (answered) return
      pair.destroy(new TalkwireError('CONNECTION_LOST', `the server of ${address} ended before it answered; start it again`))
    })
  }, PROBE)
  probe.unref()
  reading.once('data', () => {
    answered = true
    clearInterval(probe)
  })
  return new StreamConnection(pair, { address, ...pidOf(paths.claim) }, { maxMessage, framing: 'length' }).attach(sink)
}

function isListening(output: number, paths: Paths): boolean {
  try {
    if (!isCurrent(output, paths.c2s)) return false
    closeSync(openSync(paths.c2s, WRITE))
    return true
  } catch (reason) {
    return !missing(reason)
  }
}

/** As written in the claim, in our own private directory. */
function pidOf(name: string): Pick<Peer, 'pid'> {
  const found = find(name)
  return 'reason' in found ? (found.claimed ? { pid: found.claimed.pid } : {}) : { pid: found.pid }
}

// ── the server ───────────────────────────────────────────────────────────────────────────────────

class FifoListener implements Listener {
  private waiting: net.Socket | undefined
  private closed = false

  constructor(
    readonly address: string,
    private readonly paths: Paths,
    private readonly held: Claim,
    private readonly accept: Accept,
    private readonly options: TransportOptions,
  ) {
    try {
      this.make()
    } catch (reason) {
      held.release()
      throw fromSystem(reason, `cannot listen on ${address}`)
    }
  }

  async close(): Promise<void> {
    if (this.closed) return
    this.closed = true
    remove(this.paths.c2s)
    remove(this.paths.s2c)
    this.waiting?.destroy()
    this.held.release()
  }

  /** New pipes: whatever an earlier client still holds open has nothing to do with them. */
  private make(): void {
    const { c2s, s2c } = this.paths
    remove(c2s)
    remove(s2c)
    makeFifo(s2c)
    makeFifo(c2s)
    const input = new net.Socket({ fd: openSync(c2s, READ), readable: true, writable: false })
    this.waiting = input
    input.once('readable', () => this.welcome(input))
    input.on('error', () => {})
  }

  private renew(): void {
    if (this.closed) return
    try {
      this.make()
    } catch (reason) {
      // The folder is gone, say. Nobody waits for an answer here, so it is said aloud.
      process.emitWarning(
        `${this.address} takes no more clients: ${fromSystem(reason, 'its pipes cannot be made anew').message}`,
        'TalkwireWarning',
      )
    }
  }

  /** The first byte is there: somebody waits at the other pipe. */
  private welcome(input: net.Socket): void {
    this.waiting = undefined
    let output: number
    try {
      output = openSync(this.paths.s2c, WRITE)
    } catch {
      this.renew()
      input.destroy()
      return
    }
    const pair = new PipePair(input, new net.Socket({ fd: output, readable: false, writable: true }), { ending: () => this.renew() })
    const connection = new StreamConnection(
      pair,
      { address: this.address, ...pidOf(`${this.paths.claim}.client`) },
      { maxMessage: this.options.maxMessage },
    )
    connection.attach(this.accept(connection))
  }
}

/** Removes a named pipe of ours. Anything else stays: ADDRESS_IN_USE. */
function remove(path: string): void {
  const stat = lstatSync(path, { throwIfNoEntry: false })
  if (!stat) return
  if (!stat.isFIFO() || stat.uid !== process.getuid?.())
    throw new TalkwireError('ADDRESS_IN_USE', `${path} exists and is no named pipe of ours; remove it or choose another path`)
  unlinkSync(path)
}

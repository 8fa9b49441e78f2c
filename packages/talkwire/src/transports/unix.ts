/**
 * Unix domain sockets: `unix:bank` (a name in the private runtime directory), `unix:/run/bank.sock`,
 * `unix:@bank` (abstract), `unix:` + LISTEN_FDS for a socket that the service manager opened.
 */
import { closeSync, lstatSync, realpathSync, unlinkSync } from 'node:fs'
import net from 'node:net'
import { basename, dirname, join } from 'node:path'
import { parseAddress, validateName } from '../address.js'
import { claim, runtimeDirectory, type Claim } from '../discovery/names.js'
import { TalkwireError } from '../error.js'
import { peerCredentials, seesCredentials } from '../kernel/credentials.js'
import { connectSocket, createServer, fromSystem, listening, type SharedOptions } from './socket.js'
import type { StreamConnection } from './stream-connection.js'
import { HANDSHAKE, type Listener, type Peer, type Sink, type Traits, type Transport, type TransportOptions } from './transport.js'

const MAX_PATH = 107
/** Milliseconds between attempts to reach a listener whose queue is full. */
const BUSY_PAUSE = 20
const isBusy = (reason: unknown): boolean => ((reason as Error).cause as NodeJS.ErrnoException | undefined)?.code === 'EAGAIN'
const traits: Traits = {
  ordered: true,
  reliable: true,
  backpressure: true,
  crossProcess: true,
  crossHost: false,
  manyConnections: true,
  peerCredentials: true,
}

export interface UnixOptions extends SharedOptions {
  /** Lets a peer in. By default: our own uid and root. */
  readonly allow?: (peer: Peer) => boolean
  /** The claim on the name, when the caller holds it already. */
  readonly claim?: Claim
}

export const unix: Transport<UnixOptions> = {
  scheme: 'unix',
  traits,

  async connect(address, sink, options = {}) {
    options.signal?.throwIfAborted()
    return connectPath(socketPath(address), address, sink, options)
  },

  async openChannel(address, first, options = {}) {
    const path = socketPath(address)
    const end = performance.now() + (options.handshake ?? HANDSHAKE)
    for (;;) {
      try {
        return await openChannel(path, first)
      } catch (reason) {
        if ((reason as NodeJS.ErrnoException).code !== 'EAGAIN' || performance.now() > end)
          throw fromSystem(reason, `cannot open a channel to ${address}`)
        await new Promise((resolve) => setTimeout(resolve, BUSY_PAUSE))
      }
    }
  },

  async listen(address, accept, options = {}) {
    options.signal?.throwIfAborted()
    const { rest } = parseAddress(address)
    const server = createServer(accept, options, (socket) => admit(peerOf(address, socket), rest.startsWith('@'), options))
    const descriptor = activated(rest)
    if (descriptor !== undefined) {
      await listening(server, () => server.listen({ fd: descriptor }), address)
      return { address, close: async () => void server.close() }
    }
    return listenPath(server, address, socketPath(address), options.claim)
  },
}

/** Listens on a path that only this uid reaches, and that nobody else listens on. `held`: the claim on it, when the caller has it already. */
export async function listenPath(server: net.Server, address: string, path: string, held?: Claim): Promise<Listener> {
  const { rest } = parseAddress(address)
  if (rest.startsWith('@')) return listenAbstract(server, address, path)
  const own = held ?? claim(await claimName(rest, path))
  try {
    await clear(path)
    const { isMainThread } = await import('node:worker_threads')
    await listening(server, () => (isMainThread ? listenPrivately : listenInWorker)(server, path), address)
    if (!held) own.announce({ contract: null, hash: null, addresses: [address] })
  } catch (reason) {
    server.close()
    if (!held) own.release()
    throw reason
  }
  return {
    address,
    async close() {
      // Node unlinks the path itself, at once.
      server.close()
      if (!held) own.release()
    },
  }
}

async function listenAbstract(server: net.Server, address: string, path: string): Promise<Listener> {
  if (!seesCredentials())
    throw new TalkwireError(
      'UNSUPPORTED',
      `anyone may connect to ${address}, and without koffi nobody can be told apart; install koffi or take a socket with a path or a name`,
    )
  await listening(server, () => server.listen(path), address)
  return { address, close: async () => void server.close() }
}

async function openChannel(path: string, first: Buffer): Promise<number> {
  const { connectUnix, sendBytes } = await import('../kernel/descriptor-channel.js')
  const fd = connectUnix(path)
  try {
    sendBytes(fd, first)
    return fd
  } catch (reason) {
    closeSync(fd)
    throw reason
  }
}

/** Connects to the socket of that path; `address` is what the user wrote. */
export const connectPath = (path: string, address: string, sink: Sink, options: TransportOptions): Promise<StreamConnection> =>
  patiently(options.handshake, () => connectSocket({ path }, address, sink, options, (socket) => peerOf(address, socket)))

/** Tries again while more want to connect than the listener has accepted yet: the kernel does not queue them as it does for TCP. */
export async function patiently<T>(patience: number | undefined, connect: () => Promise<T>): Promise<T> {
  const end = performance.now() + (patience ?? HANDSHAKE)
  for (;;) {
    try {
      return await connect()
    } catch (reason) {
      if (!isBusy(reason) || performance.now() > end) throw reason
      await new Promise((resolve) => setTimeout(resolve, BUSY_PAUSE))
    }
  }
}

/** The name whose claim a socket needs: spec/names.md, Sockets. */
export async function claimName(rest: string, path: string): Promise<string> {
  if (!rest.startsWith('/')) return rest
  const real = join(realFolder(path), basename(path))
  const { createHash } = await import('node:crypto')
  return `path-${createHash('sha256').update(real).digest('hex').slice(0, 16)}`
}

function realFolder(path: string): string {
  try {
    return realpathSync(dirname(path))
  } catch (cause) {
    throw new TalkwireError(
      'INVALID_ADDRESS',
      `the folder of ${path} cannot be used: ${(cause as Error).message}; make it, or choose a path in a directory of yours`,
      { cause },
    )
  }
}

/** Where a `unix:` address is in the file system; abstract names begin with NUL. Throws INVALID_ADDRESS. */
export function socketPath(address: string): string {
  const { rest } = parseAddress(address)
  const path = rest.startsWith('@')
    ? `\0${validateName(rest.slice(1))}`
    : rest.startsWith('/')
      ? rest
      : join(runtimeDirectory(), `${validateName(rest)}.sock`)
  // The kernel's limit; Node would cut a longer path and listen somewhere else.
  if (Buffer.byteLength(path) > MAX_PATH)
    throw new TalkwireError(
      'INVALID_ADDRESS',
      `the path ${path.slice(0, 40)}… has ${Buffer.byteLength(path)} bytes, the limit is ${MAX_PATH}; take a shorter one or set TALKWIRE_RUNTIME_DIR`,
    )
  return path
}

/** systemd's sd_listen_fds(3): the first descriptor is 3, names are in LISTEN_FDNAMES. */
function activated(rest: string): number | undefined {
  const { LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES } = process.env
  if (Number(LISTEN_PID) !== process.pid || !(Number(LISTEN_FDS) > 0)) return undefined
  const names = LISTEN_FDNAMES?.split(':') ?? []
  const index = rest === '' ? 0 : names.indexOf(rest)
  return index >= 0 && index < Number(LISTEN_FDS) ? 3 + index : undefined
}

export function peerOf(address: string, socket: net.Socket): Peer {
  return { address, ...peerCredentials(socket) }
}

/** Throws PERMISSION_DENIED. `mustKnow`: no file's mode keeps others out. */
export function admit(peer: Peer, mustKnow: boolean, { allow }: Pick<UnixOptions, 'allow'>): Peer {
  if (mustKnow && peer.uid === undefined)
    throw new TalkwireError('PERMISSION_DENIED', 'the peer cannot be identified; install koffi, or pass allow')
  const trusted = allow ? allow(peer) : peer.uid === undefined || peer.uid === process.getuid?.() || peer.uid === 0
  if (!trusted) throw new TalkwireError('PERMISSION_DENIED', `uid ${String(peer.uid)} is not let in; pass allow to let others in`)
  return peer
}

/** Removes a socket that nobody listens on. Anything else stays: ADDRESS_IN_USE. */
async function clear(path: string): Promise<void> {
  const stat = lstatSync(path, { throwIfNoEntry: false })
  if (!stat) return
  if (!stat.isSocket()) throw new TalkwireError('ADDRESS_IN_USE', `${path} exists and is no socket; remove it or choose another path`)
  if (!(await refuses(path))) throw new TalkwireError('ADDRESS_IN_USE', `another process listens on ${path}; end it or choose another path`)
  unlinkSync(path)
}

function refuses(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = net.connect(path)
    probe.once('connect', () => {
      probe.destroy()
      resolve(false)
    })
    probe.once('error', (reason: NodeJS.ErrnoException) => resolve(reason.code === 'ECONNREFUSED'))
  })
}

/** The socket has mode 0600 from its first moment: `listen` binds before it returns. */
function listenPrivately(server: net.Server, path: string): void {
  const mask = process.umask(0o177)
  try {
    server.listen(path)
  } finally {
    process.umask(mask)
  }
}

/** The umask belongs to the process and a thread may not set it: here only the directory can keep others out. */
function listenInWorker(server: net.Server, path: string): void {
  if ((lstatSync(dirname(path)).mode & 0o077) !== 0)
    throw new TalkwireError(
      'UNSUPPORTED',
      `a worker thread cannot make ${path} private; listen in the main thread, or take a directory with mode 0700`,
    )
  server.listen(path)
}

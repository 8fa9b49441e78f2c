/**
 * The rings of `shm:` in a file: `mmap:/run/bank`, one client at a time. No socket, and no third file: what the two have to tell
 * each other stands in the first page. The file outlives both, in whatever state they left it: spec/mmap.md, whose steps these are.
 */
import { lstatSync, type Stats } from 'node:fs'
import { claim, type Claim } from '../discovery/names.js'
import { TalkwireError } from '../error.js'
import { needMapping } from '../kernel/mapping.js'
import { bellDescriptor, onBell, ring } from '../memory/bell.js'
import { whenEnded } from '../memory/ended.js'
import { MappedFile } from '../memory/mapped-file.js'
import { idOf, isAlive, NOBODY, self } from '../memory/owner.js'
import { RING_HEADER, ringBytes } from '../memory/ring-layout.js'
import { store, storeBig, swap } from '../memory/store.js'
import { claimClient, onceFree } from './one-client.js'
import { filePathOf, nobodyListens } from './refusals.js'
import { RingConnection, type Control } from './ring-connection.js'
import type { Accept, Listener, Peer, Sink, Traits, Transport, TransportOptions } from './transport.js'
import { claimName } from './unix.js'

/** Bytes of each ring. */
const CAPACITY = 256 * 1024
const PAGE = 4096
const SIZE = PAGE + 2 * ringBytes(CAPACITY)
/** 'TM', version 1. */
const KIND = 0x544d_0001
/** 32-bit words of the first page. */
const WORD = { kind: 0, state: 16, bell: { server: 34, client: 66 }, end: { server: 36, client: 68 }, clientLeft: 70 } as const
/** 64-bit words: who is there. */
const LONG = { server: 16, client: 32 } as const
const STATE = { busy: 0, free: 1 } as const
/** How far a side has ended; only ever grows, until the server makes all anew. */
const END = { open: 0, sendsNoMore: 1, done: 2, aborted: 3 } as const
const traits: Traits = {
  ordered: true,
  reliable: true,
  backpressure: true,
  crossProcess: true,
  crossHost: false,
  manyConnections: false,
  peerCredentials: false,
}

type Side = 'server' | 'client'
const otherOf = (side: Side): Side => (side === 'server' ? 'client' : 'server')

export const mmap: Transport = {
  scheme: 'mmap',
  traits,

  async connect(address, sink, options = {}) {
    options.signal?.throwIfAborted()
    needMapping()
    const { path, name } = await placeOf(address)
    const held = claimClient(name, address)
    try {
      const page = await onceFree(() => lookForPage(path, address), options)
      return sitDown(page, address, held, sink, options)
    } catch (reason) {
      held.release()
      throw reason
    }
  },

  async listen(address, accept, options = {}) {
    options.signal?.throwIfAborted()
    needMapping()
    const { path, name } = await placeOf(address)
    const held = claim(name)
    try {
      return listenOn(openAsServer(path), address, held, accept, options)
    } catch (reason) {
      held.release()
      throw reason
    }
  },
}

async function placeOf(address: string): Promise<{ path: string; name: string }> {
  const path = filePathOf(address)
  return { path, name: await claimName(path, path) }
}

/** The first page, as both see it. */
interface Page {
  readonly file: MappedFile
  readonly word: Int32Array
  readonly long: BigInt64Array
}

function openPage(path: string, size?: number): Page {
  const file = MappedFile.open(path, size === undefined ? {} : { size })
  return { file, word: file.array(Int32Array, 0, PAGE / 4), long: file.array(BigInt64Array, 0, PAGE / 8) }
}

const isOurs = (stat: Stats): boolean => stat.isFile() && stat.nlink === 1 && stat.uid === process.getuid!() && (stat.mode & 0o077) === 0

// ── the server ───────────────────────────────────────────────────────────────────────────────────

/** What is there is taken only if it is such a file, or empty. */
function openAsServer(path: string): Page {
  const stat = lstatSync(path, { throwIfNoEntry: false })
  if (stat && !(isOurs(stat) && (stat.size === 0 || stat.size === SIZE))) throw inTheWay(path)
  const page = openPage(path, SIZE)
  if (swap(page.word, WORD.kind, 0, KIND) || Atomics.load(page.word, WORD.kind) === KIND) return page
  page.file.close()
  throw inTheWay(path)
}

const inTheWay = (path: string): TalkwireError =>
  new TalkwireError(
    'ADDRESS_IN_USE',
    `${path} exists and is no file of this wire that belongs to this user alone (mode 0600); remove it or choose another path`,
  )

function listenOn(page: Page, address: string, held: Claim, accept: Accept, options: TransportOptions): Listener {
  const { word, long } = page
  let open = true
  let serving = false
  let stopWatching: (() => void) | undefined
  store(word, WORD.state, STATE.busy)
  storeBig(long, LONG.server, self())
  store(word, WORD.bell.server, bellDescriptor())

  /** Makes all of it anew once nobody uses it, and lets a client in. */
  const prepare = (): void => {
    stopWatching?.()
    stopWatching = undefined
    if (!open || serving) return
    if (isTaken(page)) return void (stopWatching = whenEnded(Atomics.load(long, LONG.client), prepare))
    makeAnew(page)
    store(word, WORD.state, STATE.free)
  }
  const serveClient = (): void => {
    serving = true
    store(word, WORD.state, STATE.busy)
    const control = new PageControl(page, 'server', { address }, () => {
      serving = false
      if (open) prepare()
      else page.file.close()
    })
    const connection = new RingConnection(pairIn(page.file), 'server', control, options.maxMessage)
    control.start(connection)
    connection.attach(accept(connection))
  }
  const wake = (): void => {
    if (serving) return
    if (Atomics.load(word, WORD.state) !== STATE.free) prepare()
    else if (Atomics.load(long, LONG.client) !== NOBODY) serveClient()
  }
  const stopBell = onBell(wake)
  prepare()
  return {
    address,
    async close() {
      if (!open) return
      open = false
      stopBell()
      stopWatching?.()
      const wasFree = swap(word, WORD.state, STATE.free, STATE.busy)
      // It sat down in this moment, and nobody will come.
      const client = Atomics.load(long, LONG.client)
      if (wasFree && client !== NOBODY) {
        store(word, WORD.end.server, END.aborted)
        ring(client, Atomics.load(word, WORD.bell.client))
      }
      if (!serving) {
        storeBig(long, LONG.server, NOBODY)
        page.file.close()
      }
      held.release()
    },
  }
}

/** Whether a client still writes there. It stays its own until the server has made all anew: it may have left what nobody has read. */
function isTaken({ word, long }: Page): boolean {
  const client = Atomics.load(long, LONG.client)
  return client !== NOBODY && Atomics.load(word, WORD.clientLeft) === 0 && isAlive(client)
}

/** Zeroed memory is a ring that nobody has made yet: its header, and the word where its consumer looks. */
function makeAnew({ file, word, long }: Page): void {
  for (const at of [PAGE, PAGE + ringBytes(CAPACITY)]) {
    const words = file.array(Int32Array, at, RING_HEADER / 4 + 2)
    // The kind last: who dies here leaves a ring that is made anew again.
    for (let index = words.length - 1; index >= 0; index--) store(words, index, 0)
  }
  store(word, WORD.end.server, END.open)
  store(word, WORD.end.client, END.open)
  store(word, WORD.clientLeft, 0)
  storeBig(long, LONG.client, NOBODY)
}

// ── the client ───────────────────────────────────────────────────────────────────────────────────

/** The page of a server that waits for a client. For `onceFree`. */
function lookForPage(path: string, address: string): Page | TalkwireError {
  const stat = lstatSync(path, { throwIfNoEntry: false })
  if (!stat) throw nobodyListens(address)
  if (!isOurs(stat))
    throw new TalkwireError(
      'PERMISSION_DENIED',
      `${path} does not belong to this user alone (mode 0600); remove it, or choose another path`,
    )
  if (stat.size !== SIZE) throw nobodyListens(address)
  const page = openPage(path)
  const { file, word, long } = page
  const server = Atomics.load(long, LONG.server)
  if (Atomics.load(word, WORD.kind) === KIND && isAlive(server)) {
    if (Atomics.load(word, WORD.state) === STATE.free && Atomics.load(long, LONG.client) === NOBODY) return page
    file.close()
    return new TalkwireError(
      'PEER_NOT_FOUND',
      `the server of ${address} is not done with the client before; try again, or pass { wait: milliseconds }`,
    )
  }
  file.close()
  throw nobodyListens(address)
}

function sitDown(page: Page, address: string, held: Claim, sink: Sink, { maxMessage }: TransportOptions): RingConnection {
  const { file, word, long } = page
  store(word, WORD.bell.client, bellDescriptor())
  storeBig(long, LONG.client, self())
  const control = new PageControl(page, 'client', { address }, () => {
    store(word, WORD.clientLeft, 1)
    ring(Atomics.load(long, LONG.server), Atomics.load(word, WORD.bell.server))
    file.close()
    held.release()
  })
  const connection = new RingConnection(pairIn(file), 'client', control, maxMessage)
  control.start(connection)
  control.ring()
  return connection.attach(sink)
}

// ── both ─────────────────────────────────────────────────────────────────────────────────────────

function pairIn(memory: MappedFile) {
  const size = ringBytes(CAPACITY)
  return { toServer: { memory, offset: PAGE, size }, toClient: { memory, offset: PAGE + size, size } }
}

/** Wakes the other side by the bell that it has written into the page, and learns of its end there, or from the kernel. */
class PageControl implements Control {
  private readonly far: bigint
  private readonly farBell: number
  private rings!: RingConnection
  private released = false
  private stopBell!: () => void
  private stopWatching!: () => void

  constructor(
    private readonly page: Page,
    private readonly side: Side,
    readonly peer: Peer,
    private readonly onRelease: () => void,
  ) {
    const other = otherOf(side)
    this.far = Atomics.load(page.long, LONG[other])
    this.farBell = Atomics.load(page.word, WORD.bell[other])
  }

  start(rings: RingConnection): void {
    this.rings = rings
    this.stopBell = onBell(this.look)
    this.stopWatching = whenEnded(this.far, this.farDied)
    // It may have rung, and even ended, before anybody here listened.
    setImmediate(this.look)
  }

  ring(): void {
    ring(this.far, this.farBell)
  }

  end(): void {
    this.say(END.sendsNoMore)
  }

  close(): void {
    this.say(END.done)
    setImmediate(() => this.rings.gone(undefined))
  }

  abort(cause: TalkwireError): void {
    this.say(END.aborted)
    setImmediate(() => this.rings.gone(cause))
  }

  ref(): void {
    if (!this.released) onBell(this.look)
  }

  unref(): void {
    if (!this.released) onBell(this.look, false)
  }

  release(): void {
    this.released = true
    this.stopBell()
    this.stopWatching()
    this.onRelease()
  }

  private say(end: number): void {
    store(this.page.word, WORD.end[this.side], end)
    this.ring()
  }

  private get farEnd(): number {
    return Atomics.load(this.page.word, WORD.end[otherOf(this.side)])
  }

  private readonly look = (): void => {
    if (this.released) return
    const { farEnd } = this
    if (farEnd === END.aborted) return this.rings.gone(new TalkwireError('CONNECTION_LOST', 'the other end aborted'))
    if (farEnd !== END.open) this.rings.farEnded()
    this.rings.rung()
  }

  private readonly farDied = (): void => {
    const died = new TalkwireError('CONNECTION_LOST', `process ${idOf(this.far)} at the other end of ${this.peer.address} has ended`)
    this.rings.gone(this.farEnd === END.done ? undefined : died)
  }
}

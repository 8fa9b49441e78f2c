/**
 * The two ends of a connection under test. An end is told what to do by commands, which are plain data,
 * and writes down what happens to it: so the far end may as well be played by another process or thread.
 */
import { createHash, randomBytes } from 'node:crypto'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { TalkwireError } from '../src/error.js'
import type { Accept, Connection, Listener, Peer, Sink, TransportOptions } from '../src/transports/transport.js'

/** What a sink was told. */
export type Happening =
  | Message
  | { readonly type: 'drained' | 'ended' }
  | { readonly type: 'broken' | 'closed'; readonly code: string | undefined }

export interface Message {
  readonly type: 'message'
  readonly length: number
  readonly digest: string
}

/** What an end can be made to do. Messages are patterns of a length, so that no bytes need to be told. */
export type Command =
  | { readonly do: 'send'; readonly sizes: readonly number[] }
  | { readonly do: 'count'; readonly from: number; readonly to: number }
  | { readonly do: 'attach'; readonly head: number; readonly sizes: readonly number[] }
  | { readonly do: 'abort'; readonly code: string }
  | { readonly do: 'pause' | 'resume' | 'close' | 'peer' | 'state' | 'turns' }

export interface Behaviour {
  /** Which of the optional calls of `Sink` this end has. */
  readonly has?: readonly ('ended' | 'broken')[]
  /** What it does, at once, when something happens; `accept` is for the accepting side. */
  readonly when?: { readonly [happening in Happening['type'] | 'accept']?: readonly Command[] }
}

export interface EndState {
  readonly buffered: number
  readonly unsent: number
}

// ── messages ─────────────────────────────────────────────────────────────────────────────────────

/** A message of `size` bytes that no other size begins with. For wires of text it is a JSON string. */
export function pattern(size: number, binary = true): Buffer {
  const bytes = Buffer.allocUnsafe(size)
  let state = (size * 2654435761) >>> 0
  for (let index = 0; index < size; index++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    bytes[index] = binary ? state >>> 24 : 0x61 + ((state >>> 24) % 26)
  }
  if (!binary && size > 1) bytes[0] = bytes[size - 1] = 0x22
  return bytes
}

/** A message that says its place in a series. */
export const numbered = (index: number): Buffer => Buffer.from(`"${String(index).padStart(8, '0')}"`)

/** Short messages as they are, long ones as a hash. */
export const digest = (bytes: Uint8Array): string =>
  bytes.length <= 16 ? Buffer.from(bytes).toString('latin1') : createHash('sha1').update(bytes).digest('hex')

/** The payload of spec/wire.md § 2, built on its own so that the code under test is not its own judge. */
export function envelopeOf(head: Uint8Array, attachments: readonly Uint8Array[]): Buffer {
  const fixed = Buffer.alloc(8 + 4 * attachments.length)
  fixed[0] = 0xc1
  fixed.writeUInt16BE(attachments.length, 2)
  fixed.writeUInt32BE(head.length, 4)
  attachments.forEach((each, index) => fixed.writeUInt32BE(each.length, 8 + 4 * index))
  let payload = Buffer.concat([fixed, head])
  for (const each of attachments) payload = Buffer.concat([payload, Buffer.alloc((8 - (payload.length % 8)) % 8), each])
  return payload
}

// ── an end in this process ───────────────────────────────────────────────────────────────────────

/** What both kinds of end have: the record, and waiting for it. */
class Recorder {
  readonly happenings: Happening[] = []
  /** Those of them that are messages, and the first of each type: who waits looks after each of tens of thousands. */
  readonly messages: Message[] = []
  private readonly first = new Map<Happening['type'], Happening>()
  private waiting: (() => void)[] = []

  note(happening: Happening): void {
    this.happenings.push(happening)
    if (happening.type === 'message') this.messages.push(happening)
    if (!this.first.has(happening.type)) this.first.set(happening.type, happening)
    const { waiting } = this
    this.waiting = []
    for (const look of waiting) look()
  }

  /** Resolves when `find` finds something. */
  until<T>(what: string, find: () => T | undefined): Promise<T> {
    const found = new Promise<T>((resolve) => {
      const look = (): void => {
        const value = find()
        if (value === undefined) this.waiting.push(look)
        else resolve(value)
      }
      look()
    })
    return soon(found, () => `${what}; what happened: ${this.summary()}`)
  }

  got(count: number): Promise<Message[]> {
    return this.until(`${count} messages`, () => (this.messages.length >= count ? this.messages.slice() : undefined))
  }

  /** Resolves when it has closed: the code of the cause, null when there was none. */
  ending(): Promise<string | null> {
    return this.until('closed()', () => {
      const last = this.first.get('closed') as { code?: string } | undefined
      return last && (last.code ?? null)
    })
  }

  happened(type: Happening['type']): Promise<Happening> {
    return this.until(`${type}()`, () => this.first.get(type))
  }

  times(type: Happening['type']): number {
    return this.happenings.filter((each) => each.type === type).length
  }

  private summary(): string {
    const counts = new Map<string, number>()
    for (const each of this.happenings) counts.set(each.type, (counts.get(each.type) ?? 0) + 1)
    return [...counts].map(([type, count]) => `${count} ${type}`).join(', ') || 'nothing'
  }
}

/** An end, wherever it is. */
export interface End extends Recorder {
  do(command: { do: 'state' }): Promise<EndState>
  do(command: { do: 'peer' }): Promise<Peer>
  do(command: Command): Promise<any>
}

const KEPT = 64

export class LocalEnd extends Recorder implements Sink, End {
  connection!: Connection
  /** The very cause that `closed` was called with. */
  cause: TalkwireError | undefined
  /** Whether a send said false. */
  refused = false
  readonly ended?: () => void
  readonly broken?: (error: TalkwireError) => void
  /** Bytes that the connection gave away, with what they were then. */
  private readonly owned: { bytes: Buffer; digest: string }[] = []

  constructor(readonly behaviour: Behaviour = {}) {
    super()
    if (behaviour.has?.includes('ended')) this.ended = () => this.note({ type: 'ended' })
    if (behaviour.has?.includes('broken')) this.broken = ({ code }) => this.note({ type: 'broken', code })
  }

  accepted(connection: Connection): this {
    this.connection = connection
    for (const command of this.behaviour.when?.accept ?? []) void this.do(command)
    return this
  }

  message(bytes: Buffer, start: number, end: number, owned: boolean): void {
    const message = bytes.subarray(start, end)
    const seen = digest(message)
    if (owned && this.owned.length < KEPT) this.owned.push({ bytes: message, digest: seen })
    this.note({ type: 'message', length: message.length, digest: seen })
  }

  value(value: unknown): void {
    const { bytes } = value as { bytes: Uint8Array }
    this.note({ type: 'message', length: bytes.length, digest: digest(bytes) })
  }

  drained(): void {
    this.note({ type: 'drained' })
  }

  closed(cause?: TalkwireError): void {
    this.cause = cause
    this.note({ type: 'closed', code: cause?.code })
  }

  override note(happening: Happening): void {
    super.note(happening)
    for (const command of this.behaviour.when?.[happening.type] ?? []) void this.do(command)
  }

  /** What a connection gave away and then changed. */
  spoiled(): number {
    return this.owned.filter(({ bytes, digest: then }) => digest(bytes) !== then).length
  }

  do(command: Command): Promise<any> {
    try {
      return Promise.resolve(this.perform(command))
    } catch (reason) {
      return Promise.reject(reason as Error)
    }
  }

  private perform(command: Command): unknown {
    const { connection } = this
    switch (command.do) {
      case 'send':
        return this.sendAll(command.sizes.map((size) => pattern(size, connection.kind === 'values' || connection.binary)))
      case 'count':
        return this.sendAll(Array.from({ length: command.to - command.from }, (_, index) => numbered(command.from + index)))
      case 'attach':
        return this.attach(command.head, command.sizes)
      case 'pause':
        return connection.pause()
      case 'resume':
        return connection.resume()
      case 'close':
        return connection.close()
      case 'abort':
        return connection.abort(new TalkwireError(command.code, 'the test says so'))
      case 'peer':
        return connection.peer
      case 'state':
        return { buffered: connection.buffered, unsent: connection.unsent }
      case 'turns':
        return turns()
    }
  }

  /** Sends bytes over either kind of connection. */
  send(bytes: Uint8Array): boolean {
    const { connection } = this
    let more: boolean
    if (connection.kind === 'values') more = connection.post({ bytes })
    else {
      connection.begin().bytes(bytes)
      more = connection.commit()
    }
    if (!more) this.refused = true
    return more
  }

  private sendAll(messages: readonly Buffer[]): boolean {
    let more = true
    for (const message of messages) more = this.send(message)
    return more
  }

  private attach(head: number, sizes: readonly number[]): boolean {
    const { connection } = this
    if (connection.kind === 'values') throw new TypeError('values have no attachments')
    const writer = connection.begin()
    writer.bytes(pattern(head))
    for (const size of sizes) writer.attachments.push(pattern(size))
    const more = connection.commit()
    if (!more) this.refused = true
    return more
  }
}

/** Turns of the event loop, in which whatever is ready in this process gets to happen. */
export async function turns(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve))
}

const WATCHDOG = 90_000
/** Not a speed test: it turns a hang into a message. */
export async function soon<T>(promise: Promise<T>, what: string | (() => string)): Promise<T> {
  let timer!: NodeJS.Timeout
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new Error(`did not come within ${WATCHDOG / 1000} s: ${typeof what === 'string' ? what : what()}`)),
      WATCHDOG,
    )
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

/** How a call ended: `CODE/outcome`, or `none` where it did not fail. */
export const codeOf = (promise: Promise<unknown>): Promise<string> =>
  soon(promise, 'an answer').then(
    () => 'none',
    (reason: unknown) => (reason instanceof TalkwireError ? `${reason.code}/${reason.outcome}` : String(reason)),
  )

// ── an end in another process ────────────────────────────────────────────────────────────────────

interface Configuration {
  readonly behaviour: Behaviour
  readonly options: TransportOptions
}

type ToSuite =
  | { readonly hello: number }
  | { readonly listening: string | null }
  | { readonly opened: true }
  | { readonly happening: Happening }
  | { readonly answer: number; readonly value?: unknown; readonly error?: { code: string; message: string } }
type ToFar = { readonly configure: Configuration } | { readonly command: Command; readonly id: number }

function lines<T>(socket: net.Socket, onLine: (value: T) => void): void {
  let text = ''
  socket.setEncoding('utf8').on('data', (chunk: string) => {
    const parts = (text + chunk).split('\n')
    text = parts.pop()!
    for (const part of parts) onLine(JSON.parse(part) as T)
  })
  socket.on('error', () => socket.destroy())
}

type Open = (accept: Accept, options: TransportOptions) => Promise<Partial<Listener> | void>

/**
 * Plays the far end in another process or thread, under the command of the suite that waits at `control`.
 * `open` listens once (or takes the one connection there is) and gives what it accepts to `accept`.
 * Ends the process when the suite is done with it.
 */
export async function playFarEnd(control: string, open: Open): Promise<void> {
  const { done } = await beginFarEnd(control, open)
  void done.then(() => process.exit(0))
}

/** The same, and another one after it: resolves when the suite is done with it, and nothing of it is left. */
export async function playOneFarEnd(control: string, open: Open): Promise<void> {
  const { done, end } = await beginFarEnd(control, open)
  await done
  await end()
}

async function beginFarEnd(control: string, open: Open): Promise<{ readonly done: Promise<void>; readonly end: () => Promise<void> }> {
  const socket = net.connect(control)
  const tell = (message: ToSuite): void => void socket.write(`${JSON.stringify(message)}\n`)
  const connections: Connection[] = []
  let end: LocalEnd
  let opening: Promise<Partial<Listener> | void> | undefined
  const accept: Accept = (connection) => {
    connections.push(connection)
    end.accepted(connection)
    tell({ opened: true })
    return end
  }
  const run = async ({ command, id }: { command: Command; id: number }): Promise<void> => {
    try {
      tell({ answer: id, value: await end.do(command) })
    } catch (reason) {
      const { code, message } = TalkwireError.from(reason)
      tell({ answer: id, error: { code, message } })
    }
  }
  lines<ToFar>(socket, (message) => {
    if ('command' in message) return void run(message)
    end = new LocalEnd(message.configure.behaviour)
    const note = end.note.bind(end)
    end.note = (happening) => {
      tell({ happening })
      note(happening)
    }
    opening = open(accept, message.configure.options)
    opening.then(
      (listener) => tell({ listening: listener?.address ?? null }),
      (reason: unknown) => tell({ answer: -1, error: { code: TalkwireError.from(reason).code, message: String(reason) } }),
    )
  })
  const done = new Promise<void>((resolve) => void socket.on('close', () => resolve()))
  await new Promise<void>((resolve, reject) => socket.once('connect', resolve).once('error', reject))
  tell({ hello: process.pid })
  return {
    done,
    async end() {
      for (const connection of connections) connection.abort(new TalkwireError('CONNECTION_LOST', 'the test is over'))
      const listener = await opening?.catch(() => undefined)
      await listener?.close?.()
    },
  }
}

/** The suite's hold on a far end that is played elsewhere. */
export class RemoteEnd extends Recorder implements End {
  pid = 0
  private socket: net.Socket | undefined
  private nextId = 1
  private readonly answers = new Map<number, { resolve: (value: unknown) => void; reject: (reason: unknown) => void }>()
  private resolveListening!: (address: string) => void
  private rejectListening!: (reason: unknown) => void
  private resolveOpened!: () => void
  readonly opened = new Promise<void>((resolve) => {
    this.resolveOpened = resolve
  })
  private readonly listens = new Promise<string>((resolve, reject) => {
    this.resolveListening = resolve
    this.rejectListening = reject
  })

  private constructor(
    private readonly server: net.Server,
    readonly control: string,
    private readonly configuration: Configuration,
  ) {
    super()
    this.listens.catch(() => {})
    server.on('connection', (socket) => {
      this.socket = socket
      lines<ToSuite>(socket, (message) => this.onMessage(message))
    })
  }

  static async open(configuration: Configuration): Promise<RemoteEnd> {
    const control = join(tmpdir(), `tw-${process.pid}-${randomBytes(6).toString('hex')}`)
    const server = net.createServer()
    const end = new RemoteEnd(server, control, configuration)
    await new Promise<void>((resolve, reject) => server.listen(control, resolve).once('error', reject))
    return end
  }

  /** The address on which the far end listens, once it does. */
  listening = (): Promise<string> => soon(this.listens, 'the far end listens')

  do(command: Command): Promise<any> {
    const id = this.nextId++
    const answer = new Promise((resolve, reject) => this.answers.set(id, { resolve, reject }))
    this.tell({ command, id })
    return soon(answer, `the far end did ${command.do}`)
  }

  /** Its process is not to be used again. */
  killed = false

  kill(): void {
    this.killed = true
    process.kill(this.pid, 'SIGKILL')
  }

  dispose(): void {
    this.socket?.destroy()
    this.server.close()
  }

  private tell(message: ToFar): void {
    this.socket?.write(`${JSON.stringify(message)}\n`)
  }

  private onMessage(message: ToSuite): void {
    if ('hello' in message) {
      this.pid = message.hello
      this.tell({ configure: this.configuration })
    } else if ('listening' in message) this.resolveListening(message.listening ?? '')
    else if ('opened' in message) this.resolveOpened()
    else if ('happening' in message) this.note(message.happening)
    else {
      const { answer, value, error } = message
      const reason = error && new TalkwireError(error.code, error.message)
      if (answer < 0) this.rejectListening(reason)
      const waiting = this.answers.get(answer)
      this.answers.delete(answer)
      if (reason) waiting?.reject(reason)
      else waiting?.resolve(value)
    }
  }
}

/** The side of `file:` that runs commands: each is a connection of its own, with one call. */
import { rmSync, statSync } from 'node:fs'
import { TalkwireError } from '../error.js'
import { FileLock } from '../sync/file-lock.js'
import type { Grant } from '../sync/grant.js'
import { checkOwner, CommandFile, errorOf, isAnswered, type Command, type Commands, type Watch } from './command-file.js'
import { MessageConnection, type MessagePipe } from './message-connection.js'
import { MAX_MESSAGE, type Accept, type Listener, type Peer, type Sink, type TransportOptions } from './transport.js'

const KEEP = 60_000
/** Milliseconds for clients that just look whether somebody has it. */
const CLAIM = 500
export interface ServiceOptions extends TransportOptions {
  /** Milliseconds after which an answer that nobody took away is removed, because its client is gone: 60,000. */
  readonly keep?: number
  /** What went wrong with the file. */
  readonly onError?: (error: unknown, what: string) => void
}

/** Rejects with ADDRESS_IN_USE while another process serves that file. */
export async function claimFile(address: string, path: string): Promise<Grant> {
  const lock = new FileLock(`${path}.server`)
  try {
    const grant = await lock.acquire({ timeout: CLAIM })
    checkOwner(lock.path, statSync(lock.path), 0)
    return grant
  } catch (reason) {
    if (!(reason instanceof TalkwireError) || reason.code !== 'DEADLINE_EXCEEDED') throw reason
    const holder = lock.inspect().holders[0]
    throw new TalkwireError(
      'ADDRESS_IN_USE',
      `${address} is served by ${holder ? `process ${holder.pid} (${holder.command})` : 'another process'}; end it, or take another file`,
    )
  }
}

export class CommandService implements Listener {
  private readonly file: CommandFile
  private readonly running = new Map<string, CommandConnection>()
  /** Answers that their clients have not removed, and since when. */
  private readonly answered = new Map<string, number>()
  private readonly answers = new Map<string, { readonly answer: Command; readonly written: () => void }>()
  private readonly keep: number
  private watch: Watch | undefined
  private working: Promise<void> | undefined
  private again = false
  private closing = false

  constructor(
    readonly address: string,
    path: string,
    private readonly claimed: Grant,
    private readonly accept: Accept,
    private readonly options: ServiceOptions,
  ) {
    this.keep = options.keep ?? KEEP
    this.file = new CommandFile(path, options.maxMessage ?? MAX_MESSAGE, { damaged: (reason) => options.onError?.(reason, address) })
  }

  /** Rejects with what is wrong with the file. */
  async open(): Promise<this> {
    await this.round()
    this.watch = this.file.watch(this.look)
    this.look()
    return this
  }

  async close(): Promise<void> {
    this.closing = true
    this.releaseWhenIdle()
  }

  /** Clients see by the lock that nobody is there, so it is held until the last answer is written. */
  private releaseWhenIdle(): void {
    if (!this.closing || this.running.size > 0 || this.working || !this.watch) return
    this.watch.end()
    this.watch = undefined
    rmSync(`${this.file.path}.server`, { force: true })
    this.claimed.release()
  }

  private readonly look = (): void => {
    this.again = true
    this.working ??= this.work().finally(() => {
      this.working = undefined
      this.releaseWhenIdle()
    })
  }

  private async work(): Promise<void> {
    while (this.again) {
      this.again = false
      if (this.answers.size === 0 && !this.file.isChanged && !this.hasOld) continue
      try {
        await this.round()
      } catch (reason) {
        this.failed(TalkwireError.from(reason))
      }
    }
  }

  private async round(): Promise<void> {
    const begun: [string, Command][] = []
    const answers = new Map(this.answers)
    await this.file.update((commands) => {
      const changed = [put(commands, answers), this.take(commands, begun), this.removeOld(commands)]
      return changed.includes(true)
    })
    for (const [id, { written }] of answers) {
      this.answers.delete(id)
      written()
    }
    for (const [id, command] of begun) this.begin(id, command)
  }

  /** What was to be written is written with the next look: once a second. */
  private failed(error: TalkwireError): void {
    this.options.onError?.(error, this.address)
    if (error.code !== 'MESSAGE_TOO_LARGE') return
    const answer = { error: errorOf(-32006, error.withOutcome('ran')) }
    for (const [id, { written }] of this.answers) this.answers.set(id, { answer, written })
  }

  private take(commands: Commands, begun: [string, Command][]): boolean {
    for (const [id, connection] of this.running) if (!commands.has(id)) connection.cancel()
    let changed = false
    for (const [id, command] of commands) {
      if (isAnswered(command) || this.running.has(id)) continue
      const isNew = command.taken === undefined
      if (isNew && this.closing) continue
      if (isNew) begun.push([id, command])
      commands.set(id, isNew ? { ...command, taken: true } : answered(command, abandoned))
      changed = true
    }
    return changed
  }

  private get hasOld(): boolean {
    const now = performance.now()
    for (const since of this.answered.values()) if (now - since >= this.keep) return true
    return false
  }

  private removeOld(commands: Commands): boolean {
    const now = performance.now()
    for (const id of this.answered.keys()) if (!commands.has(id)) this.answered.delete(id)
    let changed = false
    for (const [id, command] of commands) {
      if (!isAnswered(command)) continue
      const since = this.answered.get(id) ?? now
      this.answered.set(id, since)
      if (now - since < this.keep) continue
      commands.delete(id)
      this.answered.delete(id)
      changed = true
    }
    return changed
  }

  private begin(id: string, command: Command): void {
    const connection = new CommandConnection(this.address, {
      answered: (answer, written) => {
        this.answers.set(id, { answer, written })
        this.look()
      },
      ended: () => {
        this.running.delete(id)
        this.releaseWhenIdle()
      },
    })
    this.running.set(id, connection)
    connection.start(this.accept(new MessageConnection(connection)), command)
  }
}

function put(commands: Commands, answers: ReadonlyMap<string, { readonly answer: Command }>): boolean {
  for (const [id, { answer }] of answers) {
    const command = commands.get(id)
    if (command) commands.set(id, answered(command, answer))
  }
  return answers.size > 0
}

function answered(command: Command, answer: Command): Command {
  const done: Command = { ...command, ...answer }
  delete done.taken
  return done
}

const abandoned: Command = {
  error: errorOf(
    -32005,
    new TalkwireError('UNAVAILABLE', 'the service ended while it ran this; look what was done, then call again', { outcome: 'maybe-ran' }),
  ),
}

interface Owner {
  /** `written` is called once the answer is in the file. */
  answered(answer: Command, written: () => void): void
  ended(): void
}

const ID = 1
/** What would have to outlast its command. */
const REFUSED = new Set(['rpc.hello', 'rpc.auth', 'rpc.on', 'rpc.off'])

/** One command, as a connection with one call. */
class CommandConnection implements MessagePipe {
  readonly binary = false
  readonly peer: Peer
  private sink: Sink | undefined
  private answer: Promise<void> | undefined
  private cause: TalkwireError | undefined
  private closed = false
  private resolve!: () => void
  private readonly end = new Promise<void>((resolve) => (this.resolve = resolve))

  constructor(
    address: string,
    private readonly owner: Owner,
  ) {
    this.peer = { address }
  }

  start(sink: Sink, { command, args }: Command): void {
    this.sink = sink
    // Whoever accepted it may have refused it.
    if (this.closed) return sink.closed(this.cause)
    const refusal = refusalOf(command, args)
    if (!refusal) return this.deliver({ id: ID, method: command, params: args })
    this.settle({ error: refusal })
    sink.ended!()
  }

  /** Its client took it away. */
  cancel(): void {
    if (!this.answer) this.deliver({ method: '$/cancelRequest', params: { id: ID } })
  }

  private deliver(message: object): void {
    const bytes = Buffer.from(JSON.stringify({ jsonrpc: '2.0', ...message }))
    this.sink!.message(bytes, 0, bytes.length, true)
  }

  private settle(answer: Command): void {
    this.answer ??= new Promise((resolve) => this.owner.answered(answer, resolve))
  }

  send(bytes: Buffer): boolean {
    const { method, id, result, error } = JSON.parse(bytes.toString()) as Record<string, unknown>
    if (method !== undefined && id !== undefined)
      throw new TalkwireError('UNSUPPORTED', `${this.peer.address} carries no calls back to who called; serve on unix: for that`)
    // Progress has no place in the file.
    if (method !== undefined) return true
    this.settle(error === undefined ? { result } : { error })
    queueMicrotask(() => this.closed || this.sink!.ended!())
    return true
  }

  close(): Promise<void> {
    void (this.answer ?? Promise.resolve()).then(() => this.finish(undefined))
    return this.end
  }

  abort(cause: TalkwireError): void {
    this.settle({ error: errorOf(-32005, cause.withOutcome(this.sink ? 'maybe-ran' : 'not-sent')) })
    void this.answer!.then(() => this.owner.ended())
    this.finish(cause, false)
  }

  private finish(cause: TalkwireError | undefined, told = true): void {
    if (this.closed) return
    this.closed = true
    this.cause = cause
    if (told) this.owner.ended()
    this.sink?.closed(cause)
    this.resolve()
  }

  buffered = (): number => 0
  unsent = (): number => 0
  ended = (): TalkwireError | undefined => (this.closed ? new TalkwireError('CONNECTION_CLOSED', 'this command is settled') : undefined)
  pause(): void {}
  resume(): void {}
  ref(): void {}
  unref(): void {}
}

function refusalOf(command: unknown, args: unknown): object | undefined {
  if (typeof command !== 'string' || (args !== undefined && (typeof args !== 'object' || args === null)))
    return errorOf(
      -32600,
      new TalkwireError(
        'INVALID_REQUEST',
        'a command is {"command": "add", "args": [2, 5]}; args is an array, or an object of what it takes by name',
      ),
    )
  if (REFUSED.has(command) || command.startsWith('$/'))
    return errorOf(
      -32601,
      new TalkwireError('METHOD_NOT_FOUND', `${command.slice(0, 40)} is for connections, and here every command is one by itself`),
    )
  return undefined
}

/** The side of `file:` that writes commands and waits for what becomes of them. */
import { randomUUID } from 'node:crypto'
import { lstatSync } from 'node:fs'
import { TalkwireError } from '../error.js'
import { EVENT } from '../kernel/inotify.js'
import { onFileEvent } from '../sync/file-events.js'
import { FileLock } from '../sync/file-lock.js'
import { checkOwner, CommandFile, errorOf, isAnswered, type Command, type Commands, type Watch } from './command-file.js'
import type { MessagePipe } from './message-connection.js'
import { connectionClosed } from './refusals.js'
import { MAX_MESSAGE, type Peer, type Sink, type TransportOptions } from './transport.js'

/** Milliseconds for a service to mend a file that somebody damaged. */
const MENDING = 5000

/** Whether a living process serves that file. Throws PERMISSION_DENIED when another user says so. */
export function isServed(path: string): boolean {
  const server = `${path}.server`
  const stat = lstatSync(server, { throwIfNoEntry: false })
  if (!stat) return false
  checkOwner(server, stat, 0)
  const grant = new FileLock(server).tryAcquire({ shared: true })
  grant?.release()
  return grant === undefined
}

/** Milliseconds after which a service whose descriptors the kernel closes has let go of its lock, too. */
const LETTING_GO = [5, 50]

interface Waiting {
  /** Of the session. */
  readonly id: number
  /** What is still to be written. */
  readonly command: Command
  written: boolean
}

/** What became of a command. */
type Outcome = Pick<Command, 'result' | 'error'>

export class CommandClient implements MessagePipe {
  readonly binary = false
  readonly peer: Peer
  readonly maxMessage: number | undefined
  private readonly file: CommandFile
  private readonly waiting = new Map<string, Waiting>()
  /** Commands that nobody here waits for any more. */
  private readonly unwanted = new Set<string>()
  private watch: Watch | undefined
  private unwatchServer = (): void => {}
  private working: Promise<void> | undefined
  private again = false
  private failingSince: number | undefined
  private state: 'open' | 'closing' | 'closed' = 'open'
  private resolve!: () => void
  private readonly end = new Promise<void>((resolve) => (this.resolve = resolve))

  constructor(
    private readonly path: string,
    address: string,
    private readonly sink: Sink,
    options: TransportOptions,
  ) {
    this.peer = { address }
    this.maxMessage = options.maxMessage
    this.file = new CommandFile(path, options.maxMessage ?? MAX_MESSAGE)
    this.watch = this.file.watch(this.look)
    this.watchServer()
  }

  private watchServer(): void {
    this.unwatchServer()
    this.unwatchServer = onFileEvent(`${this.path}.server`, EVENT.written | EVENT.removed, this.serverLeft)
  }

  // ── what the session says ──────────────────────────────────────────────────────────────────────

  send(bytes: Buffer): boolean {
    const message = JSON.parse(bytes.toString()) as { id?: number; method: string; params?: { id?: unknown } }
    const { id, method, params } = message
    if (method === '$/cancelRequest') this.cancel(params!.id)
    else if (id === undefined || method === 'rpc.on' || method === 'rpc.off')
      throw new TalkwireError(
        'UNSUPPORTED',
        `${this.peer.address} carries calls that are answered once, no events and no one-way calls; serve on unix: for those`,
      )
    else this.waiting.set(randomUUID(), { id, command: { command: method, args: params ?? [] }, written: false })
    this.look()
    return true
  }

  private cancel(id: unknown): void {
    for (const [uuid, call] of this.waiting) {
      if (call.id !== id) continue
      this.waiting.delete(uuid)
      this.unwanted.add(uuid)
    }
  }

  unsent(): number {
    let count = 0
    for (const { written } of this.waiting.values()) if (!written) count++
    return count
  }

  buffered = (): number => 0
  ended = (): TalkwireError | undefined => (this.state === 'open' ? undefined : connectionClosed())

  pause(): void {}
  resume(): void {}
  ref(): void {
    this.watch?.timer.ref()
  }
  unref(): void {
    this.watch?.timer.unref()
  }

  // ── what the file says ─────────────────────────────────────────────────────────────────────────

  private readonly look = (): void => {
    if (this.state === 'closed') return
    this.again = true
    this.working ??= this.work().finally(() => {
      this.working = undefined
      if (this.state === 'closing') this.finish(undefined)
    })
  }

  /** The kernel tells of a closing a moment before it lets go of the lock. */
  private readonly serverLeft = (): void => {
    this.watchServer()
    this.look()
    for (const later of LETTING_GO) setTimeout(this.look, later).unref()
  }

  private async work(): Promise<void> {
    while (this.again && this.state !== 'closed') {
      this.again = false
      try {
        const served = isServed(this.path)
        if (!served || this.hasWork) await this.round(served)
        if (!served) return this.gone()
        this.failingSince = undefined
      } catch (reason) {
        this.failed(TalkwireError.from(reason))
      }
    }
  }

  /** Without the lock: most changes concern others. */
  private get hasWork(): boolean {
    if (this.unwanted.size > 0 || this.unsent() > 0) return true
    if (this.waiting.size === 0 || !this.file.isChanged) return false
    const commands = this.file.peek()
    return commands !== undefined && [...this.waiting.keys()].some((uuid) => isOver(commands.get(uuid)))
  }

  private async round(served: boolean): Promise<void> {
    const unwanted = [...this.unwanted]
    const outcomes = new Map<string, Outcome>()
    const added: Waiting[] = []
    await this.file.update((commands) => {
      let changed = false
      for (const uuid of unwanted) changed = commands.delete(uuid) || changed
      for (const [uuid, call] of this.waiting) changed = this.see(uuid, call, commands, outcomes, added, served) || changed
      return changed
    })
    for (const uuid of unwanted) this.unwanted.delete(uuid)
    for (const call of added) call.written = true
    for (const [uuid, outcome] of outcomes) this.settle(uuid, outcome)
  }

  /** Under the lock, so what it says of a command is sure. */
  private see(
    uuid: string,
    { command, written }: Waiting,
    commands: Commands,
    outcomes: Map<string, Outcome>,
    added: Waiting[],
    served: boolean,
  ): boolean {
    const found = commands.get(uuid)
    if (!written && served) {
      commands.set(uuid, command)
      added.push(this.waiting.get(uuid)!)
      return true
    }
    if (served && !isOver(found)) return false
    outcomes.set(uuid, outcomeOf(found, written))
    return commands.delete(uuid)
  }

  private settle(uuid: string, outcome: Outcome): void {
    const call = this.waiting.get(uuid)
    if (!call) return
    this.waiting.delete(uuid)
    const answer = Object.hasOwn(outcome, 'error') ? { error: outcome.error } : { result: outcome.result }
    const bytes = Buffer.from(JSON.stringify({ jsonrpc: '2.0', id: call.id, ...answer }))
    this.sink.message(bytes, 0, bytes.length, true)
  }

  /** A damaged file is the service's to mend, and its mending is a change. What else is wrong lasts. */
  private failed(error: TalkwireError): void {
    this.failingSince ??= performance.now()
    const lasting = performance.now() - this.failingSince >= MENDING
    if (error.code === 'INVALID_MESSAGE' && !lasting) return
    this.unwanted.clear()
    for (const [uuid, { written }] of this.waiting)
      if (!written || lasting) this.settle(uuid, { error: errorOf(-32005, error.withOutcome(written ? 'maybe-ran' : 'not-sent')) })
  }

  private gone(): void {
    if (this.state !== 'open') return
    // Who closes takes its sign away; who is killed leaves it.
    const closed = !lstatSync(`${this.path}.server`, { throwIfNoEntry: false })
    this.finish(closed ? undefined : new TalkwireError('CONNECTION_LOST', `the process that served ${this.peer.address} is gone`))
  }

  // ── the end ────────────────────────────────────────────────────────────────────────────────────

  close(): Promise<void> {
    if (this.state === 'open') {
      this.state = 'closing'
      this.look()
    }
    return this.end
  }

  abort(cause: TalkwireError): void {
    if (this.state === 'closed') return
    const left = [...this.unwanted, ...this.waiting.keys()]
    if (left.length > 0) void this.file.update((commands) => left.filter((uuid) => commands.delete(uuid)).length > 0).catch(() => {})
    this.finish(cause)
  }

  private finish(cause: TalkwireError | undefined): void {
    if (this.state === 'closed') return
    this.state = 'closed'
    this.watch?.end()
    this.unwatchServer()
    this.sink.closed(cause)
    this.resolve()
  }
}

/** Gone means that somebody else took it away. */
const isOver = (command: Command | undefined): boolean => command === undefined || isAnswered(command)

function outcomeOf(found: Command | undefined, written: boolean): Outcome {
  if (found && isAnswered(found)) return found
  const begun = found ? found.taken !== undefined : written
  const text = !written || found ? 'nobody serves the file any more' : 'somebody else removed the command from the file'
  return { error: errorOf(-32005, new TalkwireError('UNAVAILABLE', text, { outcome: begun ? 'maybe-ran' : 'not-sent' })) }
}

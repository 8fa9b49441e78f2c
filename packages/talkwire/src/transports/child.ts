/** What spawn: and fork: share: a child process at the other end of a wire, and how both end together. */
import type { ChildProcess } from 'node:child_process'
import { existsSync } from 'node:fs'
import type net from 'node:net'
import type { Duplex } from 'node:stream'
import { TalkwireError } from '../error.js'
import { StreamConnection, type StreamOptions } from './stream-connection.js'
import type { Peer, Sink, TransportOptions } from './transport.js'

/** Milliseconds a child gets to end by itself once its wire has, and again after SIGTERM. */
const GRACE = 2000
/** Milliseconds that the end of the wire and the exit wait for each other. */
const EXPLANATION = 500
/** Milliseconds for the last of stderr after the exit: a grandchild may hold it open for ever. */
const LAST_WORDS = 100
const STDERR_KEPT = 4096

export interface ChildOptions extends TransportOptions {
  /** Added to the environment of this process. */
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
  /** The child is not ours to end: it may outlive its wire and this process, and writes to our stderr directly. */
  readonly detached?: boolean
}

/** What is the same in every way of starting a child. */
interface How {
  readonly cwd: string | undefined
  readonly detached: boolean
  /** For `stdio`: kept and passed on by us, or our own. */
  readonly stderr: 'pipe' | 2
}

/** What the child is told: which descriptor is its wire, and whose death is its own. */
export const childEnvironment = (options: ChildOptions, descriptor?: number): NodeJS.ProcessEnv => ({
  ...process.env,
  ...options.env,
  TALKWIRE_PARENT: options.detached ? undefined : String(process.pid),
  TALKWIRE_FD: descriptor === undefined ? undefined : String(descriptor),
})

/** Starts a child. Rejects with START_FAILED when there is no such program. Its pipes have not been read from when this resolves. */
export async function startChild(
  program: string,
  { cwd, signal, detached = false }: ChildOptions,
  start: (how: How) => ChildProcess,
): Promise<Child> {
  signal?.throwIfAborted()
  const failed = (reason: unknown): TalkwireError => {
    const missing = (reason as NodeJS.ErrnoException).code === 'ENOENT'
    const why =
      missing && cwd !== undefined && !existsSync(cwd)
        ? `the directory ${cwd} does not exist; make it or pass another cwd`
        : missing
          ? 'there is no such program; check its name and PATH'
          : (reason as Error).message
    return new TalkwireError('START_FAILED', `cannot start ${program}: ${why}`, { cause: reason })
  }
  let handle: ChildProcess
  try {
    handle = start({ cwd, detached, stderr: detached ? 2 : 'pipe' })
  } catch (reason) {
    throw failed(reason)
  }
  if (handle.pid !== undefined) return new Child(handle, program, detached)
  throw await new Promise<TalkwireError>((resolve) => handle.once('error', (reason) => resolve(failed(reason))))
}

const living = new Set<Child>()

/** At our own exit; after kill -9 of us the end of the wire tells them. */
function killAll(): void {
  for (const child of living) child.kill()
}

export class Child {
  private status: { readonly code: number | null; readonly signal: NodeJS.Signals | null } | undefined
  /** What we sent it last. */
  private signal: NodeJS.Signals | undefined
  private stderr = Buffer.alloc(0)
  private ending: Promise<void> | undefined
  /** The child has exited, and its last words are here. */
  readonly exited: Promise<void>

  constructor(
    readonly handle: ChildProcess,
    private readonly program: string,
    readonly detached: boolean,
  ) {
    if (!detached) {
      if (living.size === 0) process.on('exit', killAll)
      living.add(this)
    }
    handle.unref()
    // Of signals that cannot be sent: then it has just exited.
    handle.on('error', () => {})
    if (handle.stderr) this.listen(handle.stderr as net.Socket)
    this.exited = new Promise((resolve) => handle.once('exit', (code, signal) => this.onExit({ code, signal }, resolve)))
  }

  get peer(): Pick<Peer, 'pid' | 'uid' | 'gid'> {
    return { pid: this.handle.pid!, ...(process.getuid && process.getgid && { uid: process.getuid(), gid: process.getgid() }) }
  }

  /** How it ended; undefined while it lives. */
  get end(): TalkwireError | undefined {
    if (!this.status) return undefined
    const { code, signal } = this.status
    const stderr = this.stderr.toString().trimEnd()
    const details = { exitCode: code, signal, stderr }
    return new TalkwireError(
      'PEER_EXITED',
      `${this.program} ended with ${signal ?? `exit code ${code}`}${code === 0 ? ': it had nothing to serve any more, or never called serve()' : ''}${stderr ? `; the last of its stderr:\n${stderr}` : ''}`,
      { details, outcome: 'maybe-ran' },
    )
  }

  /** It ended, but not because we wanted it. */
  get endedItself(): boolean {
    return this.status !== undefined && (this.signal === undefined || this.status.signal !== this.signal)
  }

  /** The same, and it was not done. */
  get failed(): boolean {
    return this.endedItself && this.status!.code !== 0
  }

  /** Whether it exits within so many milliseconds. */
  async exits(milliseconds: number): Promise<boolean> {
    let timer!: NodeJS.Timeout
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, milliseconds)
    })
    await Promise.race([this.exited, late])
    clearTimeout(timer)
    return this.status !== undefined
  }

  /** Its wire has ended: it gets time for what is still `unread`, then to end by itself, then SIGTERM, then SIGKILL. */
  finish(unread: () => number): Promise<void> {
    return (this.ending ??= this.outlive(unread))
  }

  private async outlive(unread: () => number): Promise<void> {
    if (this.detached) return
    this.handle.ref()
    // A listener to Node's own channel would keep it.
    if (this.handle.connected) this.handle.disconnect()
    for (let before = Infinity, left = 1; left > 0 && left < before;) {
      if (await this.exits(GRACE)) return
      ;[before, left] = [left, unread()]
    }
    this.kill()
    await this.exited
  }

  kill(): void {
    if (this.detached || this.status || this.signal) return
    this.handle.ref()
    this.send('SIGTERM')
    const timer = setTimeout(() => this.send('SIGKILL'), GRACE)
    void this.exited.then(() => clearTimeout(timer))
  }

  private send(signal: NodeJS.Signals): void {
    this.signal = signal
    this.handle.kill(signal)
  }

  private onExit(status: NonNullable<Child['status']>, resolve: () => void): void {
    if (living.delete(this) && living.size === 0) process.off('exit', killAll)
    const { stderr } = this.handle
    const settle = (): void => {
      clearTimeout(timer)
      this.status = status
      stderr?.destroy()
      resolve()
    }
    const timer = setTimeout(settle, LAST_WORDS)
    if (!stderr || stderr.closed) settle()
    else stderr.once('close', settle)
  }

  /** Passes stderr on and keeps the last of it. */
  private listen(stderr: net.Socket): void {
    stderr.unref()
    stderr.on('error', () => {})
    stderr.on('data', (chunk: Buffer) => {
      this.stderr = Buffer.concat([this.stderr, chunk]).subarray(-STDERR_KEPT)
      // As console does: nobody reading our own stderr is no reason to end.
      process.stderr.write(chunk, (reason) => reason && process.stderr.once('error', () => {}))
    })
  }
}

/** A stream to a child: it ends with the child, and the child with it. */
export class ChildConnection extends StreamConnection {
  private readonly child: Child
  private wanted: TalkwireError | undefined
  private resolve!: () => void
  private readonly done = new Promise<void>((resolve) => {
    this.resolve = resolve
  })

  constructor(stream: Duplex, address: string, child: Child, options: StreamOptions) {
    super(stream, { address, ...child.peer }, options)
    this.child = child
  }

  /** The child itself, for its pid and for messages of its own. */
  get process(): ChildProcess {
    return this.child.handle
  }

  override attach(sink: Sink): this {
    let over = false
    const { child } = this
    const onEnded = async (): Promise<void> => {
      if (!child.detached) await child.exits(EXPLANATION)
      if (over) return
      if (child.failed) this.abort(child.end!)
      else if (sink.ended) sink.ended(child.end)
      else void this.close()
    }
    const onClosed = async (cause: TalkwireError | undefined): Promise<void> => {
      over = true
      if (!cause) await child.finish(() => 0)
      else if (!child.detached) {
        await child.exits(EXPLANATION)
        child.kill()
      }
      const because = cause ? child.endedItself && cause !== this.wanted : child.failed
      sink.closed(because && cause?.code !== 'PEER_EXITED' ? child.end : cause)
      if (!child.detached) await child.exited
      this.resolve()
    }
    if (!child.detached) void child.exited.then(() => this.afterExit(() => over))
    return super.attach({
      message: (bytes, start, end, owned) => sink.message(bytes, start, end, owned),
      value: (value) => sink.value(value),
      drained: () => sink.drained(),
      ...(sink.broken && { broken: (error: TalkwireError) => sink.broken!(error) }),
      ended: () => void onEnded(),
      closed: (cause) => void onClosed(cause),
    })
  }

  override close(): Promise<void> {
    void super.close()
    void this.child.finish(() => this.buffered)
    return this.done
  }

  override abort(cause: TalkwireError): void {
    this.wanted ??= cause
    super.abort(cause)
    this.child.kill()
  }

  /** A grandchild that inherited the wire would keep it open. */
  private async afterExit(over: () => boolean): Promise<void> {
    const { stream } = this
    let before = -1
    for (let read = -1; !over() && !stream.readableEnded; before = read) {
      await new Promise((resolve) => setTimeout(resolve, EXPLANATION).unref())
      // What came while this process stood still is read after the timers.
      await new Promise((resolve) => setImmediate(resolve))
      read = (stream as Partial<net.Socket>).bytesRead ?? 0
      if (read === before && !stream.isPaused() && !over() && !stream.readableEnded) return this.abort(this.child.end!)
    }
  }
}

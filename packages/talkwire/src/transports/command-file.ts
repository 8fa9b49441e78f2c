/**
 * The JSON file of `file:`, shared with programs that know only it: docs/transports/file.md. Everybody changes it while
 * holding `<path>.lock`. What we write is complete before it has the name; others write in place, and may die within.
 */
import {
  closeSync,
  constants,
  fstatSync,
  openSync,
  readFileSync,
  renameSync,
  statSync,
  unlinkSync,
  writeFileSync,
  type Stats,
} from 'node:fs'
import { plainMessage, TalkwireError } from '../error.js'
import { EVENT } from '../kernel/inotify.js'
import { memoryError } from '../memory/errors.js'
import { onFileEvent } from '../sync/file-events.js'
import { FileLock } from '../sync/file-lock.js'

/** One command, from whoever wrote it: nothing of it is sure but that it is an object. */
export interface Command {
  command?: unknown
  /** An array by position, or an object by name. */
  args?: unknown
  /** A service has begun with it. */
  taken?: unknown
  result?: unknown
  /** As in JSON-RPC: `{ code, message, data }`. */
  error?: unknown
}
export type Commands = Map<string, Command>

/** Changes the commands; false: nothing was changed, and nothing is written. Runs while the file is locked. */
export type Change = (commands: Commands) => boolean

const { O_RDONLY, O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK } = constants
/** Milliseconds between looks at a file of which no event tells: another machine's file system, or too many watches. */
export const LOOK = 1000
/** Milliseconds; the clocks of file systems tick more often. */
const TICK = 2000
const CHANGED = EVENT.written | EVENT.attributes | EVENT.removed | EVENT.moved
/** Others may write it. */
const OTHERS = 0o022

/** A command's `error`, as JSON-RPC has it: spec/wire.md § 6. */
export const errorOf = (number: number, error: TalkwireError): object => ({
  code: number,
  message: plainMessage(error),
  data: { code: error.code, outcome: error.outcome },
})

export const isAnswered = (command: Command): boolean => Object.hasOwn(command, 'result') || Object.hasOwn(command, 'error')

/** What a damaged file is replaced by, and who is told. */
export interface Repair {
  damaged(reason: TalkwireError): void
}

export class CommandFile {
  private readonly lock: FileLock
  /** The text that was last read or written and was good. */
  private good: string | undefined
  /** The file as it was then. */
  private seen: Stats | undefined

  /** With `repair`, a file that is damaged or missing becomes what it last was. Throws UNSUPPORTED and MISSING_PACKAGE. */
  constructor(
    readonly path: string,
    private readonly most: number,
    private readonly repair?: Repair,
  ) {
    this.lock = new FileLock(`${path}.lock`)
  }

  /** Whether it is another one, or was written, since we read or wrote it. */
  get isChanged(): boolean {
    const now = statSync(this.path, { throwIfNoEntry: false })
    const { seen } = this
    if (!now || !seen || now.ino !== seen.ino || now.mtimeMs !== seen.mtimeMs || now.size !== seen.size) return true
    // Two changes within one tick of the file system's clock have the same time.
    return Date.now() - now.mtimeMs < TICK && this.text() !== this.good
  }

  private text(): string | undefined {
    try {
      return readPlain(this.path, this.most).text
    } catch {
      return undefined
    }
  }

  /** Waits for the lock, without an end of its own. Rejects with what is wrong with the file. */
  async update(change: Change): Promise<void> {
    using _held = await this.lock.acquire()
    checkOwner(`${this.path}.lock`, statSync(`${this.path}.lock`), 0)
    const { state, commands, instead } = this.readLocked()
    if (change(commands) || instead) this.write({ ...state, commands: Object.fromEntries(commands) })
    if (instead && instead.code !== 'NOT_FOUND') this.repair!.damaged(instead)
  }

  /** Without the lock, so what somebody is just writing may be cut off: undefined then. */
  peek(): Commands | undefined {
    try {
      const { text, stat } = readPlain(this.path, this.most)
      const { commands } = parse(text, this.path)
      this.seen = stat
      this.good = text
      return commands
    } catch {
      return undefined
    }
  }

  /** `instead`: why it is not what stands there. */
  private readLocked(): Read & { readonly instead?: TalkwireError } {
    try {
      const { text, stat } = readPlain(this.path, this.most)
      const parsed = parse(text, this.path)
      this.good = text
      this.seen = stat
      return parsed
    } catch (reason) {
      const error = TalkwireError.from(reason)
      if (!this.repair) throw error
      if (this.good === undefined && error.code !== 'NOT_FOUND') {
        if (error.code !== 'INVALID_MESSAGE') throw error
        // Only whoever wrote it knows what it was to be.
        renameSync(this.path, `${this.path}.damaged`)
      }
      return { ...parse(this.good ?? '{"commands":{}}', this.path), instead: error }
    }
  }

  private write(state: object): void {
    const text = `${JSON.stringify(state, undefined, 1)}\n`
    const bytes = Buffer.byteLength(text)
    if (bytes > this.most)
      throw new TalkwireError(
        'MESSAGE_TOO_LARGE',
        `${this.path} would have ${bytes} bytes, the limit is ${this.most}; send less at a time or raise limits.message`,
      )
    this.seen = memoryError(this.path, () => replace(this.path, text))
    this.good = text
  }

  /** Calls back when the file may have changed, and once a second. Its timer keeps the process alive. */
  watch(changed: () => void): Watch {
    let quiet = (): void => {}
    const look = (): void => {
      // A file that was replaced is another one.
      quiet()
      quiet = onFileEvent(this.path, CHANGED, look)
      changed()
    }
    const timer = setInterval(() => (this.isChanged ? look() : changed()), LOOK)
    quiet = onFileEvent(this.path, CHANGED, look)
    return {
      timer,
      end() {
        clearInterval(timer)
        quiet()
      },
    }
  }
}

interface Read {
  readonly state: object
  readonly commands: Commands
}

export interface Watch {
  readonly timer: NodeJS.Timeout
  end(): void
}

/** Under the lock, so nobody else makes a file of this name. */
function replace(path: string, text: string): Stats {
  const beside = `${path}.new`
  removed(beside)
  const fd = openSync(beside, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600)
  try {
    writeFileSync(fd, text)
    renameSync(beside, path)
    return fstatSync(fd)
  } catch (reason) {
    removed(beside)
    throw reason
  } finally {
    closeSync(fd)
  }
}

function removed(path: string): void {
  try {
    unlinkSync(path)
  } catch (reason) {
    if ((reason as NodeJS.ErrnoException).code !== 'ENOENT') throw reason
  }
}

/** Throws PERMISSION_DENIED for what another user made or may write. */
export function checkOwner(path: string, stat: Stats, forbidden = OTHERS): void {
  if (stat.uid !== process.getuid!())
    throw new TalkwireError(
      'PERMISSION_DENIED',
      `${path} belongs to the user ${stat.uid}; take a file of your own, in a folder of your own`,
    )
  if ((stat.mode & forbidden) !== 0) throw new TalkwireError('PERMISSION_DENIED', `other users may write ${path}; chmod 600 ${path}`)
}

function readPlain(path: string, most: number): { text: string; stat: Stats } {
  return memoryError(path, () => {
    // O_NONBLOCK: a pipe that was put there must not stop us.
    const fd = openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
    try {
      const stat = fstatSync(fd)
      if (!stat.isFile()) throw new TalkwireError('INVALID_ADDRESS', `${path} is no plain file; take a path where there is one, or nothing`)
      checkOwner(path, stat)
      if (stat.size > most)
        throw new TalkwireError('MESSAGE_TOO_LARGE', `${path} has ${stat.size} bytes, the limit is ${most} (limits.message)`)
      return { text: readFileSync(fd, 'utf8'), stat }
    } finally {
      closeSync(fd)
    }
  })
}

const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null && !Array.isArray(value)

/** Throws INVALID_MESSAGE, which names the file. What is in `commands` and no object is left out. */
function parse(text: string, path: string): Read {
  let state: unknown
  try {
    state = JSON.parse(text)
  } catch (cause) {
    throw new TalkwireError(
      'INVALID_MESSAGE',
      `${path} holds no whole JSON text: ${(cause as Error).message}; whoever wrote it last died, or did not hold ${path}.lock`,
      { cause },
    )
  }
  const commands = isObject(state) && Object.hasOwn(state, 'commands') ? (state as { commands: unknown }).commands : {}
  if (!isObject(state) || !isObject(commands))
    throw new TalkwireError('INVALID_MESSAGE', `${path} is not {"commands": {"<uuid>": {"command": …, "args": …}}}; mend it, or remove it`)
  return { state, commands: new Map(Object.entries(commands).filter((entry): entry is [string, Command] => isObject(entry[1]))) }
}

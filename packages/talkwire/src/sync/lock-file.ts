/** A file that is there while somebody has the lock, for file systems on which the kernel's locks do not hold: docs/sync/lock-file.md. */
import { statSync } from 'node:fs'
import { resolve } from 'node:path'
import { watchersOf } from '../kernel/file-locks.js'
import { EVENT } from '../kernel/inotify.js'
import { memoryError } from '../memory/errors.js'
import { sleepSync } from '../memory/pauses.js'
import { onFileEvent } from './file-events.js'
import type { FileParty } from './file-lock.js'
import { Grant } from './grant.js'
import { commandOf, type Party } from './inspect.js'
import { create, removeOwn, takeOver, tidy } from './lock-file-steps.js'
import { isDead, readText, type LockText } from './lock-file-text.js'
import type { WaitOptions } from './tasks.js'
import { Turns, type Attempt } from './turns.js'

/** A grant of a lock file. */
export class FileGrant extends Grant {
  constructor(
    letGo: () => void,
    /** The owner before died within: what the lock guards may be half done. */
    readonly abandoned: boolean,
  ) {
    super(letGo)
  }
}

export interface LockFileInfo {
  /** Undefined when nobody has it; without a pid when what stands in the file is not ours to understand. */
  readonly holder: (Partial<Party> & { readonly host?: string; readonly alive: boolean }) | undefined
  /** Those of this machine that wait as we do. Since when, the kernel does not say. */
  readonly waiters: readonly FileParty[]
}

export class LockFile {
  readonly path: string
  private readonly turns: Turns<WaitOptions, FileGrant>

  private tidied = false

  /** Makes nothing yet. */
  constructor(path: string) {
    this.path = resolve(path)
    const granted = (own: LockText, abandoned: boolean): FileGrant => this.granted(own, abandoned)
    this.turns = new Turns(`lock file ${this.path}`, () => new LockFileAttempt(this.path, granted))
  }

  /**
   * Waits for it without blocking. Rejects with DEADLINE_EXCEEDED or the signal's reason; NOT_FOUND when the folder is missing,
   * PERMISSION_DENIED, NO_SPACE, UNSUPPORTED on a file system without hard links.
   */
  acquire(options: WaitOptions = {}): Promise<FileGrant> {
    return this.turns.acquire(options)
  }

  /** Blocks this thread, and with it the event loop. Throws as `acquire` rejects; DEADLOCK when this very thread holds it. */
  acquireSync(options: Pick<WaitOptions, 'timeout'> = {}): FileGrant {
    return this.turns.acquireSync(options)
  }

  /** Takes it if it can be had, from a dead owner too. Does not wait. */
  tryAcquire(): FileGrant | undefined {
    return this.turns.tryAcquire({})
  }

  /** Who holds it, who waits. Takes some milliseconds. */
  inspect(): LockFileInfo {
    const text = memoryError(`lock file ${this.path}`, () => readText(this.path))
    const waiters = this.waiters()
    if (!text) return { holder: text === undefined ? undefined : { alive: true }, waiters }
    const { pid, host, since } = text
    return { holder: { pid, command: commandOf(pid), since: new Date(since), host, alive: !isDead(text) }, waiters }
  }

  private waiters(): FileParty[] {
    const stat = statSync(this.path, { throwIfNoEntry: false })
    return stat && process.platform === 'linux' ? watchersOf(stat, WATCHED).map((pid) => ({ pid, command: commandOf(pid) })) : []
  }

  private granted(own: LockText, abandoned: boolean): FileGrant {
    held.add(own.token)
    // Whoever takes over does it anyway.
    if (!abandoned && !this.tidied) tidy(this.path)
    this.tidied = true
    return new FileGrant(() => {
      held.delete(own.token)
      memoryError(`lock file ${this.path}`, () => removeOwn(this.path, own))
    }, abandoned)
  }
}

/** What whoever waits watches a holder's file for. */
const WATCHED = EVENT.attributes | EVENT.removed | EVENT.moved

/** Tokens of the grants of this thread. */
const held = new Set<string>()

class LockFileAttempt implements Attempt<FileGrant> {
  private changed: (() => void) | undefined
  private watched: number | undefined
  private quiet = (): void => {}

  constructor(
    private readonly path: string,
    private readonly granted: (own: LockText, abandoned: boolean) => FileGrant,
  ) {}

  take(): FileGrant | undefined {
    return memoryError(`lock file ${this.path}`, () => {
      const there = readText(this.path)
      const dead = there && isDead(there)
      const own = there === undefined ? create(this.path) : dead ? takeOver(this.path, there) : undefined
      if (own) return this.granted(own, dead === true)
      this.watchFile()
      return undefined
    })
  }

  isOurs(): boolean {
    return held.has(readText(this.path)?.token ?? '')
  }

  watch(changed: () => void): () => void {
    this.changed = changed
    return () => this.quiet()
  }

  /** Each holder's file is another one. */
  private watchFile(): void {
    const inode = this.changed && statSync(this.path, { throwIfNoEntry: false })?.ino
    if (inode === undefined || inode === this.watched) return
    this.quiet()
    this.watched = inode
    this.quiet = onFileEvent(this.path, WATCHED, this.changed!)
  }

  sleep(milliseconds: number): boolean {
    sleepSync(milliseconds)
    return false
  }

  end(): void {}
}

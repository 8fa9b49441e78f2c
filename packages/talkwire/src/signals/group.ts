/** A state that is announced by signals, to whoever has put a file with its pid into a directory: docs/signals.md. */
import { closeSync, lstatSync } from 'node:fs'
import { resolve } from 'node:path'
import { linuxLibc } from '../kernel/libc.js'
import { sendSignal, survives } from '../kernel/signal.js'
import { openProcess } from '../kernel/waiting.js'
import { receive } from './receive.js'
import { judge, membersOf, openRegistry, register, removeFile, type Member } from './registry.js'
import { parseSignal, type KnownSignal, type SignalWord } from './words.js'

export interface SignalGroupOptions<Name extends string> {
  /** Which signal says what. Default: `up` is SIGUSR1, `down` is SIGUSR2. */
  readonly signals?: Readonly<Record<Name, SignalWord>>
}

/** Pids, by what came of telling them. */
export interface Told {
  readonly told: readonly number[]
  /** They have ended; their files were removed. */
  readonly gone: readonly number[]
  /** They would die of the signal: they have not set up a handler (yet). They were not signalled. */
  readonly unready: readonly number[]
  /** The pid belongs to a process that began after the file was written. It was not signalled. */
  readonly others: readonly number[]
  /** Another user's. */
  readonly refused: readonly number[]
  /** Their queue of signals with a value is full. */
  readonly full: readonly number[]
}

type Listener = (value: number | undefined) => void

export class SignalGroup<Name extends string = 'up' | 'down'> implements Disposable {
  readonly directory: string
  private readonly signals: ReadonlyMap<string, KnownSignal>
  private readonly listeners = new Map<string, Set<Listener>>()
  private left: (() => void) | undefined

  /** Makes the directory if it is not there. Throws PERMISSION_DENIED, UNSUPPORTED, MISSING_PACKAGE; TypeError for what is no signal. */
  constructor(directory: string, { signals }: SignalGroupOptions<Name> = {}) {
    linuxLibc('signals')
    this.directory = resolve(directory)
    const words = Object.entries<SignalWord>(signals ?? { up: 'SIGUSR1', down: 'SIGUSR2' })
    this.signals = new Map(words.map(([name, word]) => [name, parseSignal(word)]))
    if (new Set([...this.signals.values()].map(({ number }) => number)).size < this.signals.size)
      throw new TypeError('each name needs a signal of its own')
    openRegistry(this.directory)
  }

  /**
   * Is told from now on: the signals are handled first, then the file is written. It goes with `leave()` or with the process.
   * A second time does nothing. Throws UNSUPPORTED in a worker.
   */
  join(): void {
    if (this.left) return
    const quiet = [...this.signals].map(([name, signal]) => receive(signal, (value) => this.tell(name, value)))
    const path = register(this.directory)
    const { ino: inode, mtimeNs: written } = lstatSync(path, { bigint: true })
    const left = (): void => removeFile({ path, inode, written })
    process.once('exit', left)
    this.left = () => {
      process.off('exit', left)
      left()
      for (const end of quiet) end()
    }
  }

  /** Is not told any more. The signals stay handled, since one may be on its way. */
  leave(): void {
    this.left?.()
    this.left = undefined
  }

  [Symbol.dispose](): void {
    this.leave()
  }

  /**
   * Calls back when it was announced, if this process has joined; with the value, if the signal is one of real time. Plain
   * signals that come together are one. Returns what ends it.
   */
  on(name: Name, listener: Listener): () => void {
    this.signal(name)
    const those = this.listeners.get(name) ?? new Set()
    this.listeners.set(name, those.add(listener))
    return () => void those.delete(listener)
  }

  /**
   * Tells every member, this process too if it has joined. `value`, a whole number of 32 bits, goes with signals of real time
   * (default 0). Does not block. Throws TypeError and RangeError.
   */
  notify(name: Name, value?: number): Told {
    const signal = this.signal(name)
    if (value !== undefined && (signal.plain !== undefined || value !== (value | 0)))
      throw new RangeError('a value is a whole number of 32 bits, and goes with SIGRTMIN+n only')
    const told = { told: [], gone: [], unready: [], others: [], refused: [], full: [] } satisfies Record<keyof Told, number[]>
    for (const member of membersOf(this.directory))
      (told[tellOne(member, signal, signal.plain === undefined ? (value ?? 0) : undefined)] as number[]).push(member.pid)
    return told
  }

  private signal(name: string): KnownSignal {
    const signal = this.signals.get(name)
    if (!signal) throw new TypeError(`this group has no ${JSON.stringify(name)}; it has ${[...this.signals.keys()].join(', ')}`)
    return signal
  }

  private tell(name: string, value: number | undefined): void {
    for (const listener of this.listeners.get(name) ?? []) listener(value)
  }
}

const FAILURES = { ESRCH: 'gone', EPERM: 'refused', EAGAIN: 'full' } as const

/** All through one pidfd: by number, the signal could reach a process that began a moment ago. */
function tellOne(member: Member, { number }: KnownSignal, value: number | undefined): keyof Told {
  const fd = openProcess(member.pid)
  try {
    const verdict = fd === undefined ? 'gone' : judge(member)
    if (verdict === 'somebody else') return 'others'
    if (verdict === 'gone' || fd === undefined) return removed(member)
    if (!survives(member.pid, number)) return 'unready'
    const failure = sendSignal(fd, number, value)
    if (failure === 'ESRCH') return removed(member)
    return failure ? FAILURES[failure] : 'told'
  } finally {
    if (fd !== undefined) closeSync(fd)
  }
}

function removed(member: Member): 'gone' {
  removeFile(member)
  return 'gone'
}

/** The machine with its log and its timer: what a command answers is held until the log says that it is on disk. */
import { TalkwireError } from '../../error.js'
import { reveal } from '../../session/validate.js'
import { hubTime, systemClocks, type Clocks } from './clock.js'
import type { HubLimits } from './limits.js'
import type { Log, LogOptions, Place } from './log-types.js'
import { createMachine, type Machine } from './machine.js'
import { after } from '../../timers.js'

export interface Shell {
  readonly machine: Machine
  /** Hub time. */
  now(): number
  /** Milliseconds since 1970. */
  wall(): number
  /** Everything up to this stamp is on disk. */
  readonly synced: number
  /** Writes what commands left, and sets the timer. After each command, before anything is answered. */
  flush(): void
  /** When this stamp is on disk; undefined: it is. Rejects when the log failed. */
  after(stamp: number): Promise<void> | undefined
  read(place: Place): Promise<Uint8Array>
  /** Nothing more may be answered: what the disk said. */
  readonly failed: TalkwireError | undefined
  /** Nothing may be begun that has to be written: there is no room on the disk, by now. */
  readonly full: TalkwireError | undefined
  stats(): { readonly files: number; readonly bytes: number }
  backup(folder: string): Promise<void>
  close(): Promise<void>
}

export interface ShellOptions {
  readonly limits: HubLimits
  /** Absent: nothing is written. */
  readonly openLog?: (options: LogOptions) => Promise<Log>
  readonly clocks?: Clocks
  readonly onDamage?: (what: string) => void
  readonly onFull?: (reason: TalkwireError) => void
  readonly onFailed?: (reason: TalkwireError) => void
}

export async function openShell({ limits, openLog, clocks = systemClocks(), onDamage, onFull, onFailed }: ShellOptions): Promise<Shell> {
  const machine = createMachine(limits, openLog !== undefined)
  const { effects } = machine
  /** Ends of what was appended, and the stamps they stand for; in order. */
  const ends: { readonly stamp: number; readonly end: Place }[] = []
  const held: { readonly stamp: number; resolve: () => void; reject: (reason: unknown) => void }[] = []
  let synced = 0
  let failed: TalkwireError | undefined
  let full: TalkwireError | undefined
  let timer: NodeJS.Timeout | undefined
  let timed = Infinity

  const release = (): void => {
    let count = 0
    while (count < held.length && held[count]!.stamp <= synced) held[count++]!.resolve()
    held.splice(0, count)
  }
  const log = await openLog?.({
    replay: machine.replay,
    live: machine.live,
    liveBytes: machine.liveBytes,
    moved: machine.moved,
    synced(end) {
      let count = 0
      while (count < ends.length && ends[count]!.end <= end) synced = ends[count++]!.stamp
      ends.splice(0, count)
      release()
    },
    failed(reason) {
      failed = reveal(reason)
      for (const { reject } of held.splice(0)) reject(failed)
      onFailed?.(failed)
    },
    full(reason) {
      full = reason && reveal(reason)
      effects.full = full !== undefined
      if (full) {
        for (const { reject } of held.splice(0)) reject(full)
        onFull?.(full)
      } else machine.queues.dispatch(now())
    },
    damaged: (what) => onDamage?.(what),
  })
  const now = hubTime(clocks, machine.last)
  machine.begin(now(), () => ({ hub: now(), monotonic: clocks.monotonic(), wall: clocks.wall(), boot: clocks.boot }))

  const flush = (): void => {
    if (failed) throw failed
    if (log)
      effects.flush((records) => {
        const { places, end } = log.append(records)
        ends.push({ stamp: effects.count, end })
        return places
      })
    else synced = effects.count
    const next = machine.next()
    if (next >= timed) return
    clearTimeout(timer)
    timed = next
    timer = after(Math.max(0, Math.ceil(next - now())), tick)
  }
  const tick = (): void => {
    timed = Infinity
    if (failed) return
    machine.tick(now())
    flush()
  }
  flush()

  return {
    machine,
    now,
    wall: clocks.wall,
    get synced() {
      return synced
    },
    get failed() {
      return failed
    },
    get full() {
      return full
    },
    flush,
    after(stamp) {
      if (failed) return Promise.reject(failed)
      if (stamp <= synced) return undefined
      if (full) return Promise.reject(full)
      // In order: whoever comes later waits at least as long.
      const least = held.length > 0 ? Math.max(stamp, held.at(-1)!.stamp) : stamp
      return new Promise((resolve, reject) => held.push({ stamp: least, resolve, reject }))
    },
    read: (place) => log!.read(place),
    stats: () => log?.stats() ?? { files: 0, bytes: 0 },
    backup: (folder) =>
      log?.backup(folder) ?? Promise.reject(new TalkwireError('UNSUPPORTED', 'this hub is in memory only; there is nothing to copy')),
    async close() {
      clearTimeout(timer)
      timed = -Infinity
      if (!failed) {
        machine.topics.keeper.flush()
        flush()
      }
      await log?.close()
    },
  }
}

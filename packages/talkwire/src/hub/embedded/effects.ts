/** What a command leaves behind for the shell: records for the log, and numbers that are never given twice. */
import type { LogRecord, Place } from './log-types.js'
import { BodyWriter } from './bodies.js'

/** The log's records; bodies as in spec/hub-machine.md. Numbers are never given another meaning. */
export const Kind = {
  meta: 1,
  set: 2,
  gone: 3,
  queue: 4,
  push: 5,
  take: 6,
  done: 7,
  back: 8,
  dead: 9,
  revive: 10,
  lease: 11,
  free: 12,
  keep: 13,
  message: 14,
  group: 15,
} as const

type Placed = (place: Place) => void

/** How many numbers are taken from the log at once, and how many are left when more are. */
const RESERVE = 1_000_000
const LEAST = 500_000

export class Effects {
  /** Records since the beginning; a change's stamp is this after it. */
  count = 0
  /** The next number. Revisions, tokens, receipts, positions and ids of jobs are one sequence: it only grows, also across restarts. */
  private following = 1
  private reserved = 1
  /** The largest that a record of the log has. */
  private largest = 0
  private records: LogRecord[] = []
  private placed: (Placed | undefined)[] = []
  private readonly writer = new BodyWriter()
  /** Writes what stands beside the reserved numbers. */
  private describe: (writer: BodyWriter) => void = () => {}
  metaPlace: Place = -1
  /** There is no room on the disk: nothing is begun that has to be written. */
  full = false

  /** `logged`: false, nothing is written. */
  constructor(readonly logged: boolean) {}

  number(): number {
    if (this.logged && this.reserved - this.following < LEAST) this.reserve()
    return this.following++
  }

  get last(): number {
    return this.following - 1
  }

  /** One record; returns its stamp. `placed` is told where it stands. */
  write(kind: number, encode: (writer: BodyWriter) => unknown, placed?: Placed): number {
    this.count++
    if (!this.logged) return this.count
    encode(this.writer)
    this.records.push({ kind, body: this.writer.end() })
    this.placed.push(placed)
    return this.count
  }

  /** From the log: numbers below it may have been given. */
  replayed(reserved: number, place: Place): void {
    this.following = this.reserved = Math.max(this.reserved, reserved)
    this.metaPlace = place
  }

  /** A record has this number. */
  met(number: number): void {
    if (number > this.largest) this.largest = number
  }

  /** Begins a run: `describe` writes the clocks beside the numbers. */
  begin(describe: (writer: BodyWriter) => void): void {
    this.describe = describe
    // What says how many were reserved is damaged: more than these cannot have been.
    if (this.largest >= this.reserved) this.following = this.largest + RESERVE
    if (this.logged) this.reserve()
  }

  /** Hands everything that was written to `append`, in one piece. */
  flush(append: (records: readonly LogRecord[]) => readonly Place[]): void {
    const { records, placed } = this
    if (records.length === 0) return
    this.records = []
    this.placed = []
    const places = append(records)
    for (const [index, tell] of placed.entries()) tell?.(places[index]!)
    this.writer.reset()
  }

  private reserve(): void {
    this.reserved = this.following + RESERVE
    this.write(
      Kind.meta,
      (writer) => {
        writer.number(this.reserved)
        this.describe(writer)
      },
      (place) => (this.metaPlace = place),
    )
  }
}

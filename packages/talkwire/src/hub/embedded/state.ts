/** Keys with values and revisions: set, compare-and-set, time to live, batches, listing, watching. Sans I/O. */
import { visibleError } from '../../session/validate.js'
import type { BodyReader } from './bodies.js'
import { Deadlines } from './deadlines.js'
import { Kind, type Effects } from './effects.js'
import { within, type HubLimits } from './limits.js'
import type { Place } from './log-types.js'
import { SortedKeys } from './sorted-keys.js'
import { Watchers } from './watchers.js'

export interface Entry {
  readonly key: string
  value: Uint8Array
  type: number
  revision: number
  /** Hub time; Infinity: stays. */
  due: number
  /** When the record of its last change is synced, it may be shown. */
  stamp: number
  place: Place
}

/** `revision`: undefined, whatever it is; 0, only if there is none. */
export interface Change {
  readonly key: string
  /** Undefined: delete. */
  readonly value: Uint8Array | undefined
  readonly type: number
  readonly ttl: number | undefined
  readonly revision: number | undefined
}

/** What a table is for; part of its records. */
export const Space = { state: 0, retained: 1, counter: 2 } as const

const LONGEST_KEY = 1024

export class State {
  private readonly entries = new Map<string, Entry>()
  private readonly keys = new SortedKeys()
  private readonly deadlines = new Deadlines<Entry>()
  private bytes = 0
  /** Stamp of what the last keys went by: who finds nothing may only be told so when that is synced. */
  private gone = 0
  readonly watchers = new Watchers((key) => this.entries.get(key))

  constructor(
    private readonly effects: Effects,
    private readonly limits: HubLimits,
    private readonly space: number,
    private readonly most: 'keys' | 'retained' | 'counters',
  ) {}

  get size(): number {
    return this.entries.size
  }

  get next(): number {
    return this.deadlines.next
  }

  get liveBytes(): number {
    return this.bytes
  }

  get(key: string, now: number): Entry | undefined {
    const entry = this.entries.get(key)
    return entry && entry.due > now ? entry : undefined
  }

  /** What a reader of this key waits for. */
  stampOf(key: string): number {
    return this.entries.get(key)?.stamp ?? this.gone
  }

  /** The new revision; undefined: it has another one. A deleted key's is 0. */
  change(change: Change, now: number): number | undefined {
    this.expire(now)
    if (change.value === undefined && !this.entries.has(change.key)) return undefined
    return this.batch([change], now)?.[0]
  }

  /** All or none: undefined. Throws LIMIT_EXCEEDED, INVALID_INPUT. */
  batch(changes: readonly Change[], now: number): number[] | undefined {
    this.expire(now)
    let keys = this.entries.size
    let bytes = this.bytes
    const seen = new Set<string>()
    for (const { key, value } of changes) {
      if (typeof key !== 'string' || key === '' || key.length > LONGEST_KEY)
        throw visibleError('INVALID_INPUT', `a key is a text of 1 to ${LONGEST_KEY} characters`)
      if (changes.length > 1 && seen.size === seen.add(key).size)
        throw visibleError('INVALID_INPUT', `${JSON.stringify(key).slice(0, 80)} is changed twice in one batch; write its last change only`)
      const old = this.entries.get(key)
      if (!old && value) keys++
      bytes += (value ? sizeOf(key, value) : 0) - (old ? sizeOf(key, old.value) : 0)
      if (value) within(value.length, this.limits, 'message', 'bytes of a value')
    }
    if (keys > this.entries.size) within(keys, this.limits, this.most, this.most)
    if (bytes > this.bytes) within(bytes, this.limits, 'stateBytes', 'bytes of keys and values')
    for (const { key, revision } of changes) {
      const known = this.entries.get(key)?.revision ?? 0
      if (revision !== undefined && revision !== known) return undefined
    }
    return changes.map((change) => this.apply(change, now))
  }

  /** In order; at most so many, behind `after`. */
  list(prefix: string, after: string | undefined, most: number, now: number): Entry[] {
    this.expire(now)
    return this.keys.list(prefix, after, most).map((key) => this.entries.get(key)!)
  }

  /** Who lists may have missed a key that went. */
  get goneStamp(): number {
    return this.gone
  }

  /** Lets go of what is due. */
  expire(now: number): void {
    for (let entry = this.deadlines.take(now); entry; entry = this.deadlines.take(now)) this.expired(entry)
  }

  replaySet(reader: BodyReader, place: Place): void {
    const revision = reader.number()
    const due = reader.number()
    const type = reader.byte()
    const key = reader.text()
    this.effects.met(revision)
    const known = this.entries.get(key)
    if (known && known.revision > revision) return
    this.put({ key, value: reader.bytes(), type, revision, due, stamp: 0, place })
  }

  replayGone(reader: BodyReader): void {
    const revision = reader.number()
    this.effects.met(revision)
    const known = this.entries.get(reader.text())
    if (known && known.revision < revision) this.forget(known)
  }

  live(reader: BodyReader, place: Place): ((to: Place) => void) | undefined {
    reader.number()
    reader.number()
    reader.byte()
    const entry = this.entries.get(reader.text())
    return entry?.place === place ? (to) => (entry.place = to) : undefined
  }

  private apply({ key, value, type, ttl }: Change, now: number): number {
    if (value === undefined) {
      const known = this.entries.get(key)
      if (known) this.remove(known)
      return 0
    }
    const revision = this.effects.number()
    const due = ttl === undefined ? Infinity : now + ttl
    const entry: Entry = { key, value: Buffer.from(value), type, revision, due, stamp: 0, place: -1 }
    entry.stamp = this.effects.write(
      Kind.set,
      (writer) => writer.byte(this.space).number(revision).number(due).byte(type).text(key).bytes(value),
      (place) => (entry.place = place),
    )
    this.put(entry)
    this.watchers.changed(key, entry.stamp)
    return revision
  }

  private put(entry: Entry): void {
    const old = this.entries.get(entry.key)
    if (old) {
      this.bytes -= sizeOf(old.key, old.value)
      old.due = NaN
    } else this.keys.add(entry.key)
    this.entries.set(entry.key, entry)
    this.bytes += sizeOf(entry.key, entry.value)
    this.deadlines.add(entry)
  }

  private remove(entry: Entry): void {
    this.gone = this.drop(entry)
    this.watchers.changed(entry.key, this.gone)
  }

  /** After a restart its time is over, too; but without the record that set it, what was there before would be there again. */
  private expired(entry: Entry): void {
    this.drop(entry)
    this.gone = Math.max(this.gone, entry.stamp)
    this.watchers.changed(entry.key, entry.stamp)
  }

  private drop(entry: Entry): number {
    const revision = this.effects.number()
    this.forget(entry)
    return this.effects.write(Kind.gone, (writer) => writer.byte(this.space).number(revision).text(entry.key))
  }

  private forget(entry: Entry): void {
    entry.due = NaN
    this.entries.delete(entry.key)
    this.keys.delete(entry.key)
    this.bytes -= sizeOf(entry.key, entry.value)
  }
}

/** Characters and bytes; what an entry costs besides is the same for all. */
const sizeOf = (key: string, value: Uint8Array): number => key.length + value.length

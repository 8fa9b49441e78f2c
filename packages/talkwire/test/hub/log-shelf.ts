/** The smallest machine on a log: keys with values. What it holds must be what its operations made, whatever happened to the log. */
import assert from 'node:assert/strict'
import type { Log, LogOptions, LogRecord, Place } from '../../src/hub/embedded/log-types.js'
import type { TalkwireError } from '../../src/error.js'

const SET = 1
const REMOVE = 2

export const set = (key: number, value: string): LogRecord => ({ kind: SET, body: bodyOf(key, value) })
export const removal = (key: number): LogRecord => ({ kind: REMOVE, body: bodyOf(key, '') })

function bodyOf(key: number, value: string): Buffer {
  const body = Buffer.alloc(4 + Buffer.byteLength(value))
  body.writeUInt32LE(key)
  body.write(value, 4)
  return body
}

interface Entry {
  readonly value: string
  place: Place
}

export class Shelf implements LogOptions {
  readonly entries = new Map<number, Entry>()
  readonly complaints: string[] = []
  readonly failures: TalkwireError[] = []
  readonly fulls: (TalkwireError | undefined)[] = []
  /** Asked, moved: how much work cleaning was. */
  asked = 0
  moves = 0
  replayed = 0
  reached: Place = 0
  /** Called when more is on disk. */
  onSynced: (end: Place) => void = () => {}
  onFailed: () => void = () => {}
  onFull: () => void = () => {}
  private bytes = 0
  private lastPlace: Place = -1

  replay(kind: number, body: Uint8Array, place: Place): void {
    assert.ok(place > this.lastPlace, 'replay goes in order')
    this.lastPlace = place
    this.replayed++
    this.apply({ kind, body }, place)
  }

  live(kind: number, body: Uint8Array, place: Place): boolean {
    this.asked++
    return kind === SET && this.entries.get(keyOf(body))?.place === place
  }

  liveBytes(): number {
    return this.bytes
  }

  moved(from: Place, to: Place): void {
    this.moves++
    const entry = this.byPlace.get(from)
    assert.ok(entry, 'what moves was live')
    this.byPlace.delete(from)
    this.byPlace.set(to, entry)
    entry.place = to
  }

  synced(end: Place): void {
    assert.ok(end > this.reached, 'synced only grows')
    this.reached = end
    this.onSynced(end)
  }

  failed(reason: TalkwireError): void {
    this.failures.push(reason)
    this.onFailed()
  }

  full(reason: TalkwireError | undefined): void {
    this.fulls.push(reason)
    this.onFull()
  }

  damaged(what: string): void {
    this.complaints.push(what)
  }

  private readonly byPlace = new Map<Place, Entry>()

  /** To the log and to what is held. Returns the place that says that it is on disk. */
  write(log: Log, records: readonly LogRecord[]): Place {
    const { places, end } = log.append(records)
    for (const [index, record] of records.entries()) this.apply(record, places[index]!)
    return end
  }

  private apply({ kind, body }: LogRecord, place: Place): void {
    const key = keyOf(body)
    const former = this.entries.get(key)
    if (former) {
      this.byPlace.delete(former.place)
      this.entries.delete(key)
      this.bytes -= 16 + former.value.length
    }
    if (kind === REMOVE) return
    const entry = { value: Buffer.from(body.subarray(4)).toString(), place }
    this.entries.set(key, entry)
    this.byPlace.set(place, entry)
    this.bytes += 16 + entry.value.length
  }

  /** To compare. */
  state(): string {
    return JSON.stringify([...this.entries].map(([key, { value }]) => [key, value] as const).sort((a, b) => a[0] - b[0]))
  }
}

const keyOf = (body: Uint8Array): number => body[0]! + body[1]! * 2 ** 8 + body[2]! * 2 ** 16 + body[3]! * 2 ** 24

/** Resolves when this is on disk, rejects when the log fails. */
export function onDisk(shelf: Shelf, end: Place): Promise<void> {
  return new Promise((resolve, reject) => {
    const look = (): void => void (shelf.reached >= end && resolve())
    const [onSynced, onFailed] = [shelf.onSynced, shelf.onFailed]
    shelf.onSynced = (place) => (onSynced(place), look())
    shelf.onFailed = () => (onFailed(), reject(shelf.failures[0]!))
    look()
  })
}

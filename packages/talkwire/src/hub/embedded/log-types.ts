/** What the hub's state machine and its log say to each other. The log knows no queues and keys; the machine knows no files. */
import type { TalkwireError } from '../../error.js'

/**
 * Where a record begins: bytes since the log began. Grows with every append, so that places compare as times do. A record that
 * was moved is replayed at its new place, behind what was appended in the meantime, and after a crash at both: so a record says
 * the whole of what it is about, and of two about the same the one with the later place wins.
 */
export type Place = number

/** The body's meaning, and the kinds, are the machine's. */
export interface LogRecord {
  readonly kind: number
  readonly body: Uint8Array
}

export interface LogOptions {
  /** Every record that is intact, the oldest first, before `openLog` resolves. `body` is only valid during the call. */
  replay(kind: number, body: Uint8Array, place: Place): void
  /**
   * Is what this record says still needed? Asked when the oldest segment is cleaned; yes: the record is appended anew. A record
   * that only says that another is over is not: the other is older, so it is gone or goes with the same segment.
   */
  live(kind: number, body: Uint8Array, place: Place): boolean
  /** About how many bytes the records have that `live` would say yes to: their bodies, and 12 for each. Cleaning begins by it. */
  liveBytes(): number
  /** A live record stands somewhere else from now on. Called before the copy is on disk, as with `append`. */
  moved(from: Place, to: Place): void
  /** Everything below this place is on disk. */
  synced(end: Place): void
  /** Nothing of what was not synced may be trusted, and nothing more is written: NO_SPACE, or what the disk said. The last call. */
  failed(reason: TalkwireError): void
  /** There is no room for the next file: nothing more is on disk until this is called without a reason. What was appended is kept meanwhile. */
  full(reason: TalkwireError | undefined): void
  /** What was found and set aside, cut or skipped, in words for an operator: when it is opened, and when it is cleaned. */
  damaged(what: string): void
}

export interface Log {
  /** All of them or none survive a crash. Returns the places of the records and the end, which `synced` will reach. Throws CLOSED after a failure. Copies the bodies. */
  append(records: readonly LogRecord[]): { readonly places: readonly Place[]; readonly end: Place }
  readonly synced: Place
  /** The body of a record that is still live; the caller's own. */
  read(place: Place): Promise<Uint8Array>
  /** Files that hold records, and the bytes of all records in them, live or not. */
  stats(): { readonly files: number; readonly bytes: number }
  /** A copy that opens as a log of its own: everything that was synced when this was called. */
  backup(folder: string): Promise<void>
  /** What was appended is on disk. */
  close(): Promise<void>
}

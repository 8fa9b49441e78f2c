/** Single records, read back from the files. */
import { TalkwireError } from '../../error.js'
import { BATCH_HEADER, batchAt, recordBack, recordBody, recordLength, RECORD_HEADER, type Origin } from './log-format.js'
import { diskError, type LogFile, type LogFiles } from './log-files.js'
import { segmentName, type Segment } from './log-segments.js'
import type { Place } from './log-types.js'

/** A batch that was read and found intact, with the places of its first byte and of its end. */
interface Read {
  readonly bytes: Buffer
  readonly from: Place
  readonly to: Place
}

export class LogReader {
  /** Who reads one record often reads its neighbours next. */
  private last: Read | undefined

  constructor(
    private readonly files: LogFiles,
    private readonly id: Buffer,
    private readonly segments: readonly Segment[],
  ) {}

  /** The body of the record at this place, which is on disk; the caller's own. */
  async read(place: Place): Promise<Buffer> {
    const { bytes, from } = this.isIn(this.last, place) ? this.last : (this.last = await this.readBatch(place))
    if (!this.isRecord(bytes, place - from)) throw notARecord(place)
    return Buffer.from(recordBody(bytes, place - from))
  }

  private isIn(read: Read | undefined, place: Place): read is Read {
    return read !== undefined && place >= read.from && place < read.to
  }

  private isRecord(bytes: Buffer, at: number): boolean {
    return (
      at >= BATCH_HEADER &&
      at + RECORD_HEADER <= bytes.length &&
      recordBack(bytes, at) === at &&
      at + recordLength(bytes, at) <= bytes.length
    )
  }

  private async readBatch(place: Place): Promise<Read> {
    const segment = segmentOf(this.segments, place)
    if (!segment) throw notARecord(place)
    const reading = this.readFrom(segment, place)
    segment.readers.add(reading)
    try {
      return await reading
    } finally {
      segment.readers.delete(reading)
    }
  }

  private async readFrom({ number, first }: Segment, place: Place): Promise<Read> {
    const file = await this.files.open(segmentName(number)).catch((reason: unknown) => {
      throw diskError(this.files.folder, reason)
    })
    try {
      const head = await file.read(place - first, RECORD_HEADER)
      const from = head.length === RECORD_HEADER ? place - recordBack(head, 0) : -1
      const bytes = from < first ? undefined : await this.batchFrom(file, from - first, { id: this.id, first })
      if (bytes) return { bytes, from, to: from + bytes.length }
    } finally {
      await file.close()
    }
    throw new TalkwireError(
      'INVALID_MEMORY',
      `${segmentName(number)} in ${this.files.folder} is damaged at ${place - first}: the record is lost`,
    )
  }

  private async batchFrom(file: LogFile, at: number, { id, first }: Origin): Promise<Buffer | undefined> {
    const head = await file.read(at, BATCH_HEADER)
    if (head.length < BATCH_HEADER) return undefined
    const length = BATCH_HEADER + head.readUInt32LE(12)
    if (at + length > (await file.size())) return undefined
    const bytes = await file.read(at, length)
    return batchAt(bytes, 0, { id, first: first + at }) ? bytes : undefined
  }
}

const notARecord = (place: Place): TalkwireError =>
  new TalkwireError('NOT_FOUND', `no record begins at ${place}; take a place that append or moved gave`)

function segmentOf(segments: readonly Segment[], place: Place): Segment | undefined {
  let low = 0
  let high = segments.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (segments[middle]!.first <= place) low = middle + 1
    else high = middle
  }
  const found = segments[low - 1]
  return found && place < found.end ? found : undefined
}

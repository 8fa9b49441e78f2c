/** What the log knows of itself beside its segments: hints for telling damage from an unfinished write. Losing them loses no record. */
import { crc32 } from './log-format.js'
import type { LogFiles } from './log-files.js'
import { readWhole, replace } from './log-segments.js'
import type { Place } from './log-types.js'

export const NOTES = 'notes'

/** From a place to another. */
export type Hole = readonly [from: Place, to: Place]

export interface Notes {
  /** Everything below has been on disk at some time: written by a clean close. */
  readonly synced: Place
  /** What was lost and told of already. */
  readonly holes: readonly Hole[]
}

const NONE: Notes = { synced: 0, holes: [] }

const textOf = (json: string): string => `${json}\n${crc32(Buffer.from(json)).toString(16)}\n`

/** Undefined: they are damaged. */
export async function readNotes(files: LogFiles, names: readonly string[]): Promise<Notes | undefined> {
  if (!names.includes(NOTES)) return NONE
  const text = (await readWhole(files, NOTES)).toString('latin1')
  const [json = ''] = text.split('\n', 1)
  return text === textOf(json) ? (JSON.parse(json) as Notes) : undefined
}

export const textOfNotes = (notes: Notes): Buffer => Buffer.from(textOf(JSON.stringify(notes)), 'latin1')

export const writeNotes = (files: LogFiles, notes: Notes): Promise<void> => replace(files, NOTES, textOfNotes(notes))

/** Whoever hears what is in the log: log.ts. */
import type { From, TopicMessage, TopicSink } from '../../driver.js'
import { matchesPattern } from '../../topic-names.js'
import { pauses } from '../broker.js'
import { looking } from '../looking.js'
import { sizeOf, type Batch, type Log, type Place } from './log.js'
import { incomingOf } from './values.js'

/** `message` returns false when there is enough. */
export type Hearing = Pick<TopicSink, 'message' | 'lost'>

/** Tells what is in these documents from a place on, until there is enough; where to go on. */
export function tell(batches: readonly Batch[], start: Place, pattern: string, from: From, hearing: Hearing): Place {
  const since = typeof from === 'object' && 'time' in from ? from.time : undefined
  let place = start
  for (const batch of batches) {
    if (batch._id > place.doc) {
      const lost = batch._id - place.doc - place.skip
      if (lost > 0) hearing.lost(lost)
      place = { ...place, doc: batch._id, skip: 0 }
    }
    const time = batch.time instanceof Date ? batch.time.getTime() : undefined
    const messages: readonly unknown[] = Array.isArray(batch.messages) ? batch.messages : []
    for (let index = place.skip; index < messages.length; index++) {
      const { topic, ...fields } = (messages[index] ?? {}) as Record<string, unknown>
      if (typeof topic !== 'string' || !matchesPattern(pattern, topic) || (since !== undefined && !((time ?? 0) >= since))) continue
      const position = `${batch._id}-${index}`
      const message: TopicMessage = { ...incomingOf(fields), topic, position, time, retained: false }
      if (!hearing.message(message)) return { ...place, skip: index + 1 }
    }
    place = { ...place, doc: batch._id + sizeOf(batch), skip: 0 }
  }
  return place
}

export interface Attention {
  readonly look: () => void
  /** Nothing comes after it resolves. */
  readonly close: () => Promise<void>
}

export interface Attending {
  /** Takes what there is. */
  readonly pass: (over: () => boolean) => Promise<void>
  /** Called before `pass` where the log may be another one. */
  readonly anew: () => Promise<void>
  readonly ended: () => void
}

/** Looks at once, whenever there may be something new, and after what failed. */
export async function attend({ mongo, changes }: Log, what: string, { pass, anew, ended }: Attending): Promise<Attention> {
  const ending = new AbortController()
  const over = (): boolean => ending.signal.aborted
  let isDoubtful = true
  let pause = pauses()
  const { look, idle } = looking(
    async () => {
      const wasDoubtful = isDoubtful
      isDoubtful = false
      try {
        if (wasDoubtful) await anew()
      } catch (reason) {
        isDoubtful = true
        throw reason
      }
      await pass(over)
      pause = pauses()
    },
    over,
    async (reason) => {
      if (over()) return
      await mongo.again(pause, reason, what, ending.signal)
      look()
    },
  )
  const doubt = (): void => {
    isDoubtful = true
    look()
  }
  const ear = await changes.listen({ heard: look, anew: doubt })
  const end = async (): Promise<void> => {
    if (over()) return
    ending.abort()
    forget()
    await ear.close()
    await idle()
    ended()
  }
  const forget = mongo.closing(end)
  look()
  return { look, close: end }
}

/** Several messages of a stream, all or none: what NATS calls an atomic batch, since 2.12. One of a connection is on its way at a time. */
import { randomUUID } from 'node:crypto'
import { TalkwireError } from '../../../error.js'
import type { Headers, Outgoing } from '../../driver.js'
import { checked, type Nats } from './connection.js'

/** What a server takes in one, by its defaults. */
const MOST = 1000

export interface Part {
  readonly subject: string
  readonly message: Outgoing
  readonly extra: Headers
}

/** Resolves with the places in the stream, one after the other. Rejects as `store` does, and with LIMIT_EXCEEDED. */
export async function storeAll(nats: Nats, parts: readonly Part[]): Promise<readonly number[]> {
  if (parts.length > MOST)
    throw new TalkwireError('LIMIT_EXCEEDED', `NATS takes ${MOST} changes in one batch, not ${parts.length}; make several batches`)
  // The library would keep what stands between the first and the last.
  if (nats.away) throw nats.absent()
  const id = randomUUID()
  const answers = parts.map(({ subject, message, extra }, index) => {
    const [isFirst, isLast] = [index === 0, index === parts.length - 1]
    const place = { 'Nats-Batch-Id': id, 'Nats-Batch-Sequence': String(index + 1), ...(isLast && { 'Nats-Batch-Commit': '1' }) }
    const headers = nats.headersOf(message, { ...extra, ...place })
    // The first says whether there are batches, the last what became of this one.
    if (isFirst || isLast) return nats.ask(subject, message.body, headers)
    nats.connection.publish(subject, message.body, { headers })
    return undefined
  })
  const [first, last] = await Promise.all([answers[0], answers.at(-1)])
  if (!first || !last) return []
  if (first.data.length > 0) checked(first)
  const { seq } = checked(last)
  return parts.map((_, index) => seq - parts.length + 1 + index)
}

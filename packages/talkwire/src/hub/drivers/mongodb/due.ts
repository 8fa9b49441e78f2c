/** Moments by MongoDB's own clock: those of this machine may be others. */
import type { Collection, Document, Filter } from 'mongodb'
import type { Mongo } from './connection.js'

/** The field is a date, and it is over. What makes a document that is not there may not ask with it. */
export const isOver = (field: string): Filter<any> => ({ [field]: { $type: 'date' }, $expr: { $lte: [`$${field}`, '$$NOW'] } })

/** Milliseconds until the first date of those is over, below zero where it is; Infinity: there is none. Wants an index that ends with the field. */
export async function firstOver(mongo: Mongo, docs: Collection<any>, those: Document, field: string): Promise<number> {
  const stages = [
    { $match: { ...those, [field]: { $type: 'date' } } },
    { $sort: { [field]: 1 } },
    { $limit: 1 },
    { $project: { left: { $subtract: [`$${field}`, '$$NOW'] } } },
  ]
  const [first] = await mongo.run(() => docs.aggregate<{ left: number }>(stages).toArray())
  return first?.left ?? Infinity
}

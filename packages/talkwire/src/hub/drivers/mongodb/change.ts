/** One document that is changed and read in one step, and made before that if it is not there. */
import type { Collection, Document, Filter, OptionalUnlessRequiredId, UpdateFilter, WithId } from 'mongodb'
import { isDuplicate, type Mongo } from './connection.js'

/** As it is then. `start`: what it is when it is made. */
export async function change<T extends Document & { _id: string }>(
  mongo: Mongo,
  docs: Collection<T>,
  start: OptionalUnlessRequiredId<T>,
  update: UpdateFilter<T> | Document[],
): Promise<WithId<T>> {
  const filter = { _id: start._id } as Filter<T>
  for (;;) {
    const found = await mongo.run(() => docs.findOneAndUpdate(filter, update, { returnDocument: 'after' }))
    if (found) return found
    try {
      await mongo.run(() => docs.insertOne(start))
    } catch (reason) {
      if (!isDuplicate(reason)) throw reason
    }
  }
}

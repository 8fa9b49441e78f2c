/** A counter is a document of the collection `PREFIX.counters`, with its number as `value`. */
import type { CountersDriver } from '../../driver.js'
import { change } from './change.js'
import type { Mongo } from './connection.js'

interface Counter {
  readonly _id: string
  readonly value: number
}

export function counters(mongo: Mongo): CountersDriver {
  const docs = mongo.collection<Counter>('counters')
  return {
    async add(name, amount) {
      const add = { $inc: { value: amount } }
      const found =
        amount === 0 ? await mongo.run(() => docs.findOne({ _id: name })) : await change(mongo, docs, { _id: name, value: 0 }, add)
      return Number(found?.value ?? 0)
    },
  }
}

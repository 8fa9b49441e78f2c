/**
 * What is published is a document of the collection `PREFIX.topics` for all that went together. Its `_id` is the place of its first message,
 * which is the place behind the last one of the document before: one publisher wins it. `token` is the publisher's, new each time.
 * The document `log` goes with the collection when that is dropped: another one says that places begin again.
 */
import type { Collection, Document, Filter } from 'mongodb'
import { TalkwireError } from '../../../error.js'
import type { From, Outgoing } from '../../driver.js'
import { isAway } from '../broker.js'
import { isDuplicate, LARGEST, type Mongo } from './connection.js'
import { feed, type Feed } from './feed.js'
import { fieldsOf, type Fields } from './values.js'

export interface Entry extends Fields {
  readonly topic: string
}

/** Foreign ones have what their program put there. */
export interface Batch extends Document {
  readonly _id: number
  readonly time?: unknown
  readonly token?: string
  readonly messages?: unknown
}

/** The message that comes next is in this document of this log, or the one behind, so many messages after the first. */
export interface Place {
  readonly log: string
  readonly doc: number
  readonly skip: number
}

export interface Log {
  readonly mongo: Mongo
  readonly changes: Feed
  /** Resolves when they stand behind all that was there. */
  readonly append: (messages: readonly Entry[]) => Promise<void>
  begin(from: From): Promise<Place>
  /** The place, or the first one, where it is of a log that was dropped. */
  known(place: Place): Promise<Place>
  /** Some documents from this one on. Those who ask in the same turn share them. */
  read(doc: number): Promise<readonly Batch[]>
}

/** Messages that are kept at least, how many may be more before the oldest are taken away, and the milliseconds in which none is. */
const KEPT = 100_000
const SPARE = 10_000
const YOUNG = 60_000
/** Documents that are read at once. */
const PAGE = 32

/** How many places a document takes. */
const SIZE: Document = { $max: [1, { $cond: [{ $isArray: ['$messages'] }, { $size: '$messages' }, 1] }] }
export const sizeOf = ({ messages }: Batch): number => Math.max(1, Array.isArray(messages) ? messages.length : 1)

/** Throws MESSAGE_TOO_LARGE. */
export function entryOf({ lib }: Mongo, topic: string, message: Outgoing): { readonly entry: Entry; readonly bytes: number } {
  const entry = { topic, ...fieldsOf(lib.BSON, message) }
  const bytes = lib.BSON.calculateObjectSize(entry)
  if (bytes <= LARGEST - 1024) return { entry, bytes }
  throw new TalkwireError('MESSAGE_TOO_LARGE', `a message to "${topic}" is larger than MongoDB's documents, 16 MB`, { outcome: 'not-sent' })
}

/** Where the log ended, after which document, when by MongoDB's clock, and since when by ours. */
interface End {
  readonly at: number
  readonly last: number
  readonly time: number
  readonly since: number
}

/** `slow`: milliseconds after which what was known of the end may be long ago: less than half of what none is taken away in. */
export function openLog(mongo: Mongo, slow = YOUNG / 3): Log {
  const docs = mongo.collection<Batch>('topics')
  const others = yielding()
  let turn: Promise<void> | undefined
  let known: End | undefined
  const put = async (at: number, token: string, messages: readonly Entry[]): Promise<number | undefined> => {
    // With a token, so that a second attempt of the library's finds what the first one made.
    const made = [{ $set: { messages: { $ifNull: ['$messages', { $literal: messages }] }, time: { $ifNull: ['$time', '$$NOW'] } } }]
    const options = { upsert: true, returnDocument: 'after', projection: { time: 1 } } as const
    try {
      return ((await mongo.run(() => docs.findOneAndUpdate({ _id: at, token }, made, options)))!.time as Date).getTime()
    } catch (reason) {
      if (isDuplicate(reason)) return undefined
      throw reason
    }
  }
  /** What is old is taken away, and a place that we knew to be free may be free again, before what others have read. */
  const stands = async ({ last, time, since }: End, now: number): Promise<boolean> => {
    // Either clock may stand still: ours while this machine sleeps, MongoDB's while it does what it was told.
    if (now - time < slow && performance.now() - since < slow) return true
    if (last === 0) return (await endOf(mongo, docs, 'majority')).at < KEPT
    return (await mongo.run(() => docs.findOne({ _id: last }, { projection: { _id: 1 } }))) !== null
  }
  /** False: the place was somebody else's. */
  const attempt = async (messages: readonly Entry[]): Promise<boolean> => {
    if (known && performance.now() - known.since > slow) known = undefined
    // What most do not have yet will be before ours, or is lost together with ours.
    const end = known ?? (await endOf(mongo, docs, 'local'))
    known = undefined
    const token = new mongo.lib.ObjectId().toHexString()
    const since = performance.now()
    const time = await put(end.at, token, messages)
    if (time === undefined) return false
    if (!(await stands(end, time))) {
      await mongo.run(() => docs.deleteOne({ _id: end.at, token }))
      return false
    }
    known = { at: end.at + messages.length, last: end.at, time, since }
    if (Math.floor(known.at / SPARE) > Math.floor(end.at / SPARE)) trim(mongo, docs, known.at)
    return true
  }
  return {
    mongo,
    changes: feed(mongo, 'topics', [{ $match: { operationType: { $ne: 'delete' } } }, { $project: { operationType: 1 } }]),
    async append(messages) {
      await turn
      const began = performance.now()
      let attempts = 1
      while (!(await attempt(messages))) attempts++
      turn = others(attempts, (performance.now() - began) / attempts)
    },
    begin: (from) => begin(mongo, docs, from),
    async known(place) {
      return place.log === (await nameOf(mongo)) ? place : begin(mongo, docs, 'all')
    },
    read: reading((doc) =>
      mongo.run(() =>
        docs
          .find({ _id: { $gte: doc } }, { singleBatch: true })
          .sort({ _id: 1 })
          .limit(PAGE)
          .toArray(),
      ),
    ),
  }
}

/** Documents after which others are let go first, also where nobody was seen. */
const ROW = 8
/** Milliseconds in which others are remembered, and those of a pause at most. */
const SEEN = 1000
const LONGEST = 100

/** Who has just won a place knows the next one before all others, and would win it, too: what is waited for before that. */
function yielding(): (attempts: number, took: number) => Promise<void> | undefined {
  let seen = -Infinity
  let row = 0
  return (attempts, took) => {
    if (attempts > 1) seen = performance.now()
    row = attempts > 1 ? 0 : row + 1
    const isAlone = performance.now() - seen > SEEN
    if (isAlone && row % ROW > 0) return undefined
    const pause = Math.min(LONGEST, took) * (isAlone ? 1 : 2 * Math.random())
    return new Promise((resolve) => setTimeout(resolve, pause))
  }
}

async function endOf(mongo: Mongo, docs: Collection<Batch>, level: 'local' | 'majority'): Promise<End> {
  const stages = [
    { $match: { _id: { $gt: 0 } } },
    { $sort: { _id: -1 } },
    { $limit: 1 },
    { $project: { at: { $add: ['$_id', SIZE] }, time: '$$NOW' } },
  ]
  type Found = { _id: number; at: number; time: Date }
  const since = performance.now()
  const [found] = await mongo.run(() => docs.aggregate<Found>(stages, { readConcern: { level } }).toArray())
  return found ? { at: found.at, last: found._id, time: found.time.getTime(), since } : { at: 1, last: 0, time: 0, since }
}

/** Of the log that is there, or begins now. */
async function nameOf(mongo: Mongo): Promise<string> {
  const docs = mongo.collection<{ _id: string; name: string }>('topics')
  for (;;) {
    const there = await mongo.run(() => docs.findOne({ _id: 'log' }))
    if (there) return String(there.name)
    const name = new mongo.lib.ObjectId().toHexString()
    try {
      await mongo.run(() => docs.insertOne({ _id: 'log', name }))
    } catch (reason) {
      if (!isDuplicate(reason)) throw reason
    }
  }
}

async function begin(mongo: Mongo, docs: Collection<Batch>, from: From): Promise<Place> {
  const log = await nameOf(mongo)
  if (typeof from === 'object' && 'after' in from) {
    const [, doc, index] = /^(\d{1,15})-(\d{1,8})$/.exec(from.after) ?? []
    if (doc === undefined) throw new TalkwireError('INVALID_INPUT', `"${from.after}" is no position of this hub`)
    return { log, doc: Number(doc), skip: Number(index) + 1 }
  }
  const since: Filter<Batch> | undefined = from === 'new' ? undefined : from === 'all' ? {} : { time: { $gte: new Date(from.time) } }
  // Before it is looked for: what is published meanwhile is behind the end of before.
  const { at } = await endOf(mongo, docs, 'majority')
  const first = since && (await mongo.run(() => docs.findOne({ _id: { $gt: 0 }, ...since }, { sort: { _id: 1 }, projection: { _id: 1 } })))
  return { log, doc: first?._id ?? at, skip: 0 }
}

function reading(read: (doc: number) => Promise<readonly Batch[]>): Log['read'] {
  const asked = new Map<number, Promise<readonly Batch[]>>()
  return (doc) => {
    if (asked.size === 0) process.nextTick(() => asked.clear())
    const known = asked.get(doc) ?? read(doc)
    asked.set(doc, known)
    return known
  }
}

/** In the background: who publishes next takes away what is left. */
function trim(mongo: Mongo, docs: Collection<Batch>, end: number): void {
  const old = { time: { $type: 'date' }, $expr: { $lt: ['$time', { $add: ['$$NOW', -YOUNG] }] } } as Filter<Batch>
  const remove = async (): Promise<void> => {
    const last = await docs.findOne({ _id: { $gt: 0, $lt: end - KEPT }, ...old }, { sort: { _id: -1 }, projection: { _id: 1 } })
    // Also those between that have no time.
    if (last) await docs.deleteMany({ _id: { $gt: 0, $lte: last._id } })
  }
  mongo.run(remove).catch((reason: unknown) => {
    if (!isAway(reason)) mongo.onError(reason, 'topics')
  })
}

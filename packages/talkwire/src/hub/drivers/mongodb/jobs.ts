/**
 * A job is a document of the collection `PREFIX.jobs`. Its `state` is `ready`; `later` or `taken`, until `at`, by MongoDB's own clock; `dead`, since
 * then; or `done`: only its key is remembered. `token` is new each time that it is taken: who has it settles the job. `freed` says the queue,
 * and something new, when the job came back: that is what consumers listen to. A document of `PREFIX.queues` counts the places.
 */
import type { Collection, Document, Filter, ObjectId, WithId } from 'mongodb'
import { TalkwireError } from '../../../error.js'
import type { DeadLetter, NewJob, QueueSettings } from '../../driver.js'
import { onceDone } from '../../once-done.js'
import { change } from './change.js'
import { isDuplicate, LARGEST, type Mongo } from './connection.js'
import { firstOver, isOver } from './due.js'
import { fieldsOf, incomingOf } from './values.js'

/** What a foreign program pushed has what it put there. */
export interface JobDoc extends Document {
  /** Foreign ones may have others. */
  readonly _id: ObjectId | string
  readonly queue: string
  readonly state: 'ready' | 'later' | 'taken' | 'dead' | 'done'
  readonly priority?: number
  readonly seq?: number
  readonly time?: Date
  readonly at?: Date
  readonly tries?: number
  readonly token?: string
  readonly reason?: string
  readonly value?: unknown
  readonly type?: string
  readonly headers?: unknown
  readonly key?: string
  /** When the key is forgotten. */
  readonly until?: Date
  /** The same, where nothing else is left: MongoDB takes it away. */
  readonly gone?: Date
}

interface QueueDoc extends Partial<QueueSettings> {
  readonly _id: string
  readonly seq: number
  /** When it was written. */
  readonly now: Date
}

export interface Jobs {
  readonly mongo: Mongo
  readonly docs: Collection<JobDoc>
  readonly queues: Collection<QueueDoc>
  /** Resolves when the indexes are there. */
  readonly ready: () => Promise<void> | undefined
}

export function jobsOf(mongo: Mongo): Jobs {
  const docs = mongo.collection<JobDoc>('jobs')
  const make = (): Promise<unknown> =>
    docs.createIndexes([
      { key: { queue: 1, state: 1, priority: -1, seq: 1 } },
      { key: { queue: 1, state: 1, at: 1 } },
      { key: { queue: 1, key: 1 }, unique: true, partialFilterExpression: { key: { $exists: true } } },
      { key: { gone: 1 }, expireAfterSeconds: 0, sparse: true },
    ])
  return { mongo, docs, queues: mongo.collection<QueueDoc>('queues'), ready: onceDone(async () => void (await mongo.run(make))) }
}

const NOBODY = { seq: 0, now: new Date(0) }
const after = (milliseconds: number): Document => ({ $add: ['$$NOW', Math.ceil(milliseconds)] })
const freed = ({ lib }: Mongo, queue: string): Document => ({ $literal: `${queue}/${new lib.ObjectId().toHexString()}` })
/** What the queue was called that somebody freed a job of. */
export const queueFreed = (said: unknown): string | undefined =>
  typeof said === 'string' ? said.slice(0, Math.max(0, said.lastIndexOf('/'))) : undefined

export async function configure(
  { mongo, queues, ready }: Jobs,
  queue: string,
  { visibility, attempts, dedupe }: QueueSettings,
): Promise<void> {
  await ready()
  await change(mongo, queues, { _id: queue, ...NOBODY }, { $set: { visibility, attempts, dedupe } })
}

/** As whoever declared it last said; a queue that nobody declared has no dead letters by itself. */
export async function settingsOf({ mongo, queues }: Jobs, queue: string): Promise<QueueSettings> {
  const { visibility = 30_000, attempts = Infinity, dedupe = 0 } = (await mongo.run(() => queues.findOne({ _id: queue }))) ?? {}
  return { visibility, attempts, dedupe }
}

export async function insert(jobs: Jobs, queue: string, wanted: readonly NewJob[]): Promise<readonly string[]> {
  const { mongo, queues } = jobs
  const { lib } = mongo
  await jobs.ready()
  const made = wanted.map((job) => ({
    _id: new lib.ObjectId(),
    queue,
    ...fieldsOf(lib.BSON, job),
  }))
  // Before anything is sent: half of them would be there.
  for (const doc of made)
    if (lib.BSON.calculateObjectSize(doc) > LARGEST - 1024)
      throw new TalkwireError('MESSAGE_TOO_LARGE', `a job of "${queue}" is larger than MongoDB's documents, 16 MB`, { outcome: 'not-sent' })
  const places = [{ $set: { seq: { $add: [{ $ifNull: ['$seq', 0] }, made.length] }, now: '$$NOW' } }]
  const { seq, now, dedupe = 0 } = await change(mongo, queues, { _id: queue, ...NOBODY }, places)
  const later = (milliseconds: number): Date => new Date(now.getTime() + Math.ceil(milliseconds))
  const whole = made.map((doc, index): JobDoc => {
    const { delay, priority, key } = wanted[index]!
    const when = delay > 0 ? ({ state: 'later', at: later(delay) } as const) : ({ state: 'ready' } as const)
    const keyed = key !== undefined && dedupe > 0 && { key, until: later(dedupe) }
    return { ...doc, ...when, ...keyed, priority, seq: seq - made.length + index + 1, time: now, tries: 0 }
  })
  const ids = whole.map(({ _id }) => String(_id))
  for (let from = 0; from < whole.length;) {
    const stopped = await insertFrom(jobs, whole, from)
    if (stopped === undefined) break
    const there = await keyed(jobs, whole[stopped]!)
    if (there !== undefined) ids[stopped] = there
    from = there === undefined ? stopped : stopped + 1
  }
  return ids
}

/** In their order; the index of the first whose key is known. */
async function insertFrom({ mongo, docs }: Jobs, all: readonly JobDoc[], from: number): Promise<number | undefined> {
  try {
    await mongo.run(() => docs.insertMany(all.slice(from), { ordered: true }))
    return undefined
  } catch (reason) {
    if (!isDuplicate(reason)) throw reason
    const { writeErrors } = (reason as { cause: { writeErrors: { index: number } | readonly { index: number }[] } }).cause
    return from + [writeErrors].flat()[0]!.index
  }
}

/** The job that has the key; undefined: nobody has it any more. */
async function keyed({ mongo, docs }: Jobs, { _id, queue, key }: JobDoc): Promise<string | undefined> {
  // Known by its own id: an attempt of the library's before this one put it there.
  if (key === undefined) return String(_id)
  await mongo.run(() => docs.updateOne({ queue, key, ...isOver('until') }, { $unset: { key: 1, until: 1 } }))
  const found = await mongo.run(() => docs.findOne({ queue, key } as Filter<JobDoc>, { projection: { _id: 1 } }))
  return found ? String(found._id) : undefined
}

export const letterOf = (doc: JobDoc): DeadLetter => ({
  id: String(doc._id),
  reason: String(doc.reason ?? ''),
  attempts: Number(doc.tries ?? 0),
  ...incomingOf(doc),
})

/** Back in the queue, or among the dead letters, if it was handed out too often. */
const returned = (attempts: number, wasTaken: Document | boolean, state: JobDoc['state'], at: Document | string): Document => {
  const isDead = { $and: [wasTaken, { $gte: ['$tries', attempts] }] }
  const reason = { $concat: ['was handed out ', { $toString: '$tries' }, ' times'] }
  const either = (dead: unknown, alive: unknown): Document => ({ $cond: [isDead, dead, alive] })
  return { state: either('dead', state), at: either('$$NOW', at), reason: either(reason, '$reason') }
}

/** Brings back what is due; in how many milliseconds the next one is. */
export async function sweep({ mongo, docs }: Jobs, queue: string, attempts: number): Promise<number> {
  const waiting = { queue, state: { $in: ['later', 'taken'] } } as Filter<JobDoc>
  for (;;) {
    const left = await firstOver(mongo, docs, waiting, 'at')
    if (left > 0) return left
    const back = returned(attempts, { $eq: ['$state', 'taken'] }, 'ready', '$at')
    await mongo.run(() => docs.updateMany({ ...waiting, ...isOver('at') }, [{ $set: back }]))
  }
}

/** At most so many, the first ones first, for the one who has the token. */
export async function take({ mongo, docs }: Jobs, queue: string, count: number, visibility: number): Promise<readonly WithId<JobDoc>[]> {
  const ready = { queue, state: 'ready' } as Filter<JobDoc>
  const token = new mongo.lib.ObjectId().toHexString()
  const tries = { $add: [{ $ifNull: ['$tries', 0] }, 1] }
  const taking = [{ $set: { state: 'taken', token, at: after(visibility), tries } }]
  const sort = { priority: -1, seq: 1 } as const
  if (count === 1) {
    const found = await mongo.run(() => docs.findOneAndUpdate(ready, taking, { sort, returnDocument: 'after' }))
    return found ? [found] : []
  }
  for (;;) {
    const first = await mongo.run(() =>
      docs
        .find(ready, { projection: { _id: 1 } })
        .sort(sort)
        .limit(count)
        .toArray(),
    )
    if (first.length === 0) return []
    const those = { _id: { $in: first.map(({ _id }) => _id) } } as Filter<JobDoc>
    // Others take some of them meanwhile, or all.
    await mongo.run(() => docs.updateMany({ ...those, ...ready }, taking))
    const taken = await mongo.run(() => docs.find({ ...those, token }).toArray())
    const place = (doc: JobDoc): number => first.findIndex(({ _id }) => String(_id) === String(doc._id))
    if (taken.length > 0) return taken.toSorted((one, other) => place(one) - place(other))
  }
}

const DONE = { state: 'done', gone: { $ifNull: ['$until', '$$NOW'] } }
/** Of who is done, only this is left. */
const REST = ['value', 'type', 'headers', 'token', 'at', 'reason', 'freed']

/** What becomes of a job in the hands of who has its token. Each resolves with false where that is somebody else. */
export interface Settling {
  ack(doc: JobDoc): Promise<boolean>
  nack(doc: JobDoc, delay: number): Promise<boolean>
  /** As if it had not been handed out. */
  giveBack(doc: JobDoc): Promise<boolean>
  dead(doc: JobDoc, reason: string): Promise<boolean>
  extend(doc: JobDoc, milliseconds: number): Promise<boolean>
}

export function settling({ mongo, docs }: Jobs, queue: string, attempts: number): Settling {
  const ours = ({ _id, token }: JobDoc): Filter<JobDoc> => ({ _id, token }) as Filter<JobDoc>
  const update = async (doc: JobDoc, what: Document, rest: readonly string[] = []): Promise<boolean> => {
    const stages = [{ $set: what }, ...(rest.length > 0 ? [{ $unset: [...rest] }] : [])]
    return (await mongo.run(() => docs.updateOne(ours(doc), stages))).matchedCount > 0
  }
  return {
    async ack(doc) {
      if (doc.key !== undefined) return update(doc, DONE, REST)
      return (await mongo.run(() => docs.deleteOne(ours(doc)))).deletedCount > 0
    },
    nack(doc, delay) {
      const back = returned(attempts, true, delay > 0 ? 'later' : 'ready', after(delay))
      return update(doc, { ...back, freed: freed(mongo, queue) }, ['token'])
    },
    giveBack: (doc) => update(doc, { state: 'ready', tries: { $subtract: ['$tries', 1] }, freed: freed(mongo, queue) }, ['token']),
    dead: (doc, reason) => update(doc, { state: 'dead', at: '$$NOW', reason: { $literal: reason } }, ['token']),
    extend: (doc, milliseconds) => update(doc, { state: 'taken', at: after(milliseconds) }),
  }
}

/** What waits is gone; the keys are remembered. */
export async function empty({ mongo, docs }: Jobs, queue: string): Promise<number> {
  const waiting = { queue, state: { $in: ['ready', 'later'] } } as Filter<JobDoc>
  const known = await mongo.run(() => docs.updateMany({ ...waiting, key: { $exists: true } }, [{ $set: DONE }, { $unset: REST }]))
  const gone = await mongo.run(() => docs.deleteMany(waiting))
  return known.matchedCount + gone.deletedCount
}

export async function revive({ mongo, docs }: Jobs, queue: string, ids: readonly string[]): Promise<number> {
  const { ObjectId } = mongo.lib
  const either = ids.flatMap((id) => (/^[0-9a-f]{24}$/.test(id) ? [id, new ObjectId(id)] : [id]))
  const dead = { _id: { $in: either }, queue, state: 'dead' } as Filter<JobDoc>
  const back = [{ $set: { state: 'ready', tries: 0, freed: freed(mongo, queue) } }, { $unset: ['reason', 'token', 'at'] }]
  return (await mongo.run(() => docs.updateMany(dead, back))).matchedCount
}

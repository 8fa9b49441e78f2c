/**
 * A key is a document of the collection `PREFIX.state`: `_id` is the key, `value` the value, `revision` is never the same twice, and where it
 * expires `until` says when, by MongoDB's own clock. Who watches is told which keys changed, and reads what they are.
 */
import { createHash } from 'node:crypto'
import type { AnyBulkWriteOperation, ClientSession, Collection, Document, Filter } from 'mongodb'
import type { Change, Revision, SetOptions, StateDriver, StateSink, Stored, Subscription } from '../../driver.js'
import { onceDone } from '../../once-done.js'
import { isAway } from '../broker.js'
import { looking } from '../looking.js'
import { telling } from '../telling.js'
import { isDuplicate, type Mongo } from './connection.js'
import { firstOver, isOver } from './due.js'
import { feed, type Feed } from './feed.js'
import { bodyOf, fieldOf } from './values.js'

interface Doc extends Document {
  readonly _id: string
  readonly value?: unknown
  readonly type?: string
  readonly revision?: string
  readonly until?: Date
}

const PAGE = 100
/** Milliseconds after which values that expired are taken away at the latest, while somebody watches. */
const LOOK = 1000

/** Its time is over, and MongoDB has not taken it away yet: it looks once a minute. */
const OVER: Filter<Doc> = isOver('until')
const THERE: Filter<Doc> = { $nor: [OVER] }
/** Nothing is like this. What makes a document that is not there may not ask with $expr. */
const NONE: Filter<Doc> = { until: { $in: [] } }
const SPECIAL = /[\\^$.*+?()[\]{}|#\s-]/g

interface Keys {
  readonly mongo: Mongo
  readonly docs: Collection<Doc>
  readonly changes: Feed
  /** Resolves when MongoDB takes away what expired. */
  readonly ready: () => Promise<void> | undefined
}

export function state(mongo: Mongo): StateDriver {
  const docs = mongo.collection<Doc>('state')
  const index = async (): Promise<unknown> => docs.createIndex({ until: 1 }, { expireAfterSeconds: 0, sparse: true })
  const keys: Keys = {
    mongo,
    docs,
    changes: feed(mongo, 'state', [{ $project: { operationType: 1, 'documentKey._id': 1 } }]),
    ready: onceDone(async () => void (await mongo.run(index))),
  }
  return {
    async get(key) {
      const doc = await find(keys, key)
      return doc ? storedOf(mongo, doc) : undefined
    },
    async set(key, value, type, options) {
      await keys.ready()
      const { revision, update } = written(mongo, { op: 'set', key, value, type, options })
      return (await put(keys, key, update, options.revision)) ? revision : undefined
    },
    async delete(key, revision) {
      const filter = revision === undefined ? { _id: key, ...THERE } : await at(keys, key, revision)
      return filter !== undefined && (await mongo.run(() => docs.deleteOne(filter))).deletedCount > 0
    },
    batch: (changes) => batch(keys, changes),
    async *list(prefix) {
      for await (const doc of list(keys, prefix)) yield storedOf(mongo, doc)
    },
    watch: (prefix, sink) => watch(keys, prefix, sink),
  }
}

/** Of a document that none of us wrote: what it is. */
const revisionOf = ({ lib }: Mongo, doc: Doc): Revision =>
  typeof doc.revision === 'string' ? doc.revision : `~${createHash('sha256').update(lib.BSON.serialize(doc)).digest('base64url')}`

function storedOf(mongo: Mongo, doc: Doc): Stored {
  const { body, type } = bodyOf(doc.value, doc.type)
  return { key: doc._id, value: body, type, revision: revisionOf(mongo, doc) }
}

const find = ({ mongo, docs }: Keys, key: string): Promise<Doc | null> => mongo.run(() => docs.findOne({ _id: key, ...THERE }))

/** The document while it is at this revision; undefined: it is not. */
async function at(keys: Keys, key: string, revision: Revision): Promise<Filter<Doc> | undefined> {
  if (!revision.startsWith('~')) return { _id: key, revision, ...THERE }
  const doc = await find(keys, key)
  return doc && revisionOf(keys.mongo, doc) === revision ? { _id: key, $expr: { $eq: ['$$ROOT', { $literal: doc }] } } : undefined
}

type Update = Document | Document[]

function written({ lib }: Mongo, { key, value, type, options: { ttl } }: Change & { op: 'set' }): { revision: Revision; update: Update } {
  const revision = new lib.ObjectId().toHexString()
  const doc = { _id: key, ...fieldOf(lib.BSON, value, type), revision }
  if (ttl === undefined) return { revision, update: doc }
  const until = { $add: ['$$NOW', Math.ceil(ttl)] }
  return { revision, update: [{ $replaceWith: { $mergeObjects: [{ $literal: doc }, { until }] } }] }
}

/** False: it is at another revision. */
async function put(keys: Keys, key: string, update: Update, revision: SetOptions['revision']): Promise<boolean> {
  const { mongo, docs } = keys
  const write = async (filter: Filter<Doc>, upsert: boolean): Promise<boolean> => {
    const { matchedCount, upsertedCount } = await mongo.run<{ matchedCount: number; upsertedCount: number }>(() =>
      Array.isArray(update) ? docs.updateOne(filter, update, { upsert }) : docs.replaceOne(filter, update as Doc, { upsert }),
    )
    return matchedCount + upsertedCount > 0
  }
  if (typeof revision === 'string') {
    const filter = await at(keys, key, revision)
    return filter !== undefined && write(filter, false)
  }
  for (;;) {
    try {
      return await write({ _id: key, ...(revision === null && NONE) }, true)
    } catch (reason) {
      if (!isDuplicate(reason)) throw reason
      if (revision === undefined) continue
      if (await write({ _id: key, ...OVER }, false)) return true
      if (await find(keys, key)) return false
    }
  }
}

async function batch(keys: Keys, changes: readonly Change[]): Promise<readonly Revision[] | undefined> {
  const { mongo, docs } = keys
  await keys.ready()
  const revisions: Revision[] = []
  const operations = changes.map((change): AnyBulkWriteOperation<Doc> => {
    const filter = { _id: change.key }
    const { revision, update } = change.op === 'set' ? written(mongo, change) : { revision: '', update: undefined }
    revisions.push(revision)
    if (update === undefined) return { deleteOne: { filter } }
    if (Array.isArray(update)) return { updateOne: { filter, update, upsert: true } }
    return { replaceOne: { filter, replacement: update as Doc, upsert: true } }
  })
  const wanted = changes
    .map((change) => ({ key: change.key, revision: change.op === 'set' ? change.options.revision : change.revision }))
    .filter(({ revision }) => revision !== undefined)
  const apply = async (session: ClientSession): Promise<boolean> => {
    const names = wanted.map(({ key }) => key)
    const found = names.length > 0 ? await docs.find({ _id: { $in: names }, ...THERE }, { session }).toArray() : []
    const known = new Map(found.map((doc) => [doc._id, revisionOf(mongo, doc)]))
    if (wanted.some(({ key, revision }) => (known.get(key) ?? null) !== revision)) return false
    await docs.bulkWrite(operations, { session })
    return true
  }
  const options = { readConcern: { level: 'snapshot' }, writeConcern: { w: 'majority', journal: true } } as const
  const transaction = (): Promise<boolean> => mongo.client.withSession((session) => session.withTransaction(() => apply(session), options))
  for (;;) {
    try {
      return operations.length === 0 || (await mongo.run(transaction)) ? revisions : undefined
    } catch (reason) {
      // Somebody else made the same key.
      if (!isDuplicate(reason)) throw reason
    }
  }
}

/** What begins with the prefix, in the order of the bytes. */
async function* list({ mongo, docs }: Keys, prefix: string): AsyncGenerator<Doc, void, undefined> {
  const $regex = `^${prefix.replaceAll(SPECIAL, '\\$&')}`
  for (let after = ''; ;) {
    const page = await mongo.run(() =>
      docs
        .find({ _id: { $regex, $gt: after }, ...THERE })
        .sort({ _id: 1 })
        .limit(PAGE)
        .toArray(),
    )
    yield* page
    if (page.length < PAGE) return
    after = page.at(-1)!._id
  }
}

async function watch(keys: Keys, prefix: string, sink: StateSink): Promise<Subscription> {
  const { mongo, docs } = keys
  /** What changed since it was read. */
  const changed = new Set<string>()
  let whole = true
  let closed = false
  let timer: NodeJS.Timeout | undefined
  const told = telling(sink, () => closed)
  const readAll = async (): Promise<void> => {
    whole = false
    changed.clear()
    const there = new Set<string>()
    for await (const doc of list(keys, prefix)) {
      if (closed) return
      there.add(doc._id)
      await told.stored(storedOf(mongo, doc))
    }
    await told.only(there)
  }
  const readChanged = async (): Promise<void> => {
    const names = [...changed].slice(0, PAGE)
    for (const key of names) changed.delete(key)
    const found = await mongo.run(() => docs.find({ _id: { $in: names }, ...THERE }).toArray())
    const there = new Map(found.map((doc) => [doc._id, doc]))
    for (const key of names) {
      const doc = there.get(key)
      await (doc ? told.stored(storedOf(mongo, doc)) : told.gone(key))
      if (closed) return
    }
  }
  const pass = async (): Promise<void> => {
    if (whole) await readAll()
    while (!closed && !whole && changed.size > 0) await readChanged()
    if (closed) return
    if (whole) return look()
    const next = await expire(keys)
    clearTimeout(timer)
    timer = setTimeout(look, Math.min(LOOK, next)).unref()
  }
  const { look, idle } = looking(
    pass,
    () => closed,
    (reason) => {
      // What was taken from the changed ones was not read.
      whole = true
      if (!closed && !isAway(reason)) mongo.onError(reason, prefix)
    },
  )
  const anew = (): void => {
    whole = true
    look()
  }
  const ear = await keys.changes.listen({
    heard({ documentKey }) {
      const key: unknown = documentKey?._id
      if (typeof key !== 'string' || !key.startsWith(prefix)) return
      changed.add(key)
      look()
    },
    anew,
  })
  const end = async (): Promise<void> => {
    if (closed) return
    closed = true
    clearTimeout(timer)
    told.free()
    forget()
    back()
    await ear.close()
    await idle()
    sink.ended()
  }
  const back = mongo.back(look)
  const forget = mongo.closing(end)
  look()
  return { resume: told.free, close: end }
}

/** Takes away what expired, so that everybody hears of it; in how many milliseconds the next one does. */
async function expire({ mongo, docs }: Keys): Promise<number> {
  const left = await firstOver(mongo, docs, {}, 'until')
  if (left <= 0) await mongo.run(() => docs.deleteMany(OVER))
  return Math.max(left, 0) + 1
}

/**
 * A lease is a document of the collection `PREFIX.leases`: who holds it and until when, by MongoDB's own clock; who waits, in order. A waiter
 * that says nothing for a while waits no more. `freed` grows when somebody leaves: that is what waiters listen to. The document stays, so that
 * the fence counts on.
 */
import type { Collection, Document } from 'mongodb'
import { TalkwireError } from '../../../error.js'
import type { LeaseAsk, LeaseHolder, LeasesDriver } from '../../driver.js'
import { waking } from '../waking.js'
import { change } from './change.js'
import type { Mongo } from './connection.js'
import { feed, type Ear, type Feed } from './feed.js'

interface Held {
  readonly holder: string
  readonly label?: string
  readonly token: number
  readonly until: Date
}

interface Lease extends Document {
  readonly _id: string
  readonly fence: number
  readonly freed: number
  /** When it was written. */
  readonly now: Date
  readonly holders: readonly Held[]
  readonly waiting: readonly { readonly holder: string; readonly until: Date }[]
}

/** A waiter is asked after within so many milliseconds, and says so three times as often. */
const PATIENCE = 3000

const from = (milliseconds: number): Document => ({ $add: ['$$NOW', Math.ceil(milliseconds)] })
const those = (field: string, cond: Document): Document => ({ $filter: { input: { $ifNull: [`$${field}`, []] }, cond } })
const THERE: Document = { $gt: ['$$this.until', '$$NOW'] }
/** What somebody calls himself may look like a word of MongoDB's. */
const is = (holder: string): Document => ({ $eq: ['$$this.holder', { $literal: holder }] })
const others = (field: string, holder: string): Document => those(field, { $not: [is(holder)] })
const FREED: Document = { $add: [{ $ifNull: ['$freed', 0] }, 1] }
const changed = (field: string, holder: string, what: Document): Document => ({
  $map: { input: `$${field}`, in: { $cond: [is(holder), { $mergeObjects: ['$$this', what] }, '$$this'] } },
})

function asking({ holder, label, ttl, permits }: LeaseAsk, waits: boolean): Document[] {
  const place = { $indexOfArray: [{ $map: { input: '$waiting', in: '$$this.holder' } }, { $literal: holder }] }
  const ours = { holder: { $literal: holder }, ...(label !== undefined && { label: { $literal: label } }) }
  const token = { $add: ['$fence', 1] }
  const patience = { until: from(PATIENCE) }
  const queued = {
    $cond: [
      { $gte: [place, 0] },
      changed('waiting', holder, patience),
      { $concatArrays: ['$waiting', [{ holder: { $literal: holder }, ...patience }]] },
    ],
  }
  return [
    {
      $set: {
        fence: { $ifNull: ['$fence', 0] },
        freed: { $ifNull: ['$freed', 0] },
        now: '$$NOW',
        holders: those('holders', THERE),
        waiting: those('waiting', THERE),
      },
    },
    { $set: { before: { $cond: [{ $gte: [place, 0] }, place, { $size: '$waiting' }] } } },
    { $set: { granted: { $lt: [{ $add: ['$before', { $size: '$holders' }] }, permits] } } },
    {
      $set: {
        fence: { $cond: ['$granted', token, '$fence'] },
        holders: { $cond: ['$granted', { $concatArrays: ['$holders', [{ ...ours, token, until: from(ttl) }]] }, '$holders'] },
        waiting: { $cond: ['$granted', others('waiting', holder), waits ? queued : '$waiting'] },
      },
    },
    { $unset: ['before', 'granted'] },
  ]
}

interface Leases {
  readonly mongo: Mongo
  readonly docs: Collection<Lease>
  readonly changes: Feed
}

export function leases(mongo: Mongo): LeasesDriver {
  const docs = mongo.collection<Lease>('leases')
  const freed = { $ifNull: ['$updateDescription.updatedFields.freed', '$fullDocument.freed'] }
  const stages = [{ $project: { operationType: 1, 'documentKey._id': 1, freed } }]
  const all: Leases = { mongo, docs, changes: feed(mongo, 'leases', stages) }
  /** While it is this holder's. */
  const settle = async (name: string, holder: string, what: Document): Promise<boolean> => {
    const held = { $size: those('holders', { $and: [is(holder), THERE] }) }
    const filter = { _id: name, $expr: { $gt: [held, 0] } }
    return (await mongo.run(() => docs.updateOne(filter, [{ $set: what }]))).matchedCount > 0
  }
  return {
    acquire: (name, ask, signal) => acquire(all, name, ask, signal),
    renew: (name, { holder }, ttl) => settle(name, holder, { holders: changed('holders', holder, { until: from(ttl) }) }),
    release: (name, { holder }) => settle(name, holder, { holders: others('holders', holder), freed: FREED }),
    async inspect(name) {
      const left = { $subtract: ['$$this.until', '$$NOW'] }
      const holders = { $map: { input: those('holders', THERE), in: { $mergeObjects: ['$$this', { left }] } } }
      const stages = [{ $match: { _id: name } }, { $project: { holders, waiters: { $size: those('waiting', THERE) } } }]
      type Found = { holders: (Held & { left: number })[]; waiters: number }
      const [found] = await mongo.run(() => docs.aggregate<Found>(stages).toArray())
      if (!found) return { holders: [], waiters: 0 }
      return { holders: found.holders.map((held) => holderOf(held, held.left)), waiters: found.waiters }
    },
  }
}

const holderOf = ({ holder, label, token }: Held, left: number): LeaseHolder => ({ holder, label, token, left })

const ask = ({ mongo, docs }: Leases, name: string, wish: LeaseAsk, waits: boolean): Promise<Lease> =>
  change(mongo, docs, { _id: name, fence: 0, freed: 0, now: new Date(0), holders: [], waiting: [] }, asking(wish, waits))

const grantIn = ({ holders }: Lease, { holder, ttl }: LeaseAsk): LeaseHolder | undefined => {
  const held = holders.find((each) => each.holder === holder)
  return held && holderOf(held, ttl)
}

/** Milliseconds after which somebody's time may be over, or ours to say that we wait. */
const nextIn = ({ now, holders, waiting }: Lease): number =>
  Math.min(PATIENCE / 3, ...[...holders, ...waiting].map(({ until }) => until.getTime() - now.getTime() + 1))

async function acquire(all: Leases, name: string, wish: LeaseAsk, signal: AbortSignal | undefined): Promise<LeaseHolder | undefined> {
  signal?.throwIfAborted()
  const got = wish.wait > 0 ? await wait(all, name, wish, signal) : grantIn(await ask(all, name, wish, false), wish)
  if (signal?.aborted) {
    if (got) await leave(all, name, wish.holder)
    signal.throwIfAborted()
  }
  return got
}

/** Undefined also where it was aborted. */
async function wait(all: Leases, name: string, wish: LeaseAsk, signal: AbortSignal | undefined): Promise<LeaseHolder | undefined> {
  const { mongo, changes } = all
  const until = performance.now() + wish.wait
  let seen: number | undefined
  let closed = false
  const awake = waking()
  let ear: Ear | undefined
  const listen = (): Promise<Ear> =>
    changes.listen({
      heard({ operationType, documentKey, freed }) {
        if (documentKey?._id === name && (operationType === 'delete' || (freed !== undefined && freed !== seen))) awake.call()
      },
      anew: awake.call,
    })
  signal?.addEventListener('abort', awake.call, { once: true })
  const attempts = async (): Promise<LeaseHolder | undefined> => {
    let isOurs = false
    try {
      for (;;) {
        awake.looks()
        const lease = await ask(all, name, wish, true)
        seen = lease.freed
        const got = grantIn(lease, wish)
        isOurs = got !== undefined
        const left = until - performance.now()
        if (got || left <= 0 || signal?.aborted) return got
        if (closed) throw new TalkwireError('CLOSED', 'the hub was closed')
        // What was freed before is not heard.
        if (!ear) ear = await listen()
        else await awake.pause(Math.min(nextIn(lease), left))
      }
    } finally {
      // What failed may have been granted.
      if (!isOurs) await leave(all, name, wish.holder).catch(() => {})
    }
  }
  const waiting = attempts()
  const forget = mongo.closing(async () => {
    closed = true
    awake.call()
    await waiting.catch(() => {})
  })
  try {
    return await waiting
  } finally {
    forget()
    signal?.removeEventListener('abort', awake.call)
    await ear?.close()
  }
}

async function leave({ mongo, docs }: Leases, name: string, holder: string): Promise<void> {
  const there = { $or: [{ 'waiting.holder': holder }, { 'holders.holder': holder }] }
  const what = { holders: others('holders', holder), waiting: others('waiting', holder), freed: FREED }
  await mongo.run(() => docs.updateOne({ _id: name, ...there }, [{ $set: what }]))
}

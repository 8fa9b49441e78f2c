/**
 * A group is a document of the collection `PREFIX.groups`: the place of what its members take next. Who moves it has what stands between, and
 * tells it; `token` is the mover's, new each time.
 */
import type { Collection, Document, Filter } from 'mongodb'
import type { SubscribeOptions, Subscription, TopicMessage, TopicSink } from '../../driver.js'
import { isDuplicate } from './connection.js'
import { attend, tell } from './hearing.js'
import type { Log, Place } from './log.js'

interface Group extends Document, Place {
  readonly _id: string
  readonly token?: string
}

/** Messages that a member takes at once, at most. */
const MOST = 64
/** Places after which a group moves on where there is nothing for it: who joins begins there. */
const FAR = 1000

/** From where to where a member wants to move the group. */
interface Step {
  readonly from: Place
  readonly to: Place
  readonly token: string
  readonly messages: readonly TopicMessage[]
  readonly lost: number
}

export async function member(
  log: Log,
  group: string,
  pattern: string,
  { from, buffer }: SubscribeOptions,
  sink: TopicSink,
): Promise<Subscription> {
  const { mongo } = log
  const docs: Collection<Group> = mongo.collection('groups')
  // No pattern has a space.
  const _id = `${group} ${pattern}`
  const most = Math.min(buffer, MOST)
  /** Where the group was, as far as we know; and until where there is nothing for it. */
  let known: { readonly at: Place; readonly seen: Place } | undefined
  let step: Step | undefined
  let room = true
  /** Taken, and nobody else's. */
  const held: TopicMessage[] = []

  const recorded = async (start: Place): Promise<Place> => {
    for (;;) {
      const doc = await mongo.run(() => docs.findOne({ _id }))
      if (doc) return { log: String(doc.log), doc: Number(doc.doc), skip: Number(doc.skip) }
      try {
        await mongo.run(() => docs.insertOne({ _id, ...start }))
      } catch (reason) {
        if (!isDuplicate(reason)) throw reason
      }
    }
  }
  /** Undefined: there is nothing to take. */
  const next = async (): Promise<Step | undefined> => {
    if (!known) {
      const at = await recorded(begin)
      known = { at, seen: await log.known(at) }
    }
    const { at, seen } = known
    const messages: TopicMessage[] = []
    let to = seen
    let lost = 0
    for (let more = true; more && messages.length === 0;) {
      const batches = await log.read(to.doc)
      more = batches.length > 0
      to = tell(batches, to, pattern, 'all', {
        message: (message) => messages.push(message) < most,
        lost: (count) => (lost += count),
      })
    }
    known = { at, seen: to }
    if (messages.length === 0 && lost === 0 && Math.abs(to.doc - at.doc) < FAR) return undefined
    return { from: at, to, token: new mongo.lib.ObjectId().toHexString(), messages, lost }
  }
  /** False: there is nothing. */
  const take = async (): Promise<boolean> => {
    // One of which we do not know how it ended is tried again as it was.
    step ??= await next()
    if (!step) return false
    const { from: at, to, token, messages, lost } = step
    const ours = { _id, $or: [at, { token }] } as Filter<Group>
    const { matchedCount } = await mongo.run(() => docs.updateOne(ours, { $set: { ...to, token } }))
    step = undefined
    known = matchedCount > 0 ? { at: to, seen: to } : undefined
    if (matchedCount === 0) return true
    if (lost > 0) sink.lost(lost)
    held.push(...messages)
    return true
  }
  const give = (): boolean => {
    while (room && held.length > 0) room = sink.message(held.shift()!)
    return room
  }
  const begin = await log.begin(from)
  await recorded(begin)
  const attention = await attend(log, _id, {
    async pass(over) {
      while (!over() && give() && (await take()));
    },
    async anew() {
      known = undefined
    },
    ended() {
      // What this member has taken is in nobody else's hands: its sink gets it, over its buffer.
      for (const message of held.splice(0)) sink.message(message)
      sink.ended()
    },
  })
  return {
    resume() {
      room = true
      attention.look()
    },
    close: attention.close,
  }
}

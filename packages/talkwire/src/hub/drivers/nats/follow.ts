/** What stands in a bucket and what changes in it, by a consumer of its stream. */
import type { Subscription } from '../../driver.js'
import { lastOf, type Bucket, type Last } from './bucket.js'
import { delivery, untoken, type Nats } from './connection.js'
import { puller, type Pull } from './pull.js'
import { trying } from './trying.js'

const BATCH = 64

/** Everything that was there has been told: of these keys there was something. */
export interface There {
  readonly there: ReadonlySet<string>
}

/** Everything of the bucket; begins anew after an interruption. `tell` returns false when enough is buffered. */
export async function follow(nats: Nats, kv: Bucket, tell: (what: Last | There) => boolean): Promise<Subscription> {
  await kv.ready()
  let pull: Pull | undefined
  let closed = false
  let room = true
  let left = 0
  let name = ''
  let last = 0
  let making: Promise<void> | undefined
  /** Of those that are there while they come. */
  let there: Set<string> | undefined
  const held: (Last | There)[] = []
  const give = (): void => {
    while (room && !closed && held.length > 0) room = tell(held.shift()!)
    // What expires meanwhile does not come: the server says when there is nothing more.
    if (room && !closed && !nats.away && pull && pull.open === 0) pull.ask(BATCH, there === undefined)
  }
  const all = (): void => {
    if (!there) return
    held.push({ there })
    there = undefined
  }
  const create = async (): Promise<void> => {
    const made = await consumer(nats, kv)
    ;({ name, left } = made)
    there = new Set()
    const mine: Pull = puller(
      nats,
      kv.stream,
      name,
      (message) => {
        if (pull !== mine || closed) return
        const { seq, time } = delivery(message.reply!)
        const key = untoken(message.subject.slice(kv.root.length))
        there?.add(key)
        if (seq > last) held.push(lastOf(key, seq, time, message.data, (header) => message.headers?.get(header)))
        last = Math.max(last, seq)
        if (--left === 0) all()
        give()
      },
      (gone, none) => {
        if (pull !== mine) return
        if (gone) return remake()
        if (none) all()
        give()
      },
    )
    pull = mine
    if (left === 0) all()
    give()
  }
  const remake = (): void => {
    if (closed || nats.away || making) return
    pull?.stop()
    pull = undefined
    making = trying(create, () => closed || nats.away)
      .catch((reason: unknown) => {
        if (!closed && !nats.away) nats.onError(reason, kv.stream)
      })
      .finally(() => (making = undefined))
  }
  await create()
  const forget = nats.back(remake)
  return {
    resume() {
      room = true
      give()
    },
    async close() {
      if (closed) return
      closed = true
      forget()
      await making
      pull?.stop()
      if (!nats.away && !nats.closed) await nats.api(`CONSUMER.DELETE.${kv.stream}.${name}`).catch(() => {})
    },
  }
}

/** The last of each key is told first, then what changes. */
async function consumer(nats: Nats, kv: Bucket): Promise<{ name: string; left: number }> {
  const config = {
    deliver_policy: 'last_per_subject',
    ack_policy: 'none',
    filter_subject: `${kv.root}>`,
    inactive_threshold: 60e9,
    mem_storage: true,
  }
  const made = await nats.api(`CONSUMER.CREATE.${kv.stream}`, { stream_name: kv.stream, config })
  return { name: made.name, left: made.num_pending }
}

/** State is a bucket as NATS' key-value stores are: the stream `KV_PREFIX`, a key's last message is its value, a revision its place. */
import { TalkwireError } from '../../../error.js'
import type { BodyType, SetOptions, StateDriver, StateSink, Stored, Subscription } from '../../driver.js'
import { onceDone } from '../../once-done.js'
import { bodyTypeOf } from '../broker.js'
import { CONFLICT, delivery, jetStreamCode, NO_MESSAGE, puller, token, untoken, type Nats, type Pull } from './connection.js'

const OPERATION = 'KV-Operation'
const EXPECT = 'Nats-Expected-Last-Subject-Sequence'
const NOTHING = { body: new Uint8Array(), type: 'bytes', headers: {} } as const

export interface Bucket {
  ready(): Promise<void>
  readonly stream: string
  readonly root: string
  /** What stands last at the key, also a deletion. */
  last(key: string): Promise<{ readonly seq: number; readonly gone: boolean; readonly stored: Stored; readonly time: number } | undefined>
  /** Undefined: something else stands there. `expect` undefined: whatever stands there. */
  put(key: string, body: Uint8Array, type: BodyType, expect: number | undefined): Promise<number | undefined>
  remove(key: string, expect: number | undefined): Promise<boolean>
}

export function bucket(nats: Nats, name: string): Bucket {
  const stream = `KV_${name}`
  const root = `$KV.${name}.`
  const config = {
    subjects: [`${root}>`],
    max_msgs_per_subject: 1,
    allow_rollup_hdrs: true,
    deny_delete: true,
    allow_direct: true,
    discard: 'new',
  }
  const ready = onceDone(() => nats.ensure(stream, config))
  const write = async (
    key: string,
    body: Uint8Array,
    type: BodyType,
    expect: number | undefined,
    operation?: string,
  ): Promise<number | undefined> => {
    await ready()
    const extra = { ...(expect !== undefined && { [EXPECT]: String(expect) }), ...(operation !== undefined && { [OPERATION]: operation }) }
    try {
      return (await nats.store(root + token(key), { body, type, headers: {} }, extra)).seq
    } catch (reason) {
      if (jetStreamCode(reason) === CONFLICT) return undefined
      throw reason
    }
  }
  return {
    ready: async () => ready(),
    stream,
    root,
    async last(key) {
      await ready()
      // Asked of who leads the stream: others may not have it yet.
      const answer = await nats.api(`STREAM.MSG.GET.${stream}`, { last_by_subj: root + token(key) }).catch((reason: unknown) => {
        if (jetStreamCode(reason) === NO_MESSAGE) return undefined
        throw reason
      })
      if (!answer) return undefined
      const { seq, data = '', hdrs, time } = answer.message
      const lines = Buffer.from(hdrs ?? '', 'base64').toString()
      const type = /content-type: *([^\r;]*)/i.exec(lines)?.[1]
      const stored = { key, value: Buffer.from(data, 'base64'), type: bodyTypeOf(type ?? ''), revision: String(seq) }
      return { seq, gone: /kv-operation:/i.test(lines), stored, time: Date.parse(time) }
    },
    put: (key, body, type, expect) => write(key, body, type, expect),
    remove: async (key, expect) => (await write(key, NOTHING.body, NOTHING.type, expect, 'DEL')) !== undefined,
  }
}

export function state(nats: Nats): StateDriver {
  const kv = bucket(nats, nats.prefix)
  return {
    async get(key) {
      const found = await kv.last(key)
      return found && !found.gone ? found.stored : undefined
    },
    async set(key, value, type, { revision, ttl }: SetOptions) {
      if (ttl !== undefined) throw new TalkwireError('UNSUPPORTED', 'nats has no ttl for single values; embedded and redis have it')
      if (revision === undefined) return text(await kv.put(key, value, type, undefined))
      if (revision !== null) return text(await kv.put(key, value, type, Number(revision)))
      // None is there, or a deletion is the last.
      const found = await kv.last(key)
      return found && !found.gone ? undefined : text(await kv.put(key, value, type, found?.seq ?? 0))
    },
    async delete(key, revision) {
      for (;;) {
        const found = await kv.last(key)
        if (!found || found.gone || (revision !== undefined && found.stored.revision !== revision)) return false
        if (await kv.remove(key, found.seq)) return true
      }
    },
    list: (prefix) => list(nats, kv, prefix),
    watch: (prefix, sink) => watch(nats, kv, prefix, sink),
  }
}

const text = (seq: number | undefined): string | undefined => (seq === undefined ? undefined : String(seq))

/** The last of each key is told first, then what changes. `after`: only what stands behind it. */
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

interface Told {
  readonly stored: Stored
  readonly gone: boolean
  readonly seq: number
}

async function* list(nats: Nats, kv: Bucket, prefix: string): AsyncGenerator<Stored, void, undefined> {
  const found: Stored[] = []
  let free!: () => void
  const all = new Promise<void>((resolve) => (free = resolve))
  const watching = await follow(nats, kv, (told) => {
    if (told === 'there') free()
    else if (!told.gone && told.stored.key.startsWith(prefix)) found.push(told.stored)
    return true
  })
  await all
  await watching.close()
  yield* found
}

/** Everything of the bucket; begins anew after an interruption. */
async function follow(nats: Nats, kv: Bucket, tell: (what: Told | 'there') => boolean): Promise<Subscription> {
  await kv.ready()
  let pull: Pull | undefined
  let closed = false
  let room = true
  let left = 0
  let name = ''
  let last = 0
  let making: Promise<void> | undefined
  const held: (Told | 'there')[] = []
  const give = (): void => {
    while (room && !closed && held.length > 0) room = tell(held.shift()!)
    if (room && !closed && !nats.away && pull && pull.open === 0) pull.ask(64)
  }
  const create = async (): Promise<void> => {
    const made = await consumer(nats, kv)
    ;({ name, left } = made)
    const mine: Pull = puller(
      nats,
      kv.stream,
      name,
      (message) => {
        if (pull !== mine || closed) return
        const { seq } = delivery(message.reply!)
        const { body, type } = nats.incoming(message)
        const key = untoken(message.subject.slice(kv.root.length))
        if (seq > last)
          held.push({ stored: { key, value: body, type, revision: String(seq) }, gone: message.headers?.has(OPERATION) ?? false, seq })
        last = Math.max(last, seq)
        if (--left === 0) held.push('there')
        give()
      },
      (gone) => {
        if (pull === mine) (gone ? remake : give)()
      },
    )
    pull = mine
    if (left === 0) held.push('there')
    give()
  }
  const remake = (): void => {
    if (closed || nats.away || making) return
    pull?.stop()
    pull = undefined
    making = create()
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

async function watch(nats: Nats, kv: Bucket, prefix: string, sink: StateSink): Promise<Subscription> {
  const known = new Set<string>()
  let closed = false
  const under = await follow(nats, kv, (told) => {
    if (told === 'there' || !told.stored.key.startsWith(prefix)) return true
    const { key } = told.stored
    if (!told.gone) {
      known.add(key)
      return sink.changed(told.stored)
    }
    return known.delete(key) ? sink.changed({ key, gone: true }) : true
  })
  const end = async (): Promise<void> => {
    if (closed) return
    closed = true
    forget()
    await under.close()
    sink.ended()
  }
  const forget = nats.closing(end)
  return { resume: () => under.resume(), close: end }
}

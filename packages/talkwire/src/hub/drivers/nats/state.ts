/**
 * State is a bucket. The server lets values expire in whole seconds, rounded up: it takes them away and tells who watches. What counts for who
 * asks is the exact time beside it, by the server's clock; who finds a value whose time is over takes it away at once, so that nobody who
 * compares with it comes after somebody who was told that it is gone.
 */
import { TalkwireError } from '../../../error.js'
import type { Change, StateDriver, StateSink, Stored, Subscription } from '../../driver.js'
import { bucket, revisionOf, seqOf, type Bucket, type Last, type Write } from './bucket.js'
import type { Nats } from './connection.js'
import { follow } from './follow.js'

export function state(nats: Nats): StateDriver {
  const kv = bucket(nats, nats.prefix, true)
  const last = async (key: string): Promise<Last | undefined> => {
    for (;;) {
      const found = await kv.last(key)
      if (!found || found.gone || found.until === undefined || !isOver(found.until, await kv.now())) return found
      await kv.remove(key, found.seq)
    }
  }
  /** Undefined: another value stands there. `looks`: also where the server can tell. */
  const expected = async (key: string, revision: string | null, looks = false): Promise<number | undefined> => {
    const known = revision === null ? undefined : seqOf(revision)
    if (known && !known.expires && !looks) return known.seq
    const found = await last(key)
    const isThere = found !== undefined && !found.gone
    if (revision === null) return isThere ? undefined : (found?.seq ?? 0)
    return isThere && found.stored.revision === revision ? found.seq : undefined
  }
  return {
    async get(key) {
      const found = await last(key)
      return found && !found.gone ? found.stored : undefined
    },
    async set(key, value, type, { revision, ttl }) {
      if (ttl !== undefined && nats.level < 1)
        throw new TalkwireError('UNSUPPORTED', 'NATS before 2.11 has no ttl for single values; take a later server, or embedded or redis')
      for (;;) {
        const expect = revision === undefined ? undefined : await expected(key, revision)
        if (revision !== undefined && expect === undefined) return undefined
        const seq = await kv.put(key, value, type, expect, ttl)
        if (seq !== undefined) return revisionOf(seq, ttl !== undefined)
        // Where there was nothing a mark of that may have come, or gone.
        if (revision !== null) return undefined
      }
    },
    async delete(key, revision) {
      for (;;) {
        const found = await last(key)
        if (!found || found.gone || (revision !== undefined && found.stored.revision !== revision)) return false
        if (await kv.remove(key, found.seq)) return true
      }
    },
    ...(nats.level >= 2 && { batch: (changes: readonly Change[]) => batch(kv, changes, expected) }),
    list: (prefix) => list(nats, kv, prefix),
    watch: (prefix, sink) => watch(nats, kv, prefix, sink),
  }
}

type Expected = (key: string, revision: string | null, looks: boolean) => Promise<number | undefined>

/** Undefined: some condition does not hold, and nothing is changed. */
async function batch(kv: Bucket, changes: readonly Change[], expected: Expected): Promise<readonly string[] | undefined> {
  for (let looks = false; ; looks = true) {
    const expects = await expectedOf(changes, (key, revision) => expected(key, revision, looks))
    if (!expects) return undefined
    const writes = changes.map((change): Write => {
      // The server compares with what was there before, so only the first write to a key can say it.
      const expect = expects.get(change.key)
      expects.delete(change.key)
      if (change.op === 'delete') return { key: change.key, body: new Uint8Array(), type: 'bytes', expect, gone: true }
      return { key: change.key, body: change.value, type: change.type, expect, ttl: change.options.ttl }
    })
    const seqs = await kv.all(writes)
    // Else another was faster, or a mark of what was there came or went: that is looked at.
    if (seqs) return seqs.map((seq, index) => (writes[index]!.gone ? '' : revisionOf(seq, writes[index]!.ttl !== undefined)))
  }
}

async function expectedOf(
  changes: readonly Change[],
  expected: (key: string, revision: string | null) => Promise<number | undefined>,
): Promise<Map<string, number> | undefined> {
  const expects = new Map<string, number>()
  for (const change of changes) {
    const revision = change.op === 'delete' ? change.revision : change.options.revision
    if (revision === undefined) continue
    const expect = await expected(change.key, revision)
    if (expect === undefined || expect !== (expects.get(change.key) ?? expect)) return undefined
    expects.set(change.key, expect)
  }
  return expects
}

/** Both are in whole milliseconds, rounded down: one more, and it is not too early. */
const isOver = (until: number, now: number): boolean => now > until

async function* list(nats: Nats, kv: Bucket, prefix: string): AsyncGenerator<Stored, void, undefined> {
  const found = new Map<string, Last>()
  let free!: () => void
  const all = new Promise<void>((resolve) => (free = resolve))
  const watching = await follow(nats, kv, (told) => {
    if ('there' in told) free()
    else if (told.stored.key.startsWith(prefix)) found.set(told.stored.key, told)
    return true
  })
  await all
  await watching.close()
  const there = [...found.values()].filter(({ gone }) => !gone)
  const now = there.some(({ until }) => until !== undefined) ? await kv.now() : 0
  for (const { until, stored } of there) if (until === undefined || !isOver(until, now)) yield stored
}

async function watch(nats: Nats, kv: Bucket, prefix: string, sink: StateSink): Promise<Subscription> {
  const known = new Set<string>()
  let closed = false
  const gone = (key: string): boolean => (known.delete(key) ? sink.changed({ key, gone: true }) : true)
  const under = await follow(nats, kv, (told) => {
    // What went while we were away, and is not even known to have gone.
    if ('there' in told) {
      const lost = [...known].filter((key) => !told.there.has(key))
      return lost.map(gone).at(-1) ?? true
    }
    const { key } = told.stored
    if (!key.startsWith(prefix)) return true
    if (told.gone) return gone(key)
    known.add(key)
    return sink.changed(told.stored)
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

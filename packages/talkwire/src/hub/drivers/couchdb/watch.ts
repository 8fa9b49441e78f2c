/** Who watches reads what is there, then the feed of changes, which goes on behind the last change that was told. */
import type { StateSink, Subscription } from '../../driver.js'
import { isAway, pauses } from '../broker.js'
import { telling } from '../telling.js'
import type { Info, Sequence } from './connection.js'
import { isDocument, keyOf } from './documents.js'
import { list } from './list.js'
import { storedOf, type Store } from './store.js'

/** A line of the feed. */
interface Line {
  readonly seq?: Sequence
  readonly id?: unknown
  readonly deleted?: unknown
  readonly doc?: unknown
}

const numberOf = (sequence: Sequence): number => Number.parseInt(String(sequence), 10)

export async function watch(store: Store, prefix: string, sink: StateSink): Promise<Subscription> {
  const { couch, read } = store
  const over = new AbortController()
  const { signal } = over
  let whole = true
  let from: Info = await couch.info()
  let pause = pauses()

  const told = telling(sink, () => signal.aborted)
  const readAll = async (): Promise<void> => {
    const there = new Set<string>()
    for await (const stored of list(store, prefix)) {
      there.add(stored.key)
      await told.stored(stored)
      signal.throwIfAborted()
    }
    await told.only(there)
    whole = false
  }
  const take = async ({ id, doc, deleted }: Line): Promise<void> => {
    const key = typeof id === 'string' ? keyOf(couch, id) : undefined
    if (key === undefined || !key.startsWith(prefix)) return
    const found = isDocument(doc) && !doc['_deleted'] ? doc : deleted ? undefined : await read(id as string)
    const stored = found && told.knows(key, found._rev) ? undefined : await storedOf(store, key, found)
    if (stored) await told.stored(stored)
    else if (!found) await told.gone(key)
  }
  /** Until the feed ends. */
  const follow = async (): Promise<void> => {
    const now = await couch.info()
    // Another database, or an older one: what was told of the last one says nothing of it.
    if (now.instance !== from.instance || numberOf(now.sequence) < numberOf(from.sequence)) whole = true
    if (whole) {
      from = now
      await readAll()
    }
    for await (const line of couch.feed(from.sequence, signal)) {
      await take(line)
      signal.throwIfAborted()
      if (line.seq !== undefined) from = { ...from, sequence: line.seq }
      pause = pauses()
    }
  }
  const run = async (): Promise<void> => {
    while (!signal.aborted) {
      const reason = await follow().catch((failed: unknown) => failed)
      if (reason !== undefined && !isAway(reason)) whole = true
      if (!signal.aborted) await couch.again(pause, reason, prefix, signal)
    }
  }
  const running = run()
  const end = async (): Promise<void> => {
    if (signal.aborted) return
    over.abort()
    pause.end()
    told.free()
    forget()
    await running
    sink.ended()
  }
  const forget = couch.closing(end)
  return { resume: told.free, close: end }
}

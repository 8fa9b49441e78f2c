/** Who watches reads what is there, then the feed of changes, which goes on behind the last change that was told. */
import type { StateSink, Stored, Subscription } from '../../driver.js'
import { isAway, pauses } from '../broker.js'
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
  /** What the sink knows. */
  const known = new Map<string, string>()
  const over = new AbortController()
  const { signal } = over
  let whole = true
  let from: Info = await couch.info()
  let pause = pauses()
  let free: (() => void) | undefined

  const tell = async (change: Parameters<StateSink['changed']>[0]): Promise<void> => {
    if (signal.aborted || sink.changed(change)) return
    await new Promise<void>((resolve) => (free = resolve))
    free = undefined
  }
  const tellStored = async (stored: Stored): Promise<void> => {
    if (known.get(stored.key) === stored.revision) return
    known.set(stored.key, stored.revision)
    await tell(stored)
  }
  const tellGone = async (key: string): Promise<void> => {
    if (known.delete(key)) await tell({ key, gone: true })
  }
  const readAll = async (): Promise<void> => {
    const there = new Set<string>()
    for await (const stored of list(store, prefix)) {
      there.add(stored.key)
      await tellStored(stored)
      signal.throwIfAborted()
    }
    for (const key of known.keys()) if (!there.has(key)) await tellGone(key)
    whole = false
  }
  const take = async ({ id, doc, deleted }: Line): Promise<void> => {
    const key = typeof id === 'string' ? keyOf(couch, id) : undefined
    if (key === undefined || !key.startsWith(prefix)) return
    const found = isDocument(doc) && !doc['_deleted'] ? doc : deleted ? undefined : await read(id as string)
    const stored = found && known.get(key) === found._rev ? undefined : await storedOf(store, key, found)
    if (stored) await tellStored(stored)
    else if (!found) await tellGone(key)
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
    free?.()
    forget()
    await running
    sink.ended()
  }
  const forget = couch.closing(end)
  return { resume: () => free?.(), close: end }
}

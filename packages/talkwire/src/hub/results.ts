/** What became of jobs: kept as state for a time, for whoever pushed them. */
import { fromJson, toJson } from '../codecs/plain-json.js'
import { TalkwireError } from '../error.js'
import type { Base } from './base.js'
import { Inbox } from './inbox.js'
import { after } from '../timers.js'

type Told =
  | { readonly state: 'progress'; readonly value: unknown }
  | { readonly state: 'done'; readonly value: unknown }
  | { readonly state: 'failed'; readonly reason: string }

export interface Results {
  progress(id: string, value: unknown): Promise<void>
  done(id: string, value: unknown): Promise<void>
  failed(id: string, reason: string): Promise<void>
  result(id: string, options: { readonly timeout?: number; readonly signal?: AbortSignal }): Promise<unknown>
  follow(id: string): AsyncIterableIterator<unknown>
}

export function results(base: Base, queue: string, ttl: number): Results {
  const key = (id: string): string => `results.${queue}.${id}`
  const tell = async (id: string, told: Told): Promise<void> => {
    await base.driver.state!.set(key(id), Buffer.from(toJson(told)), 'json', { ttl })
  }
  return {
    progress: (id, value) => tell(id, { state: 'progress', value }),
    done: (id, value) => tell(id, { state: 'done', value: value ?? null }),
    failed: (id, reason) => tell(id, { state: 'failed', reason }),
    async result(id, { timeout, signal }) {
      signal?.throwIfAborted()
      for await (const told of changes(base, key(id), timeout, signal)) {
        if (told.state === 'done') return told.value
        if (told.state === 'failed') throw died(id, told.reason)
      }
      signal?.throwIfAborted()
      throw new TalkwireError('DEADLINE_EXCEEDED', `the job ${id} was not done within ${timeout} ms`, { outcome: 'maybe-ran' })
    },
    async *follow(id) {
      for await (const told of changes(base, key(id), undefined, undefined)) {
        if (told.state === 'progress') yield told.value
        else if (told.state === 'failed') throw died(id, told.reason)
        else return
      }
    },
  }
}

const died = (id: string, reason: string): TalkwireError =>
  new TalkwireError('NOT_FOUND', `the job ${id} has no result, it became a dead letter: ${reason}`, { outcome: 'ran' })

async function* changes(base: Base, key: string, timeout: number | undefined, signal: AbortSignal | undefined): AsyncGenerator<Told> {
  await base.need('watch')
  const inbox = new Inbox<Told>(1_000, 'drop-oldest', { room() {}, stop: async () => {} }, (item) => item)
  const timer = after(timeout, () => inbox.end())
  const abort = (): void => inbox.end()
  signal?.addEventListener('abort', abort, { once: true })
  const watch = await base.driver.state!.watch!(key, {
    changed(change) {
      if (change.key === key && !('gone' in change)) inbox.push(fromJson(Buffer.from(change.value)) as Told)
      return true
    },
    ended: (error) => inbox.end(error),
  })
  try {
    yield* inbox
  } finally {
    clearTimeout(timer)
    signal?.removeEventListener('abort', abort)
    await watch.close()
  }
}

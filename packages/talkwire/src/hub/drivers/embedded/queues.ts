/** Work queues of the embedded hub. */
import { TalkwireError } from '../../../error.js'
import type { Consumption, DeadLetter, Headers, Job, JobSink, QueuesDriver } from '../../driver.js'
import type { RawJob } from '../../embedded/streams.js'
import { typeName, typeNumber, viewOf } from '../../packed.js'
import { beginsAgain, openFlow, type HubLink } from './link.js'

/** Jobs of all callers of a turn go in one list, and so do acknowledgements. */
function gather<T, R>(send: (queue: string, items: readonly T[]) => Promise<readonly R[]>): (queue: string, item: T) => Promise<R> {
  let lists = new Map<string, { readonly item: T; resolve: (answer: R) => void; reject: (reason: unknown) => void }[]>()
  const leave = (): void => {
    const all = lists
    lists = new Map()
    for (const [queue, list] of all)
      send(
        queue,
        list.map(({ item }) => item),
      ).then(
        (answers) => {
          for (const [index, { resolve }] of list.entries()) resolve(answers[index]!)
        },
        (reason: unknown) => {
          for (const { reject } of list) reject(reason)
        },
      )
  }
  return (queue, item) =>
    new Promise((resolve, reject) => {
      if (lists.size === 0) process.nextTick(leave)
      const list = lists.get(queue) ?? []
      if (list.length === 0) lists.set(queue, list)
      list.push({ item, resolve, reject })
    })
}

type RawNew = readonly [body: Uint8Array, type: number, headers: Headers | null, delay: number, priority: number, key: string | null]

export function embeddedQueues(link: HubLink): QueuesDriver {
  const ack = gather<readonly [number, number], boolean>((queue, receipts) => link.later(['ack', queue, receipts]))
  let consumers = 0
  return {
    async declare(queue, { visibility, attempts, dedupe }) {
      await link.ask(['declare', queue, visibility, attempts, dedupe])
    },
    async push(queue, jobs) {
      link.check()
      const raw = jobs.map(({ body, type, headers, delay, priority, key }): RawNew => [
        body,
        typeNumber(type),
        Object.keys(headers).length > 0 ? headers : null,
        delay,
        priority,
        key ?? null,
      ])
      const ids = await link.ask<number[]>(
        ['push', queue, raw],
        raw.reduce((bytes, [body]) => bytes + body.length, 0),
      )
      return ids.map(String)
    },
    consume: (queue, sink) => consume(link, queue, ++consumers, sink, ack),
    async counts(queue) {
      const [ready, delayed, taken, dead] = await link.ask<[number, number, number, number]>(['counts', queue])
      return { ready, delayed, taken, dead }
    },
    purge: (queue) => link.ask(['purge', queue]),
    async deadLetters(queue, limit) {
      link.check()
      const letters = (await link.client.deadLetters({ queue, limit: Math.min(limit, 1000), raw: true })) as {
        id: number
        reason: string
        attempts: number
        headers: Headers
        type: number
        body: Uint8Array
      }[]
      return letters.map(({ id, type, body, ...rest }): DeadLetter => ({
        ...rest,
        id: String(id),
        type: typeName(type),
        body: viewOf(body),
      }))
    },
    revive: (queue, ids) => link.ask(['revive', queue, ids.map(Number)]),
  }
}

async function consume(
  link: HubLink,
  queue: string,
  consumer: number,
  sink: JobSink,
  ack: (queue: string, receipt: readonly [number, number]) => Promise<boolean>,
): Promise<Consumption> {
  let wanted = 0
  let closed = false
  const flow = await openFlow(link, {
    begin: (signal) => link.client.work({ queue, consumer, want: wanted }, { signal }),
    take(jobs: readonly RawJob[]) {
      for (const job of jobs) if (!closed) sink.job(jobOf(link, queue, job, ack))
      return undefined
    },
    interrupted() {},
    ended: (error) => sink.ended(error),
  })
  return {
    want(jobs) {
      if (jobs === wanted || closed) return
      wanted = jobs
      link.ask(['want', consumer, jobs]).catch((reason: unknown) => {
        // The stream begins again with what is wanted.
        if (!link.closed && !beginsAgain(reason)) link.onError(reason, queue)
      })
    },
    async close() {
      closed = true
      await flow.close()
    },
  }
}

function jobOf(
  link: HubLink,
  queue: string,
  [id, receipt, attempt, time, type, headers, body]: RawJob,
  ack: (queue: string, receipt: readonly [number, number]) => Promise<boolean>,
): Job {
  const settle = async (...words: unknown[]): Promise<void> => {
    const [name, ...rest] = words
    await link.ask([name, queue, id, receipt, ...rest])
  }
  return {
    id: String(id),
    attempt,
    time,
    type: typeName(type),
    headers: headers ?? {},
    body: viewOf(body),
    async ack() {
      link.check()
      if (await ack(queue, [id, receipt])) return
      throw new TalkwireError('NOT_FOUND', `the job ${id} is not ours any more: its time was over, or it is done`, { outcome: 'ran' })
    },
    nack: (delay) => settle('nack', delay),
    dead: (reason) => settle('dead', reason),
    extend: (milliseconds) => settle('extend', milliseconds),
  }
}

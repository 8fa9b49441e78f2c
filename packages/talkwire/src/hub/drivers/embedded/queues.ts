/** Work queues of the embedded hub. */
import { TalkwireError } from '../../../error.js'
import type { Consumption, DeadLetter, Headers, Job, JobSink, NewJob, QueuesDriver } from '../../driver.js'
import type { RawJob } from '../../embedded/streams.js'
import { typeName, typeNumber, viewOf } from '../../packed.js'
import { gather } from '../gather.js'
import { beginsAgain, openFlow, type HubLink } from './link.js'

type Receipt = readonly [id: number, receipt: number]
type Ack = (queue: string, receipts: readonly Receipt[]) => Promise<readonly boolean[]>
type RawNew = readonly [body: Uint8Array, type: number, headers: Headers | null, delay: number, priority: number, key: string | null]

/** The hub looked at all before it took any. */
const TOOK_NONE = new Set(['INVALID_INPUT', 'LIMIT_EXCEEDED', 'MESSAGE_TOO_LARGE'])
const tookNone = (reason: unknown): boolean => reason instanceof TalkwireError && TOOK_NONE.has(reason.code)

export function embeddedQueues(link: HubLink): QueuesDriver {
  const ack = gather<Receipt, boolean>({ send: (queue, receipts) => link.later(['ack', queue, receipts]) })
  const push = gather<RawNew, number>({
    send: (queue, jobs) => link.later(['push', queue, jobs], sizeOf(jobs)),
    bytes: ([body]) => body.length,
    tookNone,
  })
  let consumers = 0
  return {
    async declare(queue, { visibility, attempts, dedupe }) {
      await link.ask(['declare', queue, visibility, attempts, dedupe])
    },
    async push(queue, jobs) {
      link.check()
      const ids = await push(queue, jobs.map(rawOf))
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

const rawOf = ({ body, type, headers, delay, priority, key }: NewJob): RawNew => [
  body,
  typeNumber(type),
  Object.keys(headers).length > 0 ? headers : null,
  delay,
  priority,
  key ?? null,
]
const sizeOf = (jobs: readonly RawNew[]): number => jobs.reduce((bytes, [body]) => bytes + body.length, 0)

async function consume(link: HubLink, queue: string, consumer: number, sink: JobSink, ack: Ack): Promise<Consumption> {
  let wanted = 0
  let closed = false
  const released: Promise<unknown>[] = []
  // A hub that is gone has them back by itself.
  const unlessGone = (reason: unknown): void => {
    if (!beginsAgain(reason)) link.onError(reason, queue)
  }
  const release = ([id, receipt]: RawJob): void => void released.push(link.later(['unhand', queue, id, receipt]).catch(unlessGone))
  const flow = await openFlow(link, {
    begin: (signal) => link.client.work({ queue, consumer, want: wanted }, { signal }),
    take(jobs: readonly RawJob[]) {
      for (const job of jobs) {
        if (closed) release(job)
        else sink.job(jobOf(link, queue, job, ack))
      }
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
      // Behind the answer nothing more is handed out; what was on its way came before it, and is given back.
      await link.later(['want', consumer, 0]).catch(unlessGone)
      await new Promise((resolve) => setImmediate(resolve))
      await Promise.all(released)
      await flow.close()
    },
  }
}

function jobOf(link: HubLink, queue: string, [id, receipt, attempt, time, type, headers, body]: RawJob, ack: Ack): Job {
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
      if ((await ack(queue, [[id, receipt]]))[0]) return
      throw new TalkwireError('NOT_FOUND', `the job ${id} is not ours any more: its time was over, or it is done`, { outcome: 'ran' })
    },
    nack: (delay) => settle('nack', delay),
    dead: (reason) => settle('dead', reason),
    extend: (milliseconds) => settle('extend', milliseconds),
  }
}

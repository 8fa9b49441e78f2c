/** Queues, of jobs that are documents: jobs.ts. Consumers are told by a change stream that there is something, and take it by themselves. */
import type { WithId } from 'mongodb'
import { TalkwireError } from '../../../error.js'
import type { Consumption, Job, JobSink, NewJob, QueueCounts, QueuesDriver } from '../../driver.js'
import { isAway, notOurs } from '../broker.js'
import { gather } from '../gather.js'
import { looking } from '../looking.js'
import type { Mongo } from './connection.js'
import { feed, type Feed } from './feed.js'
import {
  configure,
  empty,
  insert,
  jobsOf,
  letterOf,
  queueFreed,
  revive,
  settingsOf,
  settling,
  sweep,
  take,
  type JobDoc,
  type Jobs,
} from './jobs.js'
import { incomingOf } from './values.js'

/** Milliseconds after which who waits looks at the latest: foreign programs free a job without saying it. */
const LOOK = 1000
const MOST = 100

/** Of what changes: jobs that are new, and those that came back. MongoDB tells a change of a small document as a new one. */
const HEARD = [
  {
    $match: {
      $or: [
        { operationType: { $nin: ['update', 'replace', 'delete'] } },
        { operationType: 'replace', 'fullDocument.state': { $in: ['ready', 'later'] } },
        { 'updateDescription.updatedFields.freed': { $exists: true } },
      ],
    },
  },
  {
    $project: {
      operationType: 1,
      queue: '$fullDocument.queue',
      freed: '$updateDescription.updatedFields.freed',
      state: { $ifNull: ['$updateDescription.updatedFields.state', '$fullDocument.state'] },
    },
  },
]

export function queues(mongo: Mongo): QueuesDriver {
  const jobs = jobsOf(mongo)
  const changes = feed(mongo, 'jobs', HEARD)
  const pushed = gather<NewJob, string>({
    send: (queue, wanted) => insert(jobs, queue, wanted),
    bytes: ({ body }) => body.byteLength,
    tookNone: (reason) => reason instanceof TalkwireError && reason.code === 'MESSAGE_TOO_LARGE',
  })
  const swept = async (queue: string): Promise<unknown> => sweep(jobs, queue, (await settingsOf(jobs, queue)).attempts)
  return {
    declare: (queue, settings) => configure(jobs, queue, settings),
    push: pushed,
    consume: (queue, sink) => consume(jobs, changes, queue, sink),
    async counts(queue) {
      await swept(queue)
      return count(jobs, queue)
    },
    async purge(queue) {
      await swept(queue)
      return empty(jobs, queue)
    },
    async deadLetters(queue, limit) {
      await swept(queue)
      const dead = { queue, state: 'dead' } as const
      return (await mongo.run(() => jobs.docs.find(dead).sort({ at: 1, seq: 1 }).limit(limit).toArray())).map(letterOf)
    },
    revive: (queue, ids) => revive(jobs, queue, ids),
  }
}

async function count({ mongo, docs }: Jobs, queue: string): Promise<QueueCounts> {
  const stages = [{ $match: { queue } }, { $group: { _id: '$state', count: { $sum: 1 } } }]
  const found = await mongo.run(() => docs.aggregate<{ _id: string; count: number }>(stages).toArray())
  const of = (state: JobDoc['state']): number => found.find(({ _id }) => _id === state)?.count ?? 0
  return { ready: of('ready'), delayed: of('later'), taken: of('taken'), dead: of('dead') }
}

async function consume(jobs: Jobs, changes: Feed, queue: string, sink: JobSink): Promise<Consumption> {
  const { mongo } = jobs
  const { visibility, attempts } = await settingsOf(jobs, queue)
  const settle = settling(jobs, queue, attempts)
  let wanted = 0
  let out = 0
  let closed = false
  let timer: NodeJS.Timeout | undefined
  /** When something comes back by itself, by performance.now(). */
  let due = 0
  const jobOf = (doc: WithId<JobDoc>): Job => {
    const ours = async (settled: Promise<boolean>): Promise<void> => {
      if (!(await settled)) throw notOurs(doc._id, queue)
    }
    const finish = async (settled: Promise<boolean>): Promise<void> => {
      try {
        await ours(settled)
      } finally {
        out--
        look()
      }
    }
    return {
      id: String(doc._id),
      attempt: Number(doc.tries),
      time: doc.time instanceof Date ? doc.time.getTime() : undefined,
      ...incomingOf(doc),
      ack: () => finish(settle.ack(doc)),
      nack: (delay) => finish(settle.nack(doc, delay)),
      dead: (reason) => finish(settle.dead(doc, reason)),
      async extend(milliseconds) {
        await ours(settle.extend(doc, milliseconds))
        due = Math.min(due, performance.now() + milliseconds)
        look()
      },
    }
  }
  const lookAt = (when: number): void => {
    clearTimeout(timer)
    if (!closed) timer = setTimeout(look, Math.max(0, Math.ceil(when - performance.now()))).unref()
  }
  const pull = async (): Promise<void> => {
    while (!closed && wanted > out) {
      if (performance.now() >= due) due = performance.now() + Math.min(LOOK, await sweep(jobs, queue, attempts))
      const taken = await take(jobs, queue, Math.min(wanted - out, MOST), visibility)
      for (const doc of taken) {
        // Who wants less meanwhile, or nothing, gets less: the rest was never handed out.
        if (closed || out >= wanted) await settle.giveBack(doc)
        else {
          out++
          sink.job(jobOf(doc))
        }
      }
      if (taken.length > 0) due = Math.min(due, performance.now() + visibility)
      else return lookAt(due)
    }
  }
  const { look, idle } = looking(
    pull,
    () => closed,
    (reason) => {
      if (closed) return
      if (!isAway(reason)) mongo.onError(reason, queue)
      lookAt(performance.now() + LOOK)
    },
  )
  const anew = (): void => {
    due = 0
    look()
  }
  const ear = await changes.listen({
    heard(change) {
      if ((queueFreed(change.freed) ?? change.queue) !== queue) return
      if (change.state === 'later') due = 0
      look()
    },
    anew,
  })
  const back = mongo.back(anew)
  const end = async (): Promise<void> => {
    if (closed) return
    closed = true
    clearTimeout(timer)
    forget()
    back()
    await ear.close()
    await idle()
    sink.ended()
  }
  const forget = mongo.closing(end)
  return {
    want(jobs) {
      wanted = jobs
      look()
    },
    close: end,
  }
}

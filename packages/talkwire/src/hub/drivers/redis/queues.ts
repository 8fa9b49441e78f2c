/**
 * A queue is what scripts make of sorted sets: `ready` by priority and place, `later` and `taken` by the time when they come back, `dead`.
 * Redis' own consumer groups know one time for all jobs, which nobody can prolong beyond it, no delay and no priority.
 * Foreign programs push with `XADD PREFIX:queue:NAME:in * body …`.
 */
import { randomBytes } from 'node:crypto'
import type { Consumption, DeadLetter, Incoming, Job, JobSink, NewJob, QueuesDriver } from '../../driver.js'
import { isAway, notOurs } from '../broker.js'
import { gather } from '../gather.js'
import { bytes, headersText, incomingOf, items, split, text, view, type Answer, type Redis, type Script } from './connection.js'
import { looking } from '../looking.js'
import { acknowledge, count, declare, letters, purge, push, revive, settle, take } from './queue-scripts.js'

/** Foreign programs push without a word on a channel: consumers look after so many milliseconds at least. */
const LOOK = 1000
const MOST = 256

export function queues(redis: Redis): QueuesDriver {
  const keyOf = (queue: string): string => `${redis.prefix}:queue:${queue}:`
  const run = (what: Script, queue: string, args: readonly (string | Buffer)[] = []): Promise<Answer> =>
    redis.run(what, [keyOf(queue)], args)
  const pushed = gather<NewJob, string>({
    send: async (queue, jobs) => words(await run(push, queue, jobs.flatMap(wordsOf))),
    bytes: ({ body }) => body.length,
  })
  return {
    async declare(queue, { visibility, attempts, dedupe }) {
      await run(declare, queue, [visibility, attempts, dedupe].map(String))
    },
    push: pushed,
    consume: (queue, sink) => consume(redis, keyOf(queue), queue, sink),
    async counts(queue) {
      const [ready, delayed, taken, dead] = items(await run(count, queue)).map(Number)
      return { ready: ready!, delayed: delayed!, taken: taken!, dead: dead! }
    },
    async purge(queue) {
      let all = 0
      for (let gone = 1000; gone >= 1000; all += gone) gone = Number(await run(purge, queue))
      return all
    },
    async deadLetters(queue, limit) {
      return items(await run(letters, queue, [String(limit)])).map((each): DeadLetter => {
        const [id, reason, attempts, job] = items(each)
        return { id: text(id), reason: text(reason), attempts: Number(attempts), ...jobOf(job) }
      })
    },
    revive: async (queue, ids) => Number(await run(revive, queue, ids)),
  }
}

/** What a script joined with spaces. */
const words = (answer: Answer | undefined): string[] => (text(answer) === '' ? [] : text(answer).split(' '))

interface Receipt {
  readonly id: string
  readonly receipt: string
}

const wordsOf = ({ body, type, headers, delay, priority, key = '' }: NewJob): (string | Buffer)[] => [
  delay > 0 || priority > 0 || key !== '' ? `${delay} ${priority} ${key}` : '',
  `${type}\n${headersText(headers)}\n`,
  view(body),
]

function jobOf(answer: Answer | undefined): Incoming & { readonly time: number } {
  const { lines, rest } = split(bytes(answer))
  const [time, type = '', headers = ''] = lines
  return { time: Number(time), ...incomingOf(type, headers, rest) }
}

async function consume(redis: Redis, key: string, queue: string, sink: JobSink): Promise<Consumption> {
  const me = randomBytes(9).toString('base64url')
  let takes = 0
  let wanted = 0
  let out = 0
  let closed = false
  let timer: NodeJS.Timeout | undefined
  /** Their end is on its way: what is asked for now comes behind it, and goes to disk with it. */
  const left = (jobs: number): void => {
    out -= jobs
    look()
  }
  const acked = gather<Receipt, boolean>({
    async send(_, receipts) {
      const answer = redis.run(acknowledge, [key], [...receipts.map(({ id }) => id), ...receipts.map(({ receipt }) => receipt)])
      left(receipts.length)
      return Array.from(text(await answer), (each) => each === '1')
    },
  })
  const settleJob = ({ id, receipt }: Receipt, how: string, word: string): Promise<Answer> =>
    redis.run(settle, [key], [id, receipt, how, word])
  const confirm = async (mine: Receipt, answer: Promise<Answer>): Promise<void> => {
    if ((await answer) !== 1) throw notOurs(mine.id, queue)
  }
  const settleThis = (mine: Receipt, how: 'nack' | 'dead', word: string): Promise<void> => {
    const answer = settleJob(mine, how, word)
    left(1)
    return confirm(mine, answer)
  }
  const handOut = (mine: Receipt, attempt: number, answer: Answer | undefined): Job => ({
    id: mine.id,
    attempt,
    ...jobOf(answer),
    async ack() {
      const [done] = await acked(key, [mine])
      if (!done) throw notOurs(mine.id, queue)
    },
    nack: (delay) => settleThis(mine, 'nack', String(delay)),
    dead: (reason) => settleThis(mine, 'dead', reason),
    extend: (milliseconds) => confirm(mine, settleJob(mine, 'extend', String(milliseconds))),
  })
  /** False: there was not as much as we want. */
  const pull = async (): Promise<boolean> => {
    const asked = Math.min(wanted - out, MOST)
    const who = `${me}${(takes++).toString(36)}`
    const [next, ids, attempts, jobs] = items(await redis.run(take, [key], [String(asked), who]))
    const handed = words(attempts)
    const tooMany: Promise<Answer>[] = []
    for (const [index, id] of words(ids).entries()) {
      const mine = { id, receipt: `${handed[index]} ${who}` }
      // Who wants less meanwhile, or nothing, gets less: the rest was never handed out.
      if (closed || out >= wanted) tooMany.push(settleJob(mine, 'return', '0'))
      else {
        out++
        sink.job(handOut(mine, Number(handed[index]), items(jobs)[index]))
      }
    }
    await Promise.all(tooMany)
    if (handed.length === asked) return true
    clearTimeout(timer)
    if (!closed) timer = setTimeout(look, Number(next) < 0 ? LOOK : Math.min(LOOK, Number(next) + 1)).unref()
    return false
  }
  const { look, idle } = looking(
    async () => {
      while (!closed && wanted > out && (await pull()));
    },
    () => closed,
    (reason) => {
      if (!closed && !isAway(reason)) redis.onError(reason, queue)
    },
  )
  const ear = await redis.listen('channels', [`${key}wake`], look, look)
  const end = async (): Promise<void> => {
    if (closed) return
    closed = true
    clearTimeout(timer)
    forget()
    await ear.close()
    await idle()
    sink.ended()
  }
  const forget = redis.closing(end)
  return {
    want(jobs) {
      wanted = jobs
      look()
    },
    close: end,
  }
}

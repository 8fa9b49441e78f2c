/**
 * A queue is a tube. Who consumes has a connection for each job that is out, since beanstalkd lets go what a connection has when that ends, and
 * answers nothing while somebody waits for a job; one of them waits at a time, so that jobs come in order. Dead letters are jobs of another
 * tube: those that are buried can neither be listed nor begin anew.
 */
import { TalkwireError } from '../../../error.js'
import type { Consumption, DeadLetter, Job, JobSink, NewJob, QueuesDriver, QueueSettings } from '../../driver.js'
import { isAway, notOurs } from '../broker.js'
import type { Beanstalk } from './connection.js'
import { statsOf, type Answer, type Line } from './line.js'

const ORDINARY = 65_536
const STEP = 6_553
const LINE = 0x0a
/** Who cannot connect looks again after so many milliseconds. */
const LOOK = 1000
const priorityOf = (priority: number): number => ORDINARY - STEP * priority
/** Milliseconds. */
const REMINDER = 50
const seconds = (milliseconds: number): number => Math.ceil(milliseconds / 1000)

/** What may stand in a tube's name: the rest as `$` and two digits for each byte. */
const escape = (name: string): string =>
  [...Buffer.from(name)]
    .map((byte) =>
      /[A-Za-z0-9_.-]/.test(String.fromCharCode(byte)) ? String.fromCharCode(byte) : `$${byte.toString(16).padStart(2, '0')}`,
    )
    .join('')

interface Tubes {
  readonly live: string
  readonly dead: string
}

export function queues(beanstalk: Beanstalk): QueuesDriver {
  const declared = new Map<string, QueueSettings>()
  const tubesOf = (queue: string): Tubes => {
    const live = `${beanstalk.prefix}.${escape(queue)}`
    if (live.length > 195) throw new TalkwireError('INVALID_INPUT', `the name "${queue}" is too long for a tube of beanstalkd`)
    return { live, dead: `${live};dead` }
  }
  const settingsOf = (queue: string): QueueSettings => declared.get(queue) ?? { visibility: 30_000, attempts: 0, dedupe: 0 }
  const put = async (queue: string, { body, headers, delay, priority, key }: NewJob): Promise<string> => {
    if (key !== undefined) throw new TalkwireError('UNSUPPORTED', 'beanstalkd does not de-duplicate jobs')
    if (Object.keys(headers).length > 0) throw new TalkwireError('UNSUPPORTED', 'jobs of beanstalkd have no headers')
    const ttr = seconds(settingsOf(queue).visibility)
    const command = `put ${priorityOf(priority)} ${seconds(delay)} ${ttr} ${body.length}`
    return idOf(await beanstalk.askIn(tubesOf(queue).live, command, body))
  }
  return {
    async declare(queue, settings) {
      tubesOf(queue)
      declared.set(queue, settings)
    },
    push: (queue, jobs) => Promise.all(jobs.map((job) => put(queue, job))),
    consume: (queue, sink) => consume(beanstalk, queue, tubesOf(queue), settingsOf(queue), sink),
    async counts(queue) {
      const { live, dead } = tubesOf(queue)
      const [now, letters] = (await Promise.all([live, dead].map((tube) => beanstalk.ask(`stats-tube ${tube}`)))).map(statsOf)
      return {
        ready: now!('current-jobs-ready'),
        delayed: now!('current-jobs-delayed'),
        taken: now!('current-jobs-reserved'),
        dead: letters!('current-jobs-ready') + letters!('current-jobs-reserved'),
      }
    },
    async purge(queue) {
      const { live } = tubesOf(queue)
      let gone = 0
      for (const peek of ['peek-ready', 'peek-delayed'])
        for (;;) {
          const found = await beanstalk.askIn(live, peek)
          if (found.words[0] !== 'FOUND') break
          if ((await beanstalk.ask(`delete ${found.words[1]}`)).words[0] === 'DELETED') gone++
        }
      return gone
    },
    async deadLetters(queue, limit) {
      const line = await beanstalk.another()
      const found: DeadLetter[] = []
      try {
        await watch(line, tubesOf(queue).dead)
        while (found.length < limit) {
          const answer = await line.ask('reserve-with-timeout 0')
          if (answer.words[0] !== 'RESERVED') break
          found.push(letterOf(answer))
        }
      } finally {
        // What it had reserved is there again.
        await line.close()
      }
      return found
    },
    async revive(queue, ids) {
      const { live } = tubesOf(queue)
      const line = await beanstalk.another()
      let revived = 0
      try {
        for (const id of ids) {
          const answer = await line.ask(`reserve-job ${id}`)
          if (answer.words[0] !== 'RESERVED') continue
          const { body } = letterOf(answer)
          await beanstalk.askIn(live, `put ${ORDINARY} 0 ${seconds(settingsOf(queue).visibility)} ${body.length}`, body)
          await line.ask(`delete ${id}`)
          revived++
        }
      } finally {
        await line.close()
      }
      return revived
    },
  }
}

function idOf({ words }: Answer): string {
  if (words[0] === 'INSERTED') return words[1]!
  throw new TalkwireError('NO_SPACE', 'beanstalkd has no memory for this job', { outcome: 'maybe-ran' })
}

async function watch(line: Line, tube: string): Promise<void> {
  await Promise.all([line.ask(`watch ${tube}`), line.ask('ignore default')])
}

/** A line of JSON, then the body. */
function letterOf({ words, body }: Answer): DeadLetter {
  const end = body.indexOf(LINE)
  const head = JSON.parse(body.toString('utf8', 0, end)) as { reason: string; attempts: number }
  return { id: words[1]!, reason: head.reason, attempts: head.attempts, body: body.subarray(end + 1), headers: {}, type: undefined }
}

async function consume(beanstalk: Beanstalk, queue: string, tubes: Tubes, settings: QueueSettings, sink: JobSink): Promise<Consumption> {
  let wanted = 0
  let out = 0
  let closed = false
  let waiting: Line | undefined
  let leading: Promise<void> | undefined
  let timer: NodeJS.Timeout | undefined
  const free: Line[] = []

  const bury = async (body: Buffer, reason: string, attempts: number): Promise<void> => {
    const letter = Buffer.concat([Buffer.from(`${JSON.stringify({ reason, attempts })}\n`), body])
    idOf(await beanstalk.askIn(tubes.dead, `put ${ORDINARY} 0 60 ${letter.length}`, letter))
  }
  const take = async (line: Line, { words, body }: Answer): Promise<Job | undefined> => {
    const id = words[1]!
    const stats = statsOf(await line.ask(`stats-job ${id}`))
    const [attempt, priority] = [stats('reserves'), stats('pri')]
    const settle = async (command: string, answer: string): Promise<void> => {
      if ((await line.ask(command)).words[0] !== answer) throw notOurs(id, queue)
    }
    if (settings.attempts > 0 && attempt > settings.attempts) {
      await bury(body, `was handed out ${attempt - 1} times`, attempt - 1)
      await settle(`delete ${id}`, 'DELETED')
      return undefined
    }
    let until = 0
    let touching: NodeJS.Timeout | undefined
    let over: NodeJS.Timeout | undefined
    const told = (reason: unknown): void => {
      if (!isAway(reason)) beanstalk.onError(reason, queue)
    }
    // beanstalkd may miss that a job's time is over until its connection says something, whatever it is.
    const remind = (): void => {
      clearTimeout(over)
      over = setTimeout(() => line.ask(`stats-job ${id}`).catch(told), REMINDER + 1000 * stats('ttr')).unref()
    }
    const touch = (): void => {
      clearTimeout(touching)
      remind()
      if (performance.now() >= until || !line.open) return
      touching = setTimeout(
        () => {
          line.ask(`touch ${id}`).then(touch, told)
        },
        Math.max(1, 500 * stats('ttr')),
      ).unref()
    }
    const finish = async (run: () => Promise<void>): Promise<void> => {
      clearTimeout(touching)
      clearTimeout(over)
      until = 0
      try {
        await run()
      } finally {
        out--
        if (closed || !line.open) line.abort()
        else free.push(line)
        lead()
      }
    }
    remind()
    return {
      id,
      attempt,
      time: Date.now() - 1000 * stats('age'),
      body,
      type: undefined,
      headers: {},
      ack: () => finish(() => settle(`delete ${id}`, 'DELETED')),
      nack: (delay) =>
        finish(async () => {
          if (settings.attempts === 0 || attempt < settings.attempts)
            return settle(`release ${id} ${priority} ${seconds(delay)}`, 'RELEASED')
          await bury(body, `was handed out ${attempt} times`, attempt)
          return settle(`delete ${id}`, 'DELETED')
        }),
      dead: (reason) =>
        finish(async () => {
          await bury(body, reason, attempt)
          await settle(`delete ${id}`, 'DELETED')
        }),
      async extend(milliseconds) {
        await settle(`touch ${id}`, 'TOUCHED')
        until = performance.now() + milliseconds - 1000 * stats('ttr')
        touch()
      },
    }
  }
  const next = async (): Promise<void> => {
    let line = free.pop()
    while (line && !line.open) line = free.pop()
    if (!line) {
      line = await beanstalk.another()
      await watch(line, tubes.live)
    }
    if (closed || out >= wanted) return void free.push(line)
    waiting = line
    const answer = await line.ask('reserve').finally(() => (waiting = undefined))
    const job = answer.words[0] === 'RESERVED' ? await take(line, answer) : undefined
    if (!job) return void free.push(line)
    // Nobody wants it any more: it is free when its connection ends.
    if (closed || out >= wanted) return line.abort()
    out++
    sink.job(job)
  }
  const lead = (): void => {
    clearTimeout(timer)
    if (closed || leading || out >= wanted) return
    leading = (async () => {
      while (!closed && out < wanted) await next()
    })().then(
      () => {
        leading = undefined
        lead()
      },
      (reason: unknown) => {
        leading = undefined
        if (closed) return
        if (!isAway(reason)) beanstalk.onError(reason, queue)
        // Whose waiting was ended goes on at once; who cannot connect looks again, or is told.
        if (reason instanceof TalkwireError && reason.code === 'CONNECTION_LOST') lead()
        else timer = setTimeout(lead, LOOK).unref()
      },
    )
  }
  const forgetBack = beanstalk.back(lead)
  const end = async (): Promise<void> => {
    if (closed) return
    closed = true
    clearTimeout(timer)
    forget()
    forgetBack()
    waiting?.abort()
    await leading
    await Promise.all(free.splice(0).map((line) => line.close()))
    sink.ended()
  }
  const forget = beanstalk.closing(end)
  return {
    want(jobs) {
      wanted = jobs
      if (out >= wanted) waiting?.abort()
      lead()
    },
    close: end,
  }
}

/**
 * A queue is a stream from which acknowledged jobs go (`PREFIX-queue-NAME`), its one consumer, and a stream of dead letters. The server hands a
 * job out as often as it takes; whoever gets it once too often puts it among the dead letters, so that nothing depends on who hears an advisory.
 */
import type { Msg } from '@nats-io/transport-node'
import { TalkwireError } from '../../../error.js'
import type { Consumption, DeadLetter, Job, JobSink, NewJob, QueuesDriver, QueueSettings } from '../../driver.js'
import { underway } from '../../underway.js'
import { checked, delivery, jetStreamCode, NO_MESSAGE, token, type Nats } from './connection.js'
import { puller } from './pull.js'
import { MAX_TIMER } from '../../../timers.js'

const CONSUMER = 'workers'
const ID = 'Nats-Msg-Id'
const REASON = 'Talkwire-Reason'
const ATTEMPTS = 'Talkwire-Attempts'
const nanos = (milliseconds: number): number => Math.round(milliseconds * 1e6)

interface Names {
  readonly stream: string
  readonly dead: string
}

export function queues(nats: Nats): QueuesDriver {
  const attempts = new Map<string, number>()
  const namesOf = (queue: string): Names => ({
    stream: `${nats.prefix}-queue-${token(queue)}`,
    dead: `${nats.prefix}-dead-${token(queue)}`,
  })
  const declare = async (queue: string, settings: QueueSettings): Promise<void> => {
    const { stream, dead } = namesOf(queue)
    attempts.set(queue, settings.attempts)
    await nats.ensure(stream, { subjects: [stream], retention: 'workqueue', duplicate_window: nanos(Math.max(100, settings.dedupe)) })
    await nats.ensure(dead, { subjects: [dead] })
    const config = {
      durable_name: CONSUMER,
      deliver_policy: 'all',
      ack_policy: 'explicit',
      ack_wait: nanos(settings.visibility),
      max_ack_pending: 100_000,
      max_deliver: -1,
      max_waiting: 512,
    }
    // The same call sets another visibility for a consumer that is there.
    await nats.api(`CONSUMER.DURABLE.CREATE.${stream}.${CONSUMER}`, { stream_name: stream, config })
  }
  return {
    declare,
    async push(queue, jobs) {
      const { stream } = namesOf(queue)
      for (const { delay, priority } of jobs) {
        if (delay > 0) throw new TalkwireError('UNSUPPORTED', 'nats has no delayed jobs; embedded and redis have them')
        if (priority > 0) throw new TalkwireError('UNSUPPORTED', 'nats has no priorities; use a queue for each, or embedded or redis')
      }
      const store = (job: NewJob) => nats.store(stream, job, job.key === undefined ? {} : { [ID]: job.key })
      return (await Promise.all(jobs.map(store))).map(({ seq }) => String(seq))
    },
    consume: (queue, sink) => consume(nats, namesOf(queue), queue, attempts, sink),
    async counts(queue) {
      const { stream, dead } = namesOf(queue)
      const { num_pending, num_ack_pending } = await nats.api(`CONSUMER.INFO.${stream}.${CONSUMER}`)
      const { state } = await nats.api(`STREAM.INFO.${dead}`)
      return { ready: num_pending, delayed: 0, taken: num_ack_pending, dead: state.messages }
    },
    async deadLetters(queue, limit) {
      const { dead } = namesOf(queue)
      const found: DeadLetter[] = []
      for (let seq = 1; found.length < limit;) {
        const letter = await read(nats, dead, { seq, next_by_subj: dead })
        if (!letter) return found
        found.push(letter.dead)
        seq = letter.seq + 1
      }
      return found
    },
    async revive(queue, ids) {
      const { stream, dead } = namesOf(queue)
      let revived = 0
      for (const id of ids) {
        const letter = await read(nats, dead, { seq: Number(id) })
        if (!letter) continue
        // First there, then gone here: a crash between the two is a job too many, not one too few.
        await nats.store(stream, { ...letter.dead, type: letter.dead.type ?? 'bytes' })
        checked(await nats.ask(`$JS.API.STREAM.MSG.DELETE.${dead}`, JSON.stringify({ seq: letter.seq })))
        revived++
      }
      return revived
    },
  }
}

async function read(nats: Nats, stream: string, which: object): Promise<{ seq: number; dead: DeadLetter } | undefined> {
  const answer = await nats.api(`STREAM.MSG.GET.${stream}`, which).catch((reason: unknown) => {
    if (jetStreamCode(reason) !== NO_MESSAGE) throw reason
  })
  if (!answer) return undefined
  const { seq, data = '', hdrs } = answer.message
  const headers = nats.library.headers()
  for (const line of Buffer.from(hdrs ?? '', 'base64')
    .toString()
    .split('\r\n')
    .slice(1)) {
    const colon = line.indexOf(':')
    if (colon > 0) headers.set(line.slice(0, colon), line.slice(colon + 1).trim())
  }
  const incoming = nats.incoming({ data: Buffer.from(data, 'base64'), headers })
  return { seq, dead: { ...incoming, id: String(seq), reason: headers.get(REASON), attempts: Number(headers.get(ATTEMPTS)) } }
}

async function consume(
  nats: Nats,
  { stream, dead }: Names,
  queue: string,
  attempts: Map<string, number>,
  sink: JobSink,
): Promise<Consumption> {
  const { config } = await nats.api(`CONSUMER.INFO.${stream}.${CONSUMER}`)
  const visibility = config.ack_wait / 1e6
  let wanted = 0
  let out = 0
  let closed = false
  /** Came after less was wanted: kept here, and alive, until more is. */
  const held: Msg[] = []
  const settling = underway()
  const answer = async (message: Msg, how: string): Promise<void> => {
    // With an answer from the server: without one nobody knows whether it has it.
    await nats.ask(message.reply!, how)
  }
  const bury = async (message: Msg, reason: string, attempt: number): Promise<void> => {
    const { seq } = delivery(message.reply!)
    const { type = 'bytes', ...incoming } = nats.incoming(message)
    const extra = { [REASON]: reason.replaceAll(/[\r\n]+/g, ' '), [ATTEMPTS]: String(attempt), [ID]: `${seq}` }
    await nats.store(dead, { ...incoming, type }, extra)
    await answer(message, '+ACK')
  }
  const jobOf = (message: Msg): Job => {
    const { attempt, seq, time } = delivery(message.reply!)
    let keeping: NodeJS.Timeout | undefined
    const settle = async (run: () => Promise<void>): Promise<void> => {
      clearTimeout(keeping)
      try {
        await settling.keep(run())
      } finally {
        out--
        look()
      }
    }
    return {
      ...nats.incoming(message),
      id: String(seq),
      attempt,
      time,
      ack: () => settle(() => answer(message, '+ACK')),
      nack: (delay) =>
        settle(async () => {
          const most = attempts.get(queue) ?? 0
          if (most > 0 && attempt >= most) await bury(message, `was handed out ${attempt} times`, attempt)
          else await answer(message, delay > 0 ? `-NAK ${JSON.stringify({ delay: nanos(delay) })}` : '-NAK')
        }),
      dead: (reason) => settle(() => bury(message, reason, attempt)),
      async extend(milliseconds) {
        // The server knows one time for all: it is asked for that again and again, the last time so that it ends when it should.
        clearTimeout(keeping)
        const until = performance.now() + milliseconds
        const keep = async (): Promise<void> => {
          await answer(message, '+WPI')
          const left = until - performance.now() - visibility
          if (left > 0) keeping = setTimeout(() => void keep().catch(() => {}), Math.min(left, visibility / 3, MAX_TIMER)).unref()
        }
        await keep()
      },
    }
  }
  const give = (): void => {
    while (!closed && out < wanted && held.length > 0) {
      const message = held.shift()!
      const { attempt } = delivery(message.reply!)
      const most = attempts.get(queue) ?? 0
      if (most > 0 && attempt > most) {
        const burying = bury(message, `was handed out ${attempt - 1} times`, attempt - 1)
        void settling.keep(burying.catch((reason: unknown) => nats.onError(reason, queue)))
        continue
      }
      out++
      sink.job(jobOf(message))
    }
  }
  const look = (): void => {
    if (closed || nats.away) return
    give()
    const free = wanted - out - held.length - pull.open
    if (free > 0 && pull.open === 0) pull.ask(free)
  }
  const pull = puller(
    nats,
    stream,
    CONSUMER,
    (message) => {
      if (closed) return void message.respond('-NAK')
      held.push(message)
      look()
    },
    look,
  )
  const alive = setInterval(
    () => {
      for (const message of held) message.respond('+WPI')
    },
    Math.min(visibility / 3, MAX_TIMER),
  ).unref()
  const forgetBack = nats.back(() => {
    held.length = 0
    pull.reset()
    look()
  })
  const end = async (): Promise<void> => {
    if (closed) return
    closed = true
    forget()
    forgetBack()
    clearInterval(alive)
    for (const message of held.splice(0)) message.respond('-NAK')
    pull.stop()
    await settling.settled()
    if (!nats.away && !nats.closed) await nats.connection.flush().catch(() => {})
    sink.ended()
  }
  const forget = nats.closing(end)
  return {
    want(jobs) {
      wanted = jobs
      look()
    },
    close: end,
  }
}

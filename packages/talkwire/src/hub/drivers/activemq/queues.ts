/**
 * A queue is `PREFIX.queue.NAME`, and its dead letters are `PREFIX.dead.NAME`. What is given back is a copy that says how often it was
 * handed out, in `talkwire_attempt`, and then the end of the original: the broker forgets the count with a restart, and STOMP does not
 * tell it.
 */
import { randomUUID } from 'node:crypto'
import { TalkwireError } from '../../../error.js'
import type { Consumption, DeadLetter, Job, JobSink, NewJob, QueuesDriver, QueueSettings } from '../../driver.js'
import { underway } from '../../underway.js'
import { isAway, LET_GO, notOurs } from '../broker.js'
import { abilities, type Ability } from './abilities.js'
import { ATTEMPT, FENCE, ID, ownHeaders, REASON, type Arrived, type Line, type Sent } from './line.js'
import type { ActiveMq } from './link.js'

/** Dead letters that are here at once while some are looked for among them. */
const PAGE = 1000
/** Milliseconds after which the broker forgets what somebody who is gone said to himself. */
const STALE = 60_000

interface Queue {
  readonly mq: ActiveMq
  readonly able: (ability: Ability) => Promise<void>
  readonly name: string
  readonly attempts: number
}

export function queues(mq: ActiveMq): QueuesDriver {
  const able = abilities(mq)
  const settings = new Map<string, QueueSettings>()
  return {
    async declare(name, wanted) {
      // It is made when it is used first. Throws for a name that cannot be one.
      mq.names.queue(name)
      settings.set(name, wanted)
    },
    async push(name, jobs) {
      if (jobs.some(({ key }) => key !== undefined))
        throw new TalkwireError('UNSUPPORTED', `${mq.name} has no dedupe: ActiveMQ knows no keys; embedded, nats and redis do`)
      if (jobs.some(({ delay }) => delay > 0)) await able('delay')
      if (jobs.some(({ priority }) => priority > 0)) await able('priority')
      return Promise.all(jobs.map((job) => push(mq, name, job)))
    },
    consume: (name, sink) => consume({ mq, able, name, attempts: settings.get(name)?.attempts ?? 0 }, sink),
    async deadLetters(name, limit) {
      const found = await mq.listener().browse(mq.names.dead(name).name, limit)
      return found.filter(({ headers }) => !(FENCE in headers)).map(letterOf)
    },
    revive: (name, ids) => revive(mq, name, ids),
  }
}

async function push(mq: ActiveMq, name: string, { body, type, headers, delay, priority }: NewJob): Promise<string> {
  const id = randomUUID()
  await mq.send({ to: [mq.names.queue(name)], body, type, headers: { ...headers, [ID]: id }, persistent: true, priority, delay })
  return id
}

/** A foreign job has the broker's id until it is given back, and keeps it then. */
const idOf = ({ headers, messageId }: Arrived): string => headers[ID] ?? messageId
const failuresOf = ({ headers }: Arrived): number => Number(headers[ATTEMPT] ?? 0) || 0

/** What it is when it is sent once more. */
const resent = (message: Arrived, extra: Readonly<Record<string, string>>): Omit<Sent, 'to'> => ({
  body: message.body,
  type: message.type,
  headers: { ...ownHeaders(message.headers), [ID]: idOf(message), ...extra },
  priority: message.priority,
  persistent: true,
})

// ── dead letters ─────────────────────────────────────────────────────────────────────────────────

const letterOf = (message: Arrived): DeadLetter => ({
  body: message.body,
  type: message.type,
  headers: ownHeaders(message.headers),
  id: idOf(message),
  reason: message.headers[REASON] ?? '',
  attempts: failuresOf(message),
})

/** Takes dead letters in order up to a message of its own, persistent as they are, behind which nothing can be that was there before; the others go back. */
async function revive(mq: ActiveMq, name: string, ids: readonly string[]): Promise<number> {
  const wanted = new Set(ids)
  const fence = randomUUID()
  const from = mq.names.dead(name)
  const revived: Promise<void>[] = []
  const line = mq.listener()
  const last = { body: Buffer.alloc(0), type: undefined, headers: { [FENCE]: fence }, priority: 0, persistent: true, ttl: STALE }
  await mq.send({ to: [from], ...last })
  const again = async (message: Arrived): Promise<void> => {
    // First there, then gone here: a crash between the two is a job too many, not one too few.
    await mq.send({ to: [mq.names.queue(name)], ...resent(message, {}) })
    await message.accept()
  }
  let end!: (reason?: TalkwireError) => void
  const over = new Promise<void>((resolve, reject) => (end = (reason) => (reason ? reject(reason) : resolve())))
  const receiver = await line.receive({
    from,
    window: PAGE,
    selector: `${FENCE} IS NULL OR ${FENCE} = '${fence}'`,
    arrived(message) {
      if (FENCE in message.headers) {
        message.accept().catch(() => {})
        end()
      } else if (wanted.delete(idOf(message))) revived.push(again(message))
    },
    ended: end,
  })
  const forget = mq.closing(() => end(new TalkwireError('CLOSED', 'the hub was closed')))
  try {
    await over
    await Promise.all(revived)
  } finally {
    forget()
    await Promise.allSettled(revived)
    await receiver.close()
  }
  return revived.length
}

// ── consumers ────────────────────────────────────────────────────────────────────────────────────

async function consume({ mq, able, name, attempts }: Queue, sink: JobSink): Promise<Consumption> {
  let wanted = 0
  let out = 0
  let closed = false
  /** Came after less was wanted. */
  let held: { readonly message: Arrived; readonly failures: number }[] = []
  const settling = underway()
  const [queue, dead] = [mq.names.queue(name), mq.names.dead(name)]

  /** The original ends when the copy is safe. */
  const replace = async (message: Arrived, sent: Sent): Promise<void> => {
    try {
      if (sent.delay) await able('delay')
      await mq.send(sent)
    } catch (reason) {
      message.release()
      throw reason
    }
    await message.accept()
  }
  const giveBack = (message: Arrived, failures: number, delay = 0): Promise<void> =>
    attempts > 0 && failures >= attempts
      ? bury(message, `was handed out ${failures} times`, failures)
      : replace(message, { to: [queue], ...resent(message, failures > 0 ? { [ATTEMPT]: String(failures) } : {}), delay })
  const bury = (message: Arrived, reason: string, failures: number): Promise<void> =>
    replace(message, { to: [dead], ...resent(message, { [ATTEMPT]: String(failures), [REASON]: reason }) })
  const aside = (running: Promise<void>): void => {
    settling.keep(running).catch((reason: unknown) => {
      if (!isAway(reason)) mq.onError(reason, name)
    })
  }

  const jobOf = (line: Line | undefined, message: Arrived, failures: number): Job => {
    let settled = false
    const settle = (run: () => Promise<void>): Promise<void> => {
      if (settled || !line || under.line !== line) return Promise.reject(gone(message, name))
      settled = true
      return settling.keep(run()).finally(() => {
        if (under.line !== line) return
        out--
        give()
      })
    }
    return {
      body: message.body,
      type: message.type,
      headers: ownHeaders(message.headers),
      id: idOf(message),
      attempt: failures + 1,
      time: undefined,
      ack: () => settle(() => message.accept()),
      nack: (delay) => settle(() => giveBack(message, failures + 1, delay)),
      dead: (reason) => settle(() => bury(message, reason, failures + 1)),
      extend: () =>
        Promise.reject(
          new TalkwireError(
            'UNSUPPORTED',
            `${mq.name} has no visibility: a job is its consumer’s until that is gone; embedded, nats and redis have it`,
          ),
        ),
    }
  }
  const came = (message: Arrived): void => {
    const failures = failuresOf(message)
    // Of one that comes again STOMP says only this, however often it does: it is counted before anybody has it.
    if (message.before === 'some') return aside(giveBack(message, failures + 1))
    const all = failures + message.before
    if (attempts > 0 && all >= attempts) return aside(bury(message, `was handed out ${all} times`, all))
    held.push({ message, failures: all })
    give()
    // Sent before the broker heard that none is wanted.
    if (wanted === 0) letGo()
  }
  const give = (): void => {
    while (!closed && out < wanted && held.length > 0) {
      const { message, failures } = held.shift()!
      out++
      sink.job(jobOf(under.line, message, failures))
    }
  }
  /** Nobody had them: they are not handed out once more. */
  const letGo = (): void => {
    for (const { message, failures } of held.splice(0)) aside(replace(message, { to: [queue], ...resent(message, countOf(failures)) }))
  }
  const under = await mq.standing({
    what: name,
    async setUp(line) {
      const receiver = await line.receive({ from: queue, arrived: came, ended: (reason) => under.failed(line, reason) })
      if (!closed) receiver.want(wanted)
      return receiver
    },
    down() {
      out = 0
      held = []
    },
  })
  const end = async (): Promise<void> => {
    if (closed) return
    closed = true
    forget()
    await under.end()
    await under.receiver?.close()
    letGo()
    await settling.settled()
    sink.ended()
  }
  const forget = mq.closing(end)
  return {
    want(jobs) {
      wanted = jobs
      under.receiver?.want(jobs)
      give()
      if (jobs === 0) letGo()
    },
    close: end,
  }
}

const countOf = (failures: number): Readonly<Record<string, string>> => (failures > 0 ? { [ATTEMPT]: String(failures) } : {})

const gone = (message: Arrived, name: string): TalkwireError => notOurs(idOf(message), name, LET_GO)

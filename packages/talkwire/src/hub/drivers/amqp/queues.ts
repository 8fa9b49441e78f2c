/**
 * A queue is the durable queue `PREFIX.queue.NAME` with priorities, and its dead letters are `PREFIX.dead.NAME`. What is given back is a
 * copy that says how often it was handed out, in `talkwire-attempt`, and then the end of the original: the broker itself only knows that
 * a job was handed out before. Queues that are there stay as they are; one of the type quorum counts for itself.
 */
import type { Channel, ConsumeMessage, GetMessage, Message, Options } from 'amqplib'
import { randomUUID } from 'node:crypto'
import { TalkwireError } from '../../../error.js'
import type { Consumption, DeadLetter, Job, JobSink, NewJob, QueuesDriver, QueueSettings } from '../../driver.js'
import { underway } from '../../underway.js'
import { isAway } from '../broker.js'
import { acknowledge, ATTEMPT, incoming, propertiesOf, REASON, resent, short, type Amqp } from './connection.js'
import { DELAY_BYTES, delays, type Delays } from './delays.js'

const HIGHEST_PRIORITY = 9
const IS_OTHERWISE = 406
const IS_LOCKED = 405
/** How often whoever reads dead letters looks whether another has ended, milliseconds. */
const LOOK = 20

interface Names {
  readonly queue: string
  readonly dead: string
}

interface Queue extends Names {
  readonly amqp: Amqp
  readonly later: Delays
  readonly name: string
  readonly attempts: number
}

export function queues(amqp: Amqp): QueuesDriver {
  const later = delays(amqp)
  const settings = new Map<string, QueueSettings>()
  const namesOf = (name: string): Names => ({ queue: `${amqp.prefix}.queue.${name}`, dead: `${amqp.prefix}.dead.${name}` })
  let reading: Promise<unknown> = Promise.resolve()
  /** One at a time may have the dead letters in its hands, here and elsewhere. */
  const alone = <T>(name: string, run: (channel: Channel) => Promise<T>): Promise<T> => {
    const turn = reading.then(() => locked(amqp, `${namesOf(name).dead}.lock`, run))
    reading = turn.catch(() => {})
    return turn
  }
  return {
    async declare(name, wanted) {
      const { queue, dead } = namesOf(name)
      short(queue, 'the name of a queue', 255 - DELAY_BYTES)
      settings.set(name, wanted)
      await open(amqp, dead, {})
      const deadLetters = { 'x-dead-letter-exchange': '', 'x-dead-letter-routing-key': dead }
      await open(amqp, queue, { 'x-max-priority': HIGHEST_PRIORITY, ...deadLetters })
      await amqp.on((channel) => later.bind(channel, queue))
    },
    async push(name, jobs) {
      const { queue } = namesOf(name)
      return Promise.all(jobs.map((job) => push(amqp, later, queue, job)))
    },
    consume(name, sink) {
      return consume({ amqp, later, name, attempts: settings.get(name)?.attempts ?? 0, ...namesOf(name) }, sink)
    },
    deadLetters: (name, limit) => alone(name, (channel) => readDead(amqp, namesOf(name).dead, channel, limit)),
    revive: (name, ids) => alone(name, (channel) => revive(amqp, namesOf(name), channel, ids)),
  }
}

/** What was declared otherwise, by an operator, is as good. */
async function open(amqp: Amqp, name: string, settings: Readonly<Record<string, unknown>>): Promise<void> {
  const how = { durable: true, arguments: { 'x-queue-type': 'classic', ...settings } }
  await amqp
    .on((channel) => channel.assertQueue(name, how))
    .catch(async (reason: unknown) => {
      if (codeOf(reason) !== IS_OTHERWISE) throw reason
      await amqp.on((channel) => channel.checkQueue(name))
    })
}

const codeOf = (reason: unknown): number | undefined => (reason as { cause?: { code?: number } }).cause?.code

async function push(amqp: Amqp, later: Delays, queue: string, job: NewJob): Promise<string> {
  if (job.key !== undefined)
    throw new TalkwireError('UNSUPPORTED', 'amqp has no dedupe: RabbitMQ knows no keys; embedded, nats and redis do')
  const messageId = randomUUID()
  await put(amqp, later, queue, job.body, { ...propertiesOf(job), priority: job.priority, messageId }, job.delay)
  return messageId
}

async function put(amqp: Amqp, later: Delays, queue: string, body: Uint8Array, options: Options.Publish, delay: number): Promise<void> {
  const way = delay > 0 ? later.way(queue, delay) : { exchange: '', key: queue }
  if (!(await amqp.send({ ...way, body, options: { ...options, mandatory: true } })))
    throw new TalkwireError('NOT_FOUND', `there is no queue ${queue}; it was removed, or never opened`)
}

// ── dead letters ─────────────────────────────────────────────────────────────────────────────────

/** A queue of this connection alone, gone with it, is the lock. */
async function locked<T>(amqp: Amqp, lock: string, run: (channel: Channel) => Promise<T>): Promise<T> {
  for (;;) {
    const entered = await amqp
      .on(async (channel) => channel.assertQueue(lock, { exclusive: true, durable: false }))
      .catch((reason: unknown) => {
        if (codeOf(reason) !== IS_LOCKED) throw reason
      })
    if (entered) break
    await new Promise((resolve) => setTimeout(resolve, LOOK))
  }
  try {
    return await amqp.on(run)
  } finally {
    await amqp
      .on((channel) => channel.deleteQueue(lock))
      .catch((reason: unknown) => {
        if (!isAway(reason)) throw reason
      })
  }
}

const headerOf = ({ properties }: Message, name: string): string | number | undefined =>
  (properties.headers as Record<string, string | number> | undefined)?.[name]
const failuresOf = (message: Message): number => Number(headerOf(message, ATTEMPT) ?? 0)

/** Whoever calls a job dead says why and how often it was handed out; the broker says that somebody would not have it. */
function letterOf(message: GetMessage): DeadLetter {
  const reason = headerOf(message, REASON)
  return {
    ...incoming(message),
    id: String(message.properties.messageId),
    reason: String(reason ?? headerOf(message, 'x-first-death-reason') ?? ''),
    attempts: failuresOf(message) + (reason === undefined ? 1 : 0),
  }
}

async function readDead(amqp: Amqp, dead: string, channel: Channel, limit: number): Promise<DeadLetter[]> {
  const found: DeadLetter[] = []
  while (found.length < limit) {
    const message = await channel.get(dead)
    if (!message) break
    if (message.properties.messageId !== undefined) found.push(letterOf(message))
    else {
      // A foreign one that could not be named later: it comes again, with an id.
      await amqp.send({ exchange: '', key: dead, body: message.content, options: named(message) })
      channel.ack(message)
    }
  }
  await putBack(channel, dead)
  return found
}

/** With all that it said: only the id is new, and whose it is said to be is left to the broker. */
function named({ properties }: Message): Options.Publish {
  const { userId: _, ...rest } = properties
  return { ...rest, messageId: randomUUID() } as Options.Publish
}

/** Where they were. The broker answers when it has done it. */
async function putBack(channel: Channel, dead: string): Promise<void> {
  channel.nackAll(true)
  await channel.checkQueue(dead)
}

async function revive(amqp: Amqp, { queue, dead }: Names, channel: Channel, ids: readonly string[]): Promise<number> {
  const wanted = new Set(ids)
  let revived = 0
  while (wanted.size > 0) {
    const message = await channel.get(dead)
    if (!message) break
    if (!wanted.delete(String(message.properties.messageId))) continue
    // First there, then gone here: a crash between the two is a job too many, not one too few.
    await amqp.send({ exchange: '', key: queue, body: message.content, options: { ...resent(message, {}), mandatory: true } })
    channel.ack(message)
    revived++
  }
  await putBack(channel, dead)
  return revived
}

// ── consumers ────────────────────────────────────────────────────────────────────────────────────

async function consume(of: Queue, sink: JobSink): Promise<Consumption> {
  const { amqp, later, queue, dead, name, attempts } = of
  let wanted = 0
  let out = 0
  let closed = false
  let asked: { readonly tag: string; readonly most: number } | undefined
  /** Came after less was wanted. */
  let held: { readonly message: ConsumeMessage; readonly failures: number }[] = []
  let changing: Promise<void> = Promise.resolve()
  const settling = underway()

  /** The original ends when the copy is safe. */
  const replace = async (
    channel: Channel,
    message: ConsumeMessage,
    key: string,
    headers: Readonly<Record<string, unknown>>,
    delay = 0,
  ): Promise<void> => {
    const options = { ...resent(message, headers), messageId: idOf(message) }
    try {
      await put(amqp, later, key, message.content, options, delay)
    } catch (reason) {
      if (under.channel === channel) channel.nack(message, false, true)
      throw reason
    }
    acknowledge(channel, message)
  }
  const giveBack = (channel: Channel, message: ConsumeMessage, failures: number, delay = 0): Promise<void> =>
    attempts > 0 && failures >= attempts
      ? bury(channel, message, `was handed out ${failures} times`, failures)
      : replace(channel, message, queue, failures > 0 ? { [ATTEMPT]: failures } : {}, delay)
  const bury = (channel: Channel, message: ConsumeMessage, reason: string, failures: number): Promise<void> =>
    replace(channel, message, dead, { [ATTEMPT]: failures, [REASON]: reason })
  const aside = (running: Promise<void>): void => {
    settling.keep(running).catch((reason: unknown) => {
      if (!isAway(reason)) amqp.onError(reason, name)
    })
  }

  const finish = async (channel: Channel, run: () => Promise<void> | void): Promise<void> => {
    try {
      await run()
      await fence(channel)
    } catch (reason) {
      throw amqp.errorOf(reason, 'maybe-ran')
    } finally {
      if (under.channel === channel) {
        out--
        give(channel)
        void done()
      }
    }
  }
  const jobOf = (channel: Channel, message: ConsumeMessage, failures: number): Job => {
    let settled = false
    const settle = (run: () => Promise<void> | void): Promise<void> => {
      if (settled || under.channel !== channel) return Promise.reject(gone(message, name))
      settled = true
      return settling.keep(finish(channel, run))
    }
    return {
      ...incoming(message),
      id: idOf(message),
      attempt: failures + 1,
      time: undefined,
      ack: () =>
        settle(() => {
          if (!acknowledge(channel, message)) throw gone(message, name)
        }),
      nack: (delay) => settle(() => giveBack(channel, message, failures + 1, delay)),
      dead: (reason) => settle(() => bury(channel, message, reason, failures + 1)),
      extend: () =>
        Promise.reject(
          new TalkwireError(
            'UNSUPPORTED',
            'amqp has no visibility: a job is its consumer’s until that is gone; embedded, nats and redis have it',
          ),
        ),
    }
  }
  /** An acknowledgement has no answer; what is asked on the same channel after it has one. One for all that came while the last was away. */
  let last: Promise<unknown> = Promise.resolve()
  let next: Promise<unknown> | undefined
  const fence = (channel: Channel): Promise<unknown> =>
    (next ??= last
      .catch(() => {})
      .then(() => {
        next = undefined
        return (last = channel.checkQueue(queue))
      }))

  const came = (channel: Channel, message: ConsumeMessage): void => {
    const counted = headerOf(message, 'x-delivery-count')
    const failures = failuresOf(message) + Number(counted ?? 0)
    // Of one that comes again the broker says only this, however often it does: it is counted before anybody has it.
    if (counted === undefined && message.fields.redelivered) return aside(giveBack(channel, message, failures + 1))
    if (attempts > 0 && failures >= attempts) return aside(bury(channel, message, `was handed out ${failures} times`, failures))
    held.push({ message, failures })
    give(channel)
  }
  const give = (channel: Channel): void => {
    while (!closed && out < wanted && held.length > 0) {
      const { message, failures } = held.shift()!
      out++
      sink.job(jobOf(channel, message, failures))
    }
  }
  const change = async (channel: Channel): Promise<void> => {
    const most = closed ? 0 : wanted
    if (most !== (asked?.most ?? 0)) {
      if (asked) await channel.cancel(asked.tag)
      asked = undefined
      if (most > 0) {
        await channel.prefetch(most)
        const { consumerTag: tag } = await channel.consume(queue, (message) => {
          if (message) came(channel, message)
          else void channel.close().catch(() => {})
        })
        asked = { tag, most }
      }
    }
    give(channel)
    // Nobody had them: they are not handed out once more.
    if (most === 0) for (const { message, failures } of held.splice(0)) aside(giveBack(channel, message, failures))
  }
  /** One after the other. */
  const look = (channel = under.channel): Promise<void> => {
    if (channel)
      changing = changing
        .then(() => change(channel))
        .catch((reason: unknown) => {
          if (under.channel === channel) amqp.onError(amqp.errorOf(reason), name)
        })
    return changing
  }
  const under = await amqp.standing({
    what: name,
    async setUp(channel) {
      await channel.checkQueue(queue)
      if (wanted > 0) await look(channel)
    },
    down() {
      out = 0
      held = []
      asked = undefined
      last = Promise.resolve()
      next = undefined
    },
  })
  /** What is out stays this consumer's, and its channel with it. */
  const done = async (): Promise<void> => {
    if (closed && out === 0) await under.channel?.close().catch(() => {})
  }
  const end = async (): Promise<void> => {
    if (closed) return
    closed = true
    forget()
    await under.end()
    await look()
    await settling.settled()
    await done()
    sink.ended()
  }
  const forget = amqp.closing(end)
  return {
    want(jobs) {
      wanted = jobs
      void look()
    },
    close: end,
  }
}

const ids = new WeakMap<Message, string>()
/** A foreign job may have none; it keeps the one that it is given. */
function idOf(message: Message): string {
  const said = message.properties.messageId as string | undefined
  if (said !== undefined) return said
  const id = ids.get(message) ?? randomUUID()
  ids.set(message, id)
  return id
}

const gone = (message: Message, name: string): TalkwireError =>
  new TalkwireError(
    'NOT_FOUND',
    `the job ${idOf(message)} of "${name}" is not this consumer's any more: it was settled, or the connection was lost`,
  )

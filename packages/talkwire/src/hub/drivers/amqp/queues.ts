/**
 * A queue is the durable queue `PREFIX.queue.NAME` with priorities, and its dead letters are `PREFIX.dead.NAME`. What is given back is a
 * copy that says how often it was handed out, in `talkwire-attempt`, and then the end of the original: the broker itself only knows that
 * a job was handed out before. Queues that are there stay as they are; one of the type quorum counts for itself.
 */
import type { Channel, ConsumeMessage, GetMessage, Message, Options } from 'amqplib'
import { randomUUID } from 'node:crypto'
import { TalkwireError } from '../../../error.js'
import type { BodyType, Consumption, DeadLetter, Headers, Job, JobSink, NewJob, QueuesDriver, QueueSettings } from '../../driver.js'
import { underway } from '../../underway.js'
import { isAway, LET_GO, notOurs } from '../broker.js'
import { acknowledge, ATTEMPT, headersOf, incoming, propertiesOf, REASON, resent, short, typeOf, type Amqp } from './connection.js'
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
      if (jobs.length === 1) return [await push(amqp, later, queue, jobs[0]!)]
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
  const options = propertiesOf(job)
  options.mandatory = true
  options.priority = job.priority
  options.messageId = messageId
  await put(amqp, later, queue, job.body, options, job.delay)
  return messageId
}

/** `options` are mandatory. */
async function put(amqp: Amqp, later: Delays, queue: string, body: Uint8Array, options: Options.Publish, delay: number): Promise<void> {
  const sent = delay > 0 ? amqp.send({ ...later.way(queue, delay), body, options }) : amqp.send({ exchange: '', key: queue, body, options })
  if (!(await sent)) throw new TalkwireError('NOT_FOUND', `there is no queue ${queue}; it was removed, or never opened`)
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
  return { ...rest, persistent: true, messageId: randomUUID() } as Options.Publish
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
  /** The places of what came on this channel and was not settled, the first ones first. */
  const outside = new Set<number>()
  /** What was done in this turn. */
  let turn: Turn | undefined
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
    const options = { ...resent(message, headers), messageId: idOf(message), mandatory: true }
    try {
      await put(amqp, later, key, message.content, options, delay)
    } catch (reason) {
      if (under.channel === channel && outside.delete(message.fields.deliveryTag)) channel.nack(message, false, true)
      throw reason
    }
    if (under.channel === channel && outside.delete(message.fields.deliveryTag)) acknowledge(channel, message)
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

  const free = (channel: Channel, jobs: number): void => {
    if (under.channel !== channel) return
    out -= jobs
    give(channel)
    void done()
  }
  const finish = async (channel: Channel, running: Promise<void>): Promise<void> => {
    try {
      await running
      await fence(channel)
    } catch (reason) {
      throw amqp.errorOf(reason, 'maybe-ran')
    } finally {
      free(channel, 1)
    }
  }
  /** All that was done in one turn: one acknowledgement for those before which nothing is outside, and one promise. */
  const leave = async (channel: Channel, messages: readonly ConsumeMessage[]): Promise<void> => {
    await new Promise((resolve) => process.nextTick(resolve))
    turn = undefined
    try {
      if (under.channel !== channel || !acknowledgeAll(channel, messages)) throw gone(messages[0]!, name)
      await fence(channel)
    } catch (reason) {
      throw amqp.errorOf(reason, 'maybe-ran')
    } finally {
      free(channel, messages.length)
    }
  }
  const acknowledgeAll = (channel: Channel, messages: readonly ConsumeMessage[]): boolean => {
    for (const { fields } of messages) outside.delete(fields.deliveryTag)
    const [first = Infinity] = outside
    let upTo: ConsumeMessage | undefined
    for (const message of messages) {
      const { deliveryTag: tag } = message.fields
      if (tag > first) {
        if (!acknowledge(channel, message)) return false
      } else if (!upTo || upTo.fields.deliveryTag < tag) upTo = message
    }
    amqp.cork()
    return !upTo || acknowledge(channel, upTo, true)
  }
  const came = (channel: Channel, message: ConsumeMessage): void => {
    outside.add(message.fields.deliveryTag)
    const counted = headerOf(message, 'x-delivery-count')
    const failures = failuresOf(message) + Number(counted ?? 0)
    // Of one that comes again the broker says only this, however often it does: it is counted before anybody has it.
    if (counted === undefined && message.fields.redelivered) return aside(giveBack(channel, message, failures + 1))
    if (attempts > 0 && failures >= attempts) return aside(bury(channel, message, `was handed out ${failures} times`, failures))
    held.push({ message, failures })
    give(channel)
  }
  const hands: Hands = {
    isOurs: (channel) => under.channel === channel,
    ack(channel, message) {
      if (!turn) {
        const messages: ConsumeMessage[] = []
        turn = { messages, left: settling.keep(leave(channel, messages)) }
      }
      turn.messages.push(message)
      return turn.left
    },
    nack: (channel, message, failures, delay) => settling.keep(finish(channel, giveBack(channel, message, failures, delay))),
    dead: (channel, message, failures, reason) => settling.keep(finish(channel, bury(channel, message, reason, failures))),
    gone: (message) => gone(message, name),
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

  const give = (channel: Channel): void => {
    while (!closed && out < wanted && held.length > 0) {
      const { message, failures } = held.shift()!
      out++
      sink.job(new Handed(hands, channel, message, failures))
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
      outside.clear()
      turn = undefined
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

/** What was done in one turn, and when it is safe. */
interface Turn {
  readonly messages: ConsumeMessage[]
  readonly left: Promise<void>
}

/** What a job asks of its consumer. */
interface Hands {
  readonly isOurs: (channel: Channel) => boolean
  readonly ack: (channel: Channel, message: ConsumeMessage) => Promise<void>
  readonly nack: (channel: Channel, message: ConsumeMessage, failures: number, delay: number) => Promise<void>
  readonly dead: (channel: Channel, message: ConsumeMessage, failures: number, reason: string) => Promise<void>
  readonly gone: (message: ConsumeMessage) => TalkwireError
}

/** A job that is out. A class, because an object with functions of its own takes several times as long to make. */
class Handed implements Job {
  readonly id: string
  readonly body: Uint8Array
  readonly headers: Headers
  readonly type: BodyType | undefined
  readonly attempt: number
  readonly time = undefined
  private settled = false

  constructor(
    private readonly hands: Hands,
    private readonly channel: Channel,
    private readonly message: ConsumeMessage,
    failures: number,
  ) {
    this.id = idOf(message)
    this.body = message.content
    this.headers = headersOf(message)
    this.type = typeOf(message)
    this.attempt = failures + 1
  }

  ack(): Promise<void> {
    return this.settle() ?? this.hands.ack(this.channel, this.message)
  }

  nack(delay: number): Promise<void> {
    return this.settle() ?? this.hands.nack(this.channel, this.message, this.attempt, delay)
  }

  dead(reason: string): Promise<void> {
    return this.settle() ?? this.hands.dead(this.channel, this.message, this.attempt, reason)
  }

  extend(): Promise<void> {
    return Promise.reject(
      new TalkwireError(
        'UNSUPPORTED',
        'amqp has no visibility: a job is its consumer’s until that is gone; embedded, nats and redis have it',
      ),
    )
  }

  /** Once. A promise if it is too late. */
  private settle(): Promise<never> | undefined {
    if (this.settled || !this.hands.isOurs(this.channel)) return Promise.reject(this.hands.gone(this.message))
    this.settled = true
    return undefined
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

const gone = (message: Message, name: string): TalkwireError => notOurs(idOf(message), name, LET_GO)

/**
 * A queue is a standard queue of SQS, with another for its dead letters. SQS moves there by itself what was handed out too often; what is called
 * dead, with a reason, is sent there and then deleted. Who consumes asks again and again, and waits at SQS while there is nothing.
 */
import type { BatchResultErrorEntry, Message, QueueAttributeName, SendMessageBatchRequestEntry } from '@aws-sdk/client-sqs'
import { TalkwireError } from '../../../error.js'
import type { Consumption, DeadLetter, Job, JobSink, NewJob, QueuesDriver, QueueSettings } from '../../driver.js'
import { isAway, notOurs, pauses } from '../broker.js'
import { isAborted, type Sqs } from './connection.js'
import { alive, dead, LARGEST, readMessage, sizeOf, whyDead, written } from './messages.js'

/** Of messages in one request. */
const MOST = 10
/** Seconds that SQS waits for a job, and at dead letters, of which each of its machines knows some. */
const WAIT = 20
const LOOK = 1
/** Seconds that dead letters which are looked at are kept from others. */
const LOOKED_AT = 60
/** Seconds: what a message may be delayed, how long it may be out or held back, and how long SQS keeps it. */
const LONGEST_DELAY = 900
const LONGEST_OUT = 43_200
const KEPT = 1_209_600
const LONGEST_NAME = 80
const seconds = (milliseconds: number): number => Math.ceil(milliseconds / 1000)

/** What may stand in a queue's name: the rest as `_` and two digits for each byte. */
const escape = (name: string): string =>
  [...Buffer.from(name)]
    .map((byte) => {
      const character = String.fromCharCode(byte)
      return /[A-Za-z0-9-]/.test(character) ? character : `_${byte.toString(16).padStart(2, '0')}`
    })
    .join('')

/** URLs, as SQS says them. */
interface Place {
  readonly live: string
  readonly dead: string
  /** How often a job is handed out before SQS moves it; 0: it never does. */
  readonly most: number
}

/** Of who declared nothing. */
const UNSAID: QueueSettings = { visibility: 30_000, attempts: 0, dedupe: 0 }

export function queues(sqs: Sqs): QueuesDriver {
  const declared = new Map<string, QueueSettings>()
  const places = new Map<string, Promise<Place>>()
  const placeOf = (queue: string): Promise<Place> => {
    let place = places.get(queue)
    if (!place) {
      place = ensure(sqs, queue, declared.get(queue))
      places.set(queue, place)
      place.catch(() => places.delete(queue))
    }
    return place
  }
  /** Somebody may delete a queue: it is made anew then. */
  const inPlace = async <T>(queue: string, run: (place: Place) => Promise<T>): Promise<T> => {
    const place = await placeOf(queue)
    try {
      return await run(place)
    } catch (reason) {
      if (isNoQueue(reason)) places.delete(queue)
      throw reason
    }
  }
  return {
    async declare(queue, settings) {
      declared.set(queue, settings)
      places.delete(queue)
      await placeOf(queue)
    },
    async push(queue, jobs) {
      const entries = jobs.map(entryOf)
      return inPlace(queue, async ({ live }) => {
        const ids: string[] = []
        for (const batch of batches(entries)) ids.push(...(await sendBatch(sqs, live, batch)))
        return ids
      })
    },
    consume: (queue, sink) => consume({ sqs, queue, settings: declared.get(queue) ?? UNSAID, inPlace: (run) => inPlace(queue, run), sink }),
    counts: (queue) =>
      inPlace(queue, async (place) => {
        const [now, letters] = await Promise.all([place.live, place.dead].map((url) => countsOf(sqs, url)))
        return {
          ready: now!('ApproximateNumberOfMessages'),
          delayed: now!('ApproximateNumberOfMessagesDelayed'),
          taken: now!('ApproximateNumberOfMessagesNotVisible'),
          dead: letters!('ApproximateNumberOfMessages') + letters!('ApproximateNumberOfMessagesNotVisible'),
        }
      }),
    deadLetters: (queue, limit) =>
      inPlace(queue, async (place) => {
        const found: Message[] = []
        await look(sqs, place.dead, limit, async (message) => void found.push(message))
        return found.toSorted((one, other) => sentAt(one) - sentAt(other)).map((message) => letterOf(message, place.most))
      }),
    revive: (queue, ids) =>
      inPlace(queue, async (place) => {
        const wanted = new Set(ids)
        let revived = 0
        await look(sqs, place.dead, Infinity, async (message) => {
          if (!wanted.delete(message.MessageId!)) return false
          await sqs.ask((to) => to.sendMessage({ QueueUrl: place.live, ...alive(message) }))
          await remove(sqs, place.dead, message)
          revived++
          return wanted.size === 0
        })
        return revived
      }),
  }
}

const isNoQueue = (reason: unknown): boolean =>
  reason instanceof TalkwireError && /QueueDoesNotExist|NonExistentQueue/.test((reason.cause as Error | undefined)?.name ?? '')

interface Entry {
  readonly entry: SendMessageBatchRequestEntry
  readonly size: number
}

function entryOf({ delay, priority, key, ...message }: NewJob, index: number): Entry {
  const no = (what: string): TalkwireError => new TalkwireError('UNSUPPORTED', `SQS ${what}`, { outcome: 'not-sent' })
  if (priority > 0) throw no('has no priorities')
  if (key !== undefined) throw no('de-duplicates in FIFO queues only, where jobs of a group wait for each other')
  if (seconds(delay) > LONGEST_DELAY) throw no('delays a job by 15 minutes at most')
  const body = written(message)
  return { entry: { Id: String(index), ...body, DelaySeconds: seconds(delay) }, size: sizeOf(body) }
}

function* batches(entries: readonly Entry[]): Generator<SendMessageBatchRequestEntry[]> {
  let batch: SendMessageBatchRequestEntry[] = []
  let size = 0
  for (const { entry, size: its } of entries) {
    if (batch.length === MOST || size + its > LARGEST) {
      yield batch
      batch = []
      size = 0
    }
    batch.push(entry)
    size += its
  }
  if (batch.length > 0) yield batch
}

async function sendBatch(sqs: Sqs, url: string, entries: SendMessageBatchRequestEntry[]): Promise<string[]> {
  const { Successful = [], Failed = [] } = await sqs.ask((to) => to.sendMessageBatch({ QueueUrl: url, Entries: entries }))
  if (Failed.length > 0) throw failedOf(Failed[0]!, Successful.length > 0)
  const ids = new Map(Successful.map(({ Id, MessageId }) => [Id, MessageId!]))
  return entries.map(({ Id }) => ids.get(Id)!)
}

function failedOf({ Code = '', Message: said = '', SenderFault }: BatchResultErrorEntry, some: boolean): TalkwireError {
  const code = /TooLong|must be shorter/i.test(`${Code} ${said}`) ? 'MESSAGE_TOO_LARGE' : SenderFault ? 'INVALID_INPUT' : 'UNAVAILABLE'
  return new TalkwireError(code, `SQS: ${Code}: ${said}`, { outcome: some ? 'maybe-ran' : 'not-sent' })
}

async function attributesOf(sqs: Sqs, url: string, names: QueueAttributeName[]): Promise<Partial<Record<string, string>>> {
  const { Attributes = {} } = await sqs.ask((to) => to.getQueueAttributes({ QueueUrl: url, AttributeNames: names }), 'not-sent')
  return Attributes
}

async function countsOf(sqs: Sqs, url: string): Promise<(name: QueueAttributeName) => number> {
  const all = await attributesOf(sqs, url, [
    'ApproximateNumberOfMessages',
    'ApproximateNumberOfMessagesDelayed',
    'ApproximateNumberOfMessagesNotVisible',
  ])
  return (name) => Number(all[name] ?? 0)
}

async function ensure(sqs: Sqs, queue: string, declared: QueueSettings | undefined): Promise<Place> {
  const settings = declared ?? UNSAID
  const name = `${sqs.prefix}-${escape(queue)}`
  // No byte of a name is written so.
  const deadName = `${name}_dlq`
  if (deadName.length > LONGEST_NAME)
    throw new TalkwireError('INVALID_INPUT', `the name "${queue}" is too long for a queue of SQS`, { outcome: 'not-sent' })
  const kept = { MessageRetentionPeriod: String(KEPT) }
  const letters = (await urlOf(sqs, deadName)) ?? (await create(sqs, deadName, kept))
  const { QueueArn } = await attributesOf(sqs, letters, ['QueueArn'])
  const policy = JSON.stringify({ deadLetterTargetArn: QueueArn, maxReceiveCount: settings.attempts })
  const live =
    (await urlOf(sqs, name)) ??
    (await create(sqs, name, {
      ...kept,
      VisibilityTimeout: String(Math.min(LONGEST_OUT, seconds(settings.visibility))),
      ...(settings.attempts > 0 && { RedrivePolicy: policy }),
    }))
  const { RedrivePolicy } = await attributesOf(sqs, live, ['RedrivePolicy'])
  const most = RedrivePolicy ? Number((JSON.parse(RedrivePolicy) as { maxReceiveCount: unknown }).maxReceiveCount) : 0
  if (declared && most > 0 && most !== settings.attempts)
    throw new TalkwireError(
      'UNSUPPORTED',
      `the queue ${name} of SQS has jobs handed out ${most} times, not ${settings.attempts}: ask for as many attempts, or change its RedrivePolicy`,
      { outcome: 'not-sent' },
    )
  return { live, dead: letters, most }
}

async function urlOf(sqs: Sqs, name: string): Promise<string | undefined> {
  try {
    return (await sqs.ask((to) => to.getQueueUrl({ QueueName: name }), 'not-sent')).QueueUrl!
  } catch (reason) {
    if (isNoQueue(reason)) return undefined
    throw reason
  }
}

async function create(sqs: Sqs, name: string, attributes: Partial<Record<QueueAttributeName, string>>): Promise<string> {
  try {
    return (await sqs.ask((to) => to.createQueue({ QueueName: name, Attributes: attributes }), 'not-sent')).QueueUrl!
  } catch (reason) {
    // Somebody was quicker, and wanted it otherwise.
    const url = await urlOf(sqs, name)
    if (url === undefined) throw reason
    return url
  }
}

async function receive(sqs: Sqs, url: string, most: number, wait: number, out: number, abortSignal?: AbortSignal): Promise<Message[]> {
  const wish = {
    QueueUrl: url,
    MaxNumberOfMessages: Math.min(MOST, most),
    WaitTimeSeconds: wait,
    VisibilityTimeout: out,
    MessageAttributeNames: ['All'],
    MessageSystemAttributeNames: ['ApproximateReceiveCount' as const, 'SentTimestamp' as const],
  }
  return (await sqs.ask((to) => to.receiveMessage(wish, abortSignal && { abortSignal }))).Messages ?? []
}

const remove = (sqs: Sqs, url: string, { ReceiptHandle }: Message): Promise<unknown> =>
  sqs.ask((to) => to.deleteMessage({ QueueUrl: url, ReceiptHandle }))
/** Seconds, from now. */
const comesIn = (sqs: Sqs, url: string, { ReceiptHandle }: Message, after: number): Promise<unknown> =>
  sqs.ask((to) => to.changeMessageVisibility({ QueueUrl: url, ReceiptHandle, VisibilityTimeout: after }))

const sentAt = ({ Attributes }: Message): number => Number(Attributes?.SentTimestamp ?? 0)

function letterOf(message: Message, most: number): DeadLetter {
  const { reason, attempts } = whyDead(message) ?? { reason: `was handed out ${most} times`, attempts: most }
  return { ...readMessage(message), id: message.MessageId!, reason, attempts }
}

/** Shows dead letters until there are no others, so many were shown, or `seen` says that it is enough. What is still there is given back. */
async function look(sqs: Sqs, url: string, limit: number, seen: (message: Message) => Promise<boolean | void>): Promise<void> {
  const shown = new Map<string, Message>()
  try {
    for (let enough = false; !enough && shown.size < limit;) {
      const found = await receive(sqs, url, limit - shown.size, LOOK, LOOKED_AT)
      // One that comes again was looked at for too long: so were all.
      if (found.length === 0 || found.some(({ MessageId }) => shown.has(MessageId!))) return
      for (const message of found) shown.set(message.MessageId!, message)
      for (const message of found) if (await seen(message)) enough = true
    }
  } finally {
    await Promise.all([...shown.values()].map((message) => comesIn(sqs, url, message, 0).catch(ignoreGone)))
  }
}

/** Revived, or out for too long. */
function ignoreGone(reason: unknown): void {
  if (!(reason instanceof TalkwireError && reason.code === 'NOT_FOUND')) throw reason
}

interface Wish {
  readonly sqs: Sqs
  readonly queue: string
  readonly settings: QueueSettings
  readonly inPlace: <T>(run: (place: Place) => Promise<T>) => Promise<T>
  readonly sink: JobSink
}

async function consume({ sqs, queue, settings, inPlace, sink }: Wish): Promise<Consumption> {
  const visibility = Math.min(LONGEST_OUT, Math.max(1, seconds(settings.visibility)))
  let wanted = 0
  let out = 0
  let closed = false
  let asking: Promise<void> | undefined
  const ending = new AbortController()

  const bury = async (place: Place, message: Message, reason: string, attempts: number): Promise<void> => {
    await sqs.ask((to) => to.sendMessage({ QueueUrl: place.dead, ...dead(message, reason, attempts) }))
    await remove(sqs, place.live, message)
  }
  const jobOf = (place: Place, message: Message): Job => {
    const attempt = Number(message.Attributes?.ApproximateReceiveCount ?? 0)
    // SQS deletes what is late without a word whether it was late: ours is the only clock.
    let until = performance.now() + 1000 * visibility
    const mine = (): void => {
      if (performance.now() < until) return
      throw notOurs(message.MessageId, queue)
    }
    const finish = async (run: () => Promise<unknown>): Promise<void> => {
      try {
        mine()
        await run()
      } finally {
        out--
        lead()
      }
    }
    return {
      ...readMessage(message),
      id: message.MessageId!,
      attempt,
      time: sentAt(message),
      ack: () => finish(() => remove(sqs, place.live, message)),
      nack: (delay) =>
        finish(() =>
          settings.attempts > 0 && attempt >= settings.attempts
            ? bury(place, message, `was handed out ${attempt} times`, attempt)
            : comesIn(sqs, place.live, message, upTo(delay)),
        ),
      dead: (reason) => finish(() => bury(place, message, reason, attempt)),
      async extend(milliseconds) {
        mine()
        const from = performance.now()
        await comesIn(sqs, place.live, message, upTo(milliseconds))
        until = from + 1000 * seconds(milliseconds)
      },
    }
  }
  const next = (): Promise<void> =>
    inPlace(async (place) => {
      const messages = await receive(sqs, place.live, wanted - out, WAIT, visibility, ending.signal)
      for (const message of messages) {
        const attempt = Number(message.Attributes?.ApproximateReceiveCount ?? 0)
        // It was asked for, and is wanted no more.
        if (closed || out >= wanted) await comesIn(sqs, place.live, message, 0)
        // Of a queue that somebody made without a policy for it.
        else if (settings.attempts > 0 && attempt > settings.attempts)
          await bury(place, message, `was handed out ${attempt - 1} times`, attempt - 1)
        else {
          out++
          sink.job(jobOf(place, message))
        }
      }
    })
  const lead = (): void => {
    if (closed || asking || out >= wanted) return
    asking = ask().finally(() => {
      asking = undefined
      lead()
    })
  }
  const ask = async (): Promise<void> => {
    let pause = pauses()
    while (!closed && out < wanted)
      try {
        await next()
        pause = pauses()
      } catch (reason) {
        if (closed && (isAborted(reason) || isAway(reason))) return
        await sqs.again(pause, reason, queue)
      }
  }
  const end = async (): Promise<void> => {
    if (closed) return
    closed = true
    forget()
    ending.abort()
    await asking
    sink.ended()
  }
  const forget = sqs.closing(end)
  return {
    want(jobs) {
      wanted = jobs
      lead()
    },
    close: end,
  }
}

function upTo(milliseconds: number): number {
  if (seconds(milliseconds) <= LONGEST_OUT) return seconds(milliseconds)
  throw new TalkwireError('UNSUPPORTED', 'SQS holds a job for 12 hours at most', { outcome: 'not-sent' })
}

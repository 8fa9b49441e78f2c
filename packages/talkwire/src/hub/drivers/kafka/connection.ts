/**
 * What a hub has at a Kafka: a client that says whether anybody is there, one that produces, and others that are opened for whoever reads.
 * None of them tries again by itself: what was sent and what was not would be told no more.
 */
import type { Admin, BaseOptions, Consumer } from '@platformatic/kafka'
import { TalkwireError } from '../../../error.js'
import type { OpenOptions } from '../../driver.js'
import { brokerAddress, whoAsks, type Credentials } from '../broker-address.js'
import { orAborted, packageOf, pauses, type Pauses } from '../broker.js'
import { presence } from '../presence.js'

export type Reader = Consumer<Buffer, Buffer, Buffer, Buffer>

export interface NewRecord {
  readonly key?: Buffer
  readonly value: Buffer
  readonly headers: Map<Buffer, Buffer>
}

export interface Place {
  readonly topic: string
  /** Milliseconds that it keeps what is in it, if it is made; default: as long as the cluster says. */
  readonly kept?: number
  /** Of a topic of others, which is not made. */
  readonly partition?: number
}

export interface Kafka {
  /** Every topic and group of Kafka begins with it. */
  readonly prefix: string
  /**
   * Makes a topic of one partition, if there is none. Rejects with UNSUPPORTED for one that has more, with NOT_FOUND for another's that is
   * not there. `anew`: it was there, and is not.
   */
  ensure(place: Place, anew?: boolean): Promise<void>
  /** Resolves when every replica that is in step has it, in the order of the calls for one topic. Makes the topic, too. */
  produce(place: Place, record: NewRecord): Promise<void>
  /** Closed by whoever asked for it. With a group it is a member, as soon as it joins. */
  reader(group?: string): Reader
  /** Resolves when it is worth trying again after this reason. Tells reasons that are no lost connection. */
  again(pause: Pauses, reason: unknown, what: string): Promise<void>
  /** Called before the connections close; what it returns is waited for. */
  closing(what: () => unknown): () => void
  errorOf(reason: unknown, outcome?: 'not-sent' | 'maybe-ran'): TalkwireError
  onError: OpenOptions['onError']
  close(): Promise<void>
}

const FORM = 'Kafka is kafka://user:password@host:9092?prefix=shop, or kafkas: for TLS; the prefix has letters, digits, "_" and "-"'
/** Kafka lets go whoever says nothing for ten minutes, and a connection that is half gone says nothing. */
const LOOK = 60_000
/** Of one request. A broker takes 1 MiB unless it is told otherwise. */
const BATCH_BYTES = 512 * 1024
const ALL_IN_STEP = -1
/** Who leads is asked for anew when a request goes wrong. */
const ALONE = { metadataMaxAge: 300_000 }
/** Of those in a group: who says nothing for the first is gone, and what it had goes to another; who comes or goes is heard of after the second. */
const SESSION = { sessionTimeout: 10_000, rebalanceTimeout: 10_000, heartbeatInterval: 1_000 }
/** A group's coordinator may have to be found, or to read what it has. */
const OF_A_GROUP = { ...SESSION, retries: 10, retryDelay: 100, autocommit: false }

function parse(address: string, credentials: Credentials): { options: BaseOptions; prefix: string } {
  const parsed = brokerAddress(address, ['kafka', 'kafkas'], /^\/?$/, FORM)
  const { url, host, prefix } = parsed
  const { user, password } = whoAsks(parsed, credentials)
  const { tls, sasl = user === '' ? undefined : { mechanism: 'PLAIN', username: user, password } } = credentials
  return {
    prefix,
    options: {
      clientId: `talkwire-${prefix}`,
      bootstrapBrokers: [{ host, port: Number(url.port || 9092) }],
      retries: 0,
      ...(url.protocol === 'kafkas:' && { tls: { ...(tls as object | undefined) } }),
      ...(sasl !== undefined && { sasl: sasl as NonNullable<BaseOptions['sasl']> }),
    },
  }
}

export async function connectKafka(address: string, settings: OpenOptions): Promise<Kafka> {
  const { credentials = {}, onError, signal } = settings
  const { options, prefix } = parse(address, credentials)
  const lib = await packageOf('kafka', '@platformatic/kafka', () => import('@platformatic/kafka'))
  signal?.throwIfAborted()
  const known = new Map<string, Promise<void>>()
  let looking: Promise<void> | undefined

  // The library writes into what it is given.
  const admin: Admin = new lib.Admin({ ...options })
  const producer = new lib.Producer({ ...options, repeatOnStaleMetadata: false })
  let asked: Promise<unknown> = Promise.resolve()
  const there = async (): Promise<void> => void (await (asked = admin.metadata({ topics: [], forceUpdate: true })))
  const broker = presence('Kafka: there is no connection now; it is made again by itself', there, settings)
  /** One broker of several may go: nobody is told while another answers. */
  const look = (): void => {
    if (broker.open) looking ??= looked().finally(() => (looking = undefined))
  }
  const looked = (): Promise<void> =>
    there().catch((reason: unknown) => {
      broker.lost(new TalkwireError('CONNECTION_LOST', textOf(reason), { cause: reason, outcome: 'maybe-ran' }))
    })
  // Whoever asks in this moment waits for the connection that ended: the library forgets it afterwards.
  admin.on('client:broker:disconnect', () => setImmediate(look))
  const timer = setInterval(look, LOOK).unref()

  function errorOf(reason: unknown, outcome: 'not-sent' | 'maybe-ran' = 'not-sent'): TalkwireError {
    if (reason instanceof TalkwireError) return reason
    const all = [...within(reason)]
    const say = (code: string, how = outcome): TalkwireError => new TalkwireError(code, textOf(reason), { cause: reason, outcome: how })
    if (all.some(({ apiId }) => /AUTHORIZATION_FAILED|SASL/.test(apiId ?? ''))) return say('UNAUTHENTICATED', 'not-sent')
    if (all.some(isTooLarge)) return say('MESSAGE_TOO_LARGE', 'not-sent')
    if (isUnknown(reason) || all.some(({ apiId }) => REFUSED.test(apiId ?? ''))) return say('UNAVAILABLE', 'not-sent')
    // Refused before anything was sent; all else may have been on its way.
    if (all.some(({ message }) => /^Connection to .* failed|^Cannot connect/.test(message))) return say('UNAVAILABLE', 'not-sent')
    if (all.some(({ code, message }) => code === 'PLT_KFK_NETWORK' || /timed out|pool is closed/.test(message)))
      return say(outcome === 'not-sent' ? 'UNAVAILABLE' : 'CONNECTION_LOST')
    return say('UNKNOWN')
  }
  /** What there is of a topic; undefined: there is none, or it has no leader yet. */
  const partitionsOf = async (topic: string): Promise<number | undefined> => {
    try {
      const { topics } = await admin.metadata({ topics: [topic], forceUpdate: true })
      const found = topics.get(topic)
      return found && found.partitionsCount > 0 && found.partitions.every(({ leader }) => leader >= 0) ? found.partitionsCount : undefined
    } catch (reason) {
      if (passes(reason)) return undefined
      throw reason
    }
  }
  const find = async (topic: string, partition: number): Promise<void> => {
    const partitions = await partitionsOf(topic)
    if (partitions !== undefined && partition < partitions) return
    throw new TalkwireError('NOT_FOUND', `Kafka: there is no partition ${partition} of ${topic.slice(0, 249)}`, { outcome: 'not-sent' })
  }
  const make = async ({ topic, kept }: Place): Promise<void> => {
    const pause = pauses()
    for (let made = false; ; made = true) {
      const partitions = await partitionsOf(topic)
      if (partitions === 1) return
      if (partitions !== undefined)
        throw new TalkwireError(
          'UNSUPPORTED',
          `Kafka: the topic ${topic} has ${partitions} partitions; a hub needs one, since its messages have one order: choose another prefix, or make the topic with one`,
        )
      if (made) await pause.next()
      broker.ready()
      if (!made) await create(topic, kept)
    }
  }
  const create = async (topic: string, kept?: number): Promise<void> => {
    const configs = [{ name: 'message.timestamp.type', value: 'LogAppendTime' }]
    // What is older leaves with its segment.
    if (kept !== undefined) for (const name of ['retention.ms', 'segment.ms']) configs.push({ name, value: String(kept) })
    await admin.createTopics({ topics: [topic], partitions: 1, replicas: -1, configs }).catch((reason: unknown) => {
      if (!idsOf(reason).includes('TOPIC_ALREADY_EXISTS')) throw reason
    })
  }

  const ensure = async (place: Place, anew = false): Promise<void> => {
    broker.ready()
    const id = idOf(place)
    if (anew) known.delete(id)
    let done = known.get(id)
    if (!done) {
      done = place.partition === undefined ? make(place) : find(place.topic, place.partition)
      known.set(id, done)
      done.catch(() => known.delete(id))
    }
    await done.catch((reason: unknown) => {
      throw errorOf(reason)
    })
  }

  /** Of each place: what came while the last request was on its way goes together in the next. */
  const lanes = new Map<string, Queued[]>()
  const put = async (place: Place, record: NewRecord): Promise<void> => {
    await ensure(place)
    await new Promise<void>((resolve, reject) => {
      const id = idOf(place)
      const lane = lanes.get(id)
      if (lane) lane.push({ record, resolve, reject })
      else {
        const queued = [{ record, resolve, reject }]
        lanes.set(id, queued)
        void send(place, queued).finally(() => lanes.delete(id))
      }
    })
  }
  const send = async (place: Place, queued: Queued[]): Promise<void> => {
    // Those of one turn go together.
    await new Promise<void>((resolve) => setImmediate(resolve))
    while (queued.length > 0) await deliver(place, take(queued))
  }
  const deliver = async (place: Place, batch: readonly Queued[]): Promise<void> => {
    const { topic, partition = 0 } = place
    try {
      broker.ready()
      await producer.send({ acks: ALL_IN_STEP, messages: batch.map(({ record }) => ({ topic, partition, ...record })) })
      for (const { resolve } of batch) resolve()
    } catch (reason) {
      producer.clearMetadata()
      // Whose fault it is is not said.
      if (batch.length > 1 && [...within(reason)].some(isTooLarge)) for (const one of batch) await deliver(place, [one])
      else
        for (const { reject } of batch) {
          // Somebody may have removed it.
          known.delete(idOf(place))
          reject(errorOf(reason, 'maybe-ran'))
        }
      look()
    }
  }

  const opening = there()
  const end = async (): Promise<void> => {
    clearInterval(timer)
    await asked.catch(() => {})
    await Promise.all([admin.close(), producer.close()])
  }
  try {
    await orAborted(opening, signal)
  } catch (reason) {
    opening.catch(() => {})
    await broker.close(end)
    signal?.throwIfAborted()
    throw errorOf(reason)
  }
  return {
    prefix,
    errorOf,
    onError,
    closing: broker.closing,
    ensure,
    produce(place, record) {
      if (broker.ending) return Promise.reject(new TalkwireError('CLOSED', 'the hub was closed'))
      return broker.keep(put(place, record))
    },
    reader(group) {
      broker.ready()
      return new lib.Consumer({ ...options, groupId: group ?? prefix, ...(group === undefined ? ALONE : OF_A_GROUP) })
    },
    async again(pause, reason, what) {
      const error = errorOf(reason)
      look()
      await broker.again(pause, passes(reason) ? undefined : error, what)
    },
    close: () => broker.close(end),
  }
}

/** No topic has a "/" in its name. */
const idOf = ({ topic, partition }: Place): string => `${topic}/${partition ?? ''}`

interface Queued {
  readonly record: NewRecord
  readonly resolve: () => void
  readonly reject: (reason: TalkwireError) => void
}

function take(queued: Queued[]): Queued[] {
  let size = 0
  let count = 0
  for (const { record } of queued) {
    size += sizeOf(record)
    if (count > 0 && size > BATCH_BYTES) break
    count++
  }
  return queued.splice(0, count)
}

/** Of the numbers between what is in a record. */
const BESIDE = 16

function sizeOf({ key, value, headers }: NewRecord): number {
  let size = BESIDE + value.length + (key?.length ?? 0)
  for (const [name, said] of headers) size += BESIDE + name.length + said.length
  return size
}

interface Reason {
  readonly message: string
  readonly code?: string
  /** Kafka's own name of an error. */
  readonly apiId?: string
}

/** Not one replica has it. */
const REFUSED = /^(NOT_ENOUGH_REPLICAS|UNKNOWN_TOPIC_OR_PARTITION|LEADER_NOT_AVAILABLE)$/
/** Brokers say these while they start, and while a topic or a group moves. */
const PASSES =
  /NOT_LEADER|LEADER_NOT_AVAILABLE|UNKNOWN_TOPIC|UNKNOWN_LEADER_EPOCH|FENCED_LEADER_EPOCH|REPLICA_NOT_AVAILABLE|COORDINATOR|UNKNOWN_MEMBER_ID|ILLEGAL_GENERATION|REBALANCE_IN_PROGRESS/

/** An error and those that it is made of, the outermost first. */
function* within(reason: unknown): Generator<Reason> {
  if (!(reason instanceof Error)) return
  yield reason
  yield* within(reason.cause)
  if (reason instanceof AggregateError) for (const each of reason.errors) yield* within(each)
}

/** What is innermost says most. */
const textOf = (reason: unknown): string => `Kafka: ${[...within(reason)].at(-1)?.message || 'nobody is there'}`
export const idsOf = (reason: unknown): readonly string[] => [...within(reason)].flatMap(({ apiId }) => apiId ?? [])
export const passes = (reason: unknown): boolean => PASSES.test(idsOf(reason).join(' ')) || isUnknown(reason)
/** The library keeps the number of this error to itself. */
export const isUnknown = (reason: unknown): boolean => [...within(reason)].some(({ message }) => message.startsWith('Unknown topic'))
const isTooLarge = ({ apiId }: Reason): boolean => apiId === 'MESSAGE_TOO_LARGE' || apiId === 'RECORD_LIST_TOO_LARGE'

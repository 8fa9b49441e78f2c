/** Topics are a stream with the subjects `PREFIX.>`; each subscription is a consumer of it, and a group one that all members share. */
import type { Msg } from '@nats-io/transport-node'
import { createHash } from 'node:crypto'
import { TalkwireError } from '../../../error.js'
import type { From, SubscribeOptions, Subscription, TopicMessage, TopicSink, TopicsDriver } from '../../driver.js'
import { onceDone } from '../../once-done.js'
import { delivery, jetStreamCode, type Nats } from './connection.js'
import { puller, type Pull } from './pull.js'
import { trying } from './trying.js'

/** Messages that are kept, of all topics together. */
const KEPT = 100_000
const BATCH = 256
/** A consumer whose subscriber is gone goes after so many nanoseconds. */
const IDLE = 60e9
const NO_CONSUMER = 10014

const beginOf = (from: From): object => {
  if (from === 'new') return { deliver_policy: 'new' }
  if (from === 'all') return { deliver_policy: 'all' }
  if ('after' in from) return { deliver_policy: 'by_start_sequence', opt_start_seq: Number(from.after) + 1 }
  return { deliver_policy: 'by_start_time', opt_start_time: new Date(from.time).toISOString() }
}

export function topics(nats: Nats): TopicsDriver {
  const stream = `${nats.prefix}-topics`
  const root = `${nats.prefix}.`
  const ready = onceDone(async () => void (await nats.ensure(stream, { subjects: [`${root}>`], max_msgs: KEPT })))
  return {
    async publish(topic, message, { retain }) {
      if (nats.closed) throw new TalkwireError('CLOSED', 'the hub was closed')
      if (retain) throw new TalkwireError('UNSUPPORTED', 'nats has no retained values; keep the value as state')
      await ready()
      await nats.store(root + topic, message)
    },
    async subscribe(pattern, options, sink) {
      await ready()
      return options.group === undefined
        ? follow(nats, stream, root, pattern, options, sink)
        : member(nats, stream, root, pattern, options.group, options, sink)
    },
  }
}

function messageOf(nats: Nats, root: string, message: Msg): TopicMessage {
  const { seq, time } = delivery(message.reply!)
  return { ...nats.incoming(message), topic: message.subject.slice(root.length), position: String(seq), time, retained: false }
}

async function follow(
  nats: Nats,
  stream: string,
  root: string,
  pattern: string,
  options: SubscribeOptions,
  sink: TopicSink,
): Promise<Subscription> {
  let pull: Pull | undefined
  let name = ''
  let last = 0
  let room = true
  let closed = false
  let making: Promise<void> | undefined
  const held: Msg[] = []
  const create = async (begin: object): Promise<void> => {
    const { state } = await nats.api(`STREAM.INFO.${stream}`)
    const config = {
      ...begin,
      ack_policy: 'none',
      filter_subject: root + pattern,
      inactive_threshold: IDLE,
      mem_storage: true,
      max_waiting: 16,
    }
    const made = await nats.api(`CONSUMER.CREATE.${stream}`, { stream_name: stream, config })
    name = made.name
    if (last > 0 && state.first_seq > last + 1) sink.lost(state.first_seq - last - 1)
    // `new` has to mean from now on, also when the consumer has to be made again before anything came.
    last = Math.max(last, made.delivered.stream_seq || ('opt_start_seq' in begin ? 0 : options.from === 'new' ? state.last_seq : 0))
    const mine: Pull = puller(
      nats,
      stream,
      name,
      (message) => {
        if (pull !== mine || closed) return
        held.push(message)
        give()
      },
      (gone) => {
        if (pull === mine) (gone ? remake : ask)()
      },
    )
    pull = mine
    ask()
  }
  const give = (): void => {
    while (room && !closed && held.length > 0) {
      const message = messageOf(nats, root, held.shift()!)
      const seq = Number(message.position)
      if (seq <= last) continue
      last = seq
      room = sink.message(message)
    }
    ask()
  }
  const ask = (): void => {
    if (room && !closed && !nats.away && held.length === 0 && pull && pull.open === 0)
      pull.ask(Math.min(BATCH, Math.max(1, options.buffer)))
  }
  const remake = (): void => {
    if (closed || nats.away || making) return
    pull?.stop()
    pull = undefined
    held.length = 0
    // Of a stream that was empty, what is new began with its first.
    const begin =
      last > 0 || options.from === 'new' ? { deliver_policy: 'by_start_sequence', opt_start_seq: last + 1 } : beginOf(options.from)
    making = trying(
      () => create(begin),
      () => closed || nats.away,
    )
      .catch((reason: unknown) => {
        if (!closed && !nats.away) nats.onError(reason, pattern)
      })
      .finally(() => (making = undefined))
  }
  await create(beginOf(options.from))
  const forgetBack = nats.back(remake)
  const end = async (): Promise<void> => {
    if (closed) return
    closed = true
    forget()
    forgetBack()
    await making
    pull?.stop()
    if (!nats.away) await nats.api(`CONSUMER.DELETE.${stream}.${name}`).catch(() => {})
    sink.ended()
  }
  const forget = nats.closing(end)
  return {
    resume() {
      room = true
      give()
    },
    close: end,
  }
}

/** A message is acknowledged when its sink has it: what a member has taken and not given goes to another when it closes. */
async function member(
  nats: Nats,
  stream: string,
  root: string,
  pattern: string,
  group: string,
  options: SubscribeOptions,
  sink: TopicSink,
): Promise<Subscription> {
  const name = `g${createHash('sha1').update(`${group}\0${pattern}`).digest('hex')}`
  const create = async (begin: object): Promise<void> => {
    const config = {
      ...begin,
      durable_name: name,
      ack_policy: 'explicit',
      ack_wait: 30e9,
      max_ack_pending: 10_000,
      filter_subject: root + pattern,
      max_waiting: 512,
    }
    const there = await nats.api(`CONSUMER.INFO.${stream}.${name}`).catch((reason: unknown) => {
      if (jetStreamCode(reason) !== NO_CONSUMER) throw reason
    })
    if (!there) await nats.api(`CONSUMER.DURABLE.CREATE.${stream}.${name}`, { stream_name: stream, config })
  }
  await create(beginOf(options.from))
  let room = true
  let closed = false
  const held: Msg[] = []
  const give = (): void => {
    while (room && !closed && held.length > 0) {
      const message = held.shift()!
      message.respond('+ACK')
      room = sink.message(messageOf(nats, root, message))
    }
    if (room && !closed && !nats.away && pull.open === 0) pull.ask(Math.min(64, options.buffer))
  }
  const pull = puller(
    nats,
    stream,
    name,
    (message) => {
      if (closed) return void message.respond('-NAK')
      held.push(message)
      give()
    },
    (gone) => {
      if (closed || nats.away) return
      if (!gone) return give()
      const over = (): boolean => closed || nats.away
      trying(() => create({ deliver_policy: 'all' }), over).then(give, (reason: unknown) => {
        if (!over()) nats.onError(reason, pattern)
      })
    },
  )
  const forgetBack = nats.back(() => {
    pull.reset()
    give()
  })
  give()
  const end = async (): Promise<void> => {
    if (closed) return
    closed = true
    forget()
    forgetBack()
    for (const message of held.splice(0)) message.respond('-NAK')
    pull.stop()
    if (!nats.away) await nats.connection.flush().catch(() => {})
    sink.ended()
  }
  const forget = nats.closing(end)
  return {
    resume() {
      room = true
      give()
    },
    close: end,
  }
}

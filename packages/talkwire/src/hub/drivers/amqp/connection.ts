/**
 * Two connections to a RabbitMQ: one that publishes, one that listens. Who publishes more than the broker has room for is stopped by not
 * being read any more, and acknowledgements on the same connection with it. Both are made again together, and listeners are told.
 */
import type { Channel, ChannelModel, ConfirmChannel, Message, Options } from 'amqplib'
import { randomUUID } from 'node:crypto'
import { TalkwireError } from '../../../error.js'
import { NO_HEADERS, type BodyType, type Headers, type Incoming, type OpenOptions, type Outgoing } from '../../driver.js'
import { underway } from '../../underway.js'
import { brokerAddress, whoAsks, type Credentials } from '../broker-address.js'
import { corkOf } from './cork.js'
import { bodyTypeOf, calls, CONTENT_TYPES, LONGEST_PAUSE, orAborted, packageOf, pauses } from '../broker.js'

export interface Sending {
  readonly exchange: string
  readonly key: string
  readonly body: Uint8Array
  readonly options: Options.Publish
  /** What has to be there before. */
  readonly ready?: () => Promise<unknown>
  /** On this channel; default: the one that publishes. */
  readonly channel?: ConfirmChannel
}

export interface Standing {
  /** Undefined while there is none. */
  readonly channel: Channel | undefined
  /** It is not set up again. Resolves when nothing is under way. */
  end(): Promise<void>
}

export interface StandingPlan {
  readonly what: string
  readonly setUp: (channel: Channel) => Promise<void>
  /** Whoever leaves may remove what `setUp` has just declared: it is set up again, on another channel. */
  readonly contested?: boolean
  /** The channel is gone, and all that came on it. */
  readonly down?: () => void
}

export interface Amqp {
  /** Every exchange and queue begins with it. */
  readonly prefix: string
  /** Resolves when the broker has it: true; false: it would have gone nowhere, where `options.mandatory`. */
  send(sending: Sending): Promise<boolean>
  /** Declared once, until there is another connection. */
  ensure(name: string, run: (channel: Channel) => Promise<unknown>): Promise<void>
  /** On a channel of its own: a refusal ends a channel, and all that goes on in it. */
  on<T>(run: (channel: Channel) => Promise<T>): Promise<T>
  publisher(): Promise<ConfirmChannel>
  /** A channel that is made again whenever it is lost. */
  standing(plan: StandingPlan): Promise<Standing>
  /** What is written to listening channels in this turn leaves together. */
  cork(): void
  /** Called before the connections close; what it returns is waited for. */
  closing(what: () => unknown): () => void
  readonly closed: boolean
  errorOf(reason: unknown, outcome?: 'not-sent' | 'maybe-ran'): TalkwireError
  onError: OpenOptions['onError']
  close(): Promise<void>
}

interface Link {
  readonly publishes: ChannelModel
  readonly listens: ChannelModel
  /** Called before something is written there. */
  readonly corkPublishes: () => void
  readonly corkListens: () => void
  publisher: Promise<ConfirmChannel> | undefined
  /** The same, once it is there. */
  open: ConfirmChannel | undefined
  readonly declared: Map<string, Promise<void>>
}

export const ATTEMPT = 'talkwire-attempt'
export const REASON = 'talkwire-reason'
export const MORE = 'talkwire-more'
/** Ours and the broker's own are no headers of the message. */
const OWN = /^(talkwire-(attempt|reason|more)|x-(death|delivery-count|acquired-count|(first|last)-death-\w+))$/
/** The broker sends a copy to each queue that they name. */
const COPIES = /^B?CC$/
const FORM = 'RabbitMQ is amqp://user:password@host:5672/vhost?prefix=shop, or amqps: for TLS; the prefix has letters, digits, "_" and "-"'
/** Seconds: who says nothing for two of them is gone, and what it had goes to another. */
const HEARTBEAT = 10
const NOT_THERE = 404
/** How often others may leave while one joins. */
const TRIES = 100
const LONGEST_NAME = 255

/** `amqp://user:password@host:5672/vhost?prefix=shop`, or `amqps:` for TLS. Throws INVALID_ADDRESS. */
function parse(address: string, credentials: Credentials): { options: Options.Connect; prefix: string } {
  const parsed = brokerAddress(address, ['amqp', 'amqps'], /^\/?[^/]*$/, FORM)
  const { url, host, prefix } = parsed
  const { user, password } = whoAsks(parsed, credentials)
  return {
    prefix,
    options: {
      protocol: url.protocol.slice(0, -1),
      hostname: host,
      port: Number(url.port) || (url.protocol === 'amqps:' ? 5671 : 5672),
      vhost: url.pathname.length > 1 ? url.pathname.slice(1) : '/',
      username: user || 'guest',
      password: password || (user === '' ? 'guest' : ''),
      heartbeat: HEARTBEAT,
    },
  }
}

export async function connectAmqp(address: string, { credentials = {}, onConnection, onError, signal }: OpenOptions): Promise<Amqp> {
  const { options, prefix } = parse(address, credentials)
  const { connect } = await packageOf('amqp', 'amqplib', () => import('amqplib'))
  signal?.throwIfAborted()
  const backs = calls()
  const closings = calls()
  const sending = underway()
  /** The ids of messages that would have gone nowhere. */
  const returned = new Set<string>()
  let link: Link | undefined
  let state: 'open' | 'closing' | 'closed' = 'open'
  let wake: (() => void) | undefined

  const dial = async (): Promise<ChannelModel> => {
    const model = await connect(options, {
      ...(credentials['tls'] as object | undefined),
      noDelay: true,
      clientProperties: { connection_name: `talkwire ${prefix}` },
    })
    // What an error ends says so by its end.
    return model.on('error', () => {})
  }
  const openLink = async (): Promise<Link> => {
    const publishes = await dial()
    const listens = await dial().catch(async (reason: unknown) => {
      await publishes.close()
      throw reason
    })
    const made: Link = {
      publishes,
      listens,
      corkPublishes: corkOf(publishes),
      corkListens: corkOf(listens),
      publisher: undefined,
      open: undefined,
      declared: new Map(),
    }
    for (const model of [publishes, listens]) model.on('close', (reason?: Error) => lost(made, reason))
    return made
  }
  const lost = (which: Link, cause: Error | undefined): void => {
    if (link !== which) return
    link = undefined
    shut(which)
    if (state !== 'open') return
    onConnection({
      state: 'lost',
      cause: new TalkwireError('CONNECTION_LOST', `RabbitMQ: ${cause?.message ?? 'the connection was lost'}`, {
        cause,
        outcome: 'maybe-ran',
      }),
    })
    void again()
  }
  /** One of the two may be gone already. */
  const shut = (which: Link): void => {
    for (const model of [which.publishes, which.listens]) model.close().catch(() => {})
  }
  const again = async (): Promise<void> => {
    const pause = pauses()
    wake = pause.end
    while (state === 'open') {
      const made = await openLink().catch(() => undefined)
      if (made && state === 'open') {
        link = made
        onConnection({ state: 'connected' })
        await backs.all()
        return
      }
      if (made) shut(made)
      else await pause.next()
    }
  }
  const linked = (): Link => {
    if (state === 'closed') throw new TalkwireError('CLOSED', 'the hub was closed')
    if (link) return link
    throw new TalkwireError('UNAVAILABLE', 'RabbitMQ: there is no connection now; it is made again by itself')
  }

  function errorOf(reason: unknown, outcome: 'not-sent' | 'maybe-ran' = 'not-sent'): TalkwireError {
    if (reason instanceof TalkwireError) return reason
    const { message, name } = reason as Error
    const say = (code: string, text = message): TalkwireError =>
      new TalkwireError(code, `RabbitMQ: ${text || 'nobody is there'}`, { cause: reason, outcome })
    if (/\b403\b|ACCESS.REFUSED/.test(message)) return say('UNAUTHENTICATED')
    // All that the library tells of what was closed instead of opened.
    if (/ConnectionOpenOk; got <ConnectionClose/.test(message))
      return say(
        'INVALID_ADDRESS',
        `there is no virtual host ${options.vhost} for this user; rabbitmqctl add_vhost and set_permissions make it`,
      )
    if (/nacked/.test(message)) return say('NO_SPACE', 'a queue that it would have gone to takes no more')
    if (name === 'IllegalOperationError' || /channel closed|no reply will be|Connection closed/i.test(message))
      return say('CONNECTION_LOST')
    return say(outcome === 'not-sent' ? 'UNAVAILABLE' : 'UNKNOWN')
  }

  const openPublisher = async (from: Link): Promise<ConfirmChannel> => {
    const channel = await from.publishes.createConfirmChannel()
    channel.on('error', () => {})
    channel.on('return', ({ properties }) => void returned.add(String(properties.messageId)))
    // Somebody removed what we had declared: both are made again.
    channel.on('close', () => {
      from.publisher = undefined
      from.open = undefined
      from.declared.clear()
    })
    return (from.open = channel)
  }
  const publisher = (): Promise<ConfirmChannel> => {
    const from = linked()
    return (from.publisher ??= openPublisher(from).catch((reason: unknown) => {
      from.publisher = undefined
      throw errorOf(reason)
    }))
  }
  /** Jobs come by the ten thousand: nothing is waited for that is there already. */
  const deliver = (what: Sending): Promise<boolean> => {
    short(what.key, 'a name')
    const there = what.channel ?? linked().open
    return there && !what.ready ? hand(there, what) : deliverLater(what)
  }
  const deliverLater = async (what: Sending): Promise<boolean> => {
    await what.ready?.()
    return hand(what.channel ?? (await publisher()), what)
  }
  const hand = (channel: ConfirmChannel, { exchange, key, body, options: how }: Sending): Promise<boolean> =>
    new Promise((resolve, reject) => {
      const id = how.mandatory ? (how.messageId ?? randomUUID()) : undefined
      const settings = id === undefined || how.messageId !== undefined ? how : { ...how, messageId: id }
      const end = (reason?: unknown): void => {
        // A return comes before the confirmation of what is returned.
        const routed = id === undefined || !returned.delete(id)
        if (reason) reject(errorOf(reason, 'maybe-ran'))
        else resolve(routed)
      }
      try {
        channel.publish(exchange, key, Buffer.from(body.buffer, body.byteOffset, body.byteLength), settings, end)
        link?.corkPublishes()
      } catch (reason) {
        reject(errorOf(reason))
      }
    })
  const on = async <T>(run: (channel: Channel) => Promise<T>): Promise<T> => {
    const from = linked()
    let channel: Channel | undefined
    try {
      channel = await from.listens.createChannel()
      channel.on('error', () => {})
      return await run(channel)
    } catch (reason) {
      channel = undefined
      throw errorOf(reason, 'maybe-ran')
    } finally {
      await channel?.close().catch(() => {})
    }
  }

  const standing = async ({ what, setUp, contested = false, down }: StandingPlan): Promise<Standing> => {
    let channel: Channel | undefined
    let ended = false
    let making: Promise<void> | undefined
    let timer: NodeJS.Timeout | undefined
    const make = async (): Promise<void> => {
      for (let tries = 0; ; tries++) {
        try {
          await begin()
          return
        } catch (reason) {
          if (!contested || tries >= TRIES || (reason as { code?: number }).code !== NOT_THERE) throw reason
        }
      }
    }
    const begin = async (): Promise<void> => {
      const mine = await linked().listens.createChannel()
      mine.on('error', () => {})
      mine.on('close', () => {
        if (channel !== mine) return
        channel = undefined
        down?.()
        remake()
      })
      channel = mine
      await setUp(mine)
    }
    const remake = (): void => {
      clearTimeout(timer)
      if (ended || making || !link) return
      making = make()
        .catch((reason: unknown) => {
          if (ended || !link) return
          onError(errorOf(reason), what)
          timer = setTimeout(remake, LONGEST_PAUSE).unref()
        })
        .finally(() => {
          making = undefined
          // Lost while it was made.
          if (!channel && !timer) remake()
        })
    }
    making = make()
    try {
      await making
    } catch (reason) {
      ended = true
      throw errorOf(reason)
    } finally {
      making = undefined
    }
    const forget = backs.add(remake)
    return {
      get channel() {
        return channel
      },
      async end() {
        ended = true
        clearTimeout(timer)
        forget()
        await making
      },
    }
  }

  const opening = openLink()
  try {
    link = await orAborted(opening, signal)
  } catch (reason) {
    state = 'closed'
    opening.then(shut, () => {})
    signal?.throwIfAborted()
    throw errorOf(reason)
  }
  return {
    prefix,
    publisher,
    on,
    standing,
    errorOf,
    onError,
    cork: () => link?.corkListens(),
    closing: (what) => closings.add(what),
    get closed() {
      return state === 'closed'
    },
    send(what) {
      if (state !== 'open') return Promise.reject(new TalkwireError('CLOSED', 'the hub was closed'))
      try {
        return sending.keep(deliver(what))
      } catch (reason) {
        return Promise.reject(reason)
      }
    },
    async ensure(name, run) {
      const { declared } = linked()
      let done = declared.get(name)
      if (!done) {
        done = on(run).then(() => {})
        declared.set(name, done)
        done.catch(() => declared.delete(name))
      }
      await done
    },
    async close() {
      if (state !== 'open') return
      await closings.all()
      state = 'closing'
      await sending.settled()
      state = 'closed'
      wake?.()
      if (!link) return
      const { publishes, listens } = link
      link = undefined
      // One that is lost meanwhile has nothing left to say.
      await Promise.allSettled([publishes.close(), listens.close()])
    },
  }
}

/** Names of AMQP have 255 bytes. Throws INVALID_INPUT. */
export function short(name: string, what: string, most = LONGEST_NAME): string {
  if (Buffer.byteLength(name) <= most) return name
  throw new TalkwireError('INVALID_INPUT', `${what} has ${most} bytes at most, with its prefix: ${name.slice(0, 80)}…`)
}

/** The type and the headers of a message as properties. Throws INVALID_INPUT. */
export function propertiesOf(
  { type, headers }: Omit<Outgoing, 'body'>,
  extra: Readonly<Record<string, unknown>> = NO_HEADERS,
): Options.Publish {
  const persistent = true
  const contentType = CONTENT_TYPES[type]
  // The library makes the headers that it is given the prototype of others: of no use where there are none.
  if (headers === NO_HEADERS && extra === NO_HEADERS) return { persistent, contentType }
  const copies = Object.keys(headers).find((name) => COPIES.test(name))
  if (copies !== undefined) throw new TalkwireError('INVALID_INPUT', `RabbitMQ has a header "${copies}" of its own; choose another name`)
  return { persistent, contentType, headers: { ...headers, ...extra } }
}

/** The headers of a message as they came, without ours and the broker's own. */
export function headersOf({ properties }: Message): Headers {
  const all = (properties.headers ?? NO_HEADERS) as Record<string, string | number | boolean | object | null>
  const headers: Record<string, string> = {}
  let some = false
  for (const name of Object.keys(all)) {
    const value = all[name]!
    if (OWN.test(name) || value === null || typeof value === 'object') continue
    headers[name] = String(value)
    some = true
  }
  return some ? headers : NO_HEADERS
}

export const typeOf = ({ properties }: Message): BodyType | undefined => bodyTypeOf(String(properties.contentType ?? ''))

export const incoming = (message: Message): Incoming => ({ body: message.content, headers: headersOf(message), type: typeOf(message) })

/** What a message is when it is sent once more. The broker checks whose it is said to be, and ends what goes in a circle. */
export function resent({ properties }: Message, extra: Readonly<Record<string, unknown>>): Options.Publish {
  const { expiration: _, userId: _user, headers = {}, ...rest } = properties
  const kept = Object.entries(headers as Record<string, unknown>).filter(([name]) => !OWN.test(name) && !COPIES.test(name))
  return { ...rest, persistent: true, headers: { ...Object.fromEntries(kept), ...extra } } as Options.Publish
}

/** False: its channel is gone, and it goes to another. */
export function acknowledge(channel: Channel, message: Message, allUpTo = false): boolean {
  try {
    channel.ack(message, allUpTo)
    return true
  } catch {
    return false
  }
}

/** `*` is one part there too; `#` is none or more. */
export const bindingOf = (pattern: string): string => pattern.replace(/>$/, '*.#')

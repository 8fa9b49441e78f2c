/** A hub's connections to a broker: one, and another for each subscription that overlaps with those of the others. */
import { randomUUID } from 'node:crypto'
import type { IClientOptions, IPublishPacket } from 'mqtt'
import { TalkwireError } from '../../../error.js'
import { HUB_TRAITS, type Headers, type HubTrait, type Incoming, type OpenOptions, type Outgoing } from '../../driver.js'
import { brokerAddress, whoAsks, type Credentials } from '../broker-address.js'
import { bodyTypeOf, calls, CONTENT_TYPES, packageOf } from '../broker.js'
import { errorOf, openLine, wantsOther, type Hearing, type Line } from './line.js'

type Properties = NonNullable<IPublishPacket['properties']>

export interface Wish {
  readonly retain?: boolean
  /** Of MQTT 5. */
  readonly properties?: Properties
  readonly extra?: Headers
}

export interface Ear {
  /** Nothing is heard after it resolves. */
  close(): Promise<void>
}

export interface Mqtt {
  /** Every topic begins with it, or with it and `-requests` or `-replies`. */
  readonly prefix: string
  readonly version: 4 | 5
  readonly traits: readonly HubTrait[]
  readonly closed: boolean
  /** Rejects with UNSUPPORTED for what this connection lacks. */
  need(trait: HubTrait): void
  /** Resolves with false when the broker says that nobody subscribed to it. */
  publish(topic: string, message: Outgoing, wish: Wish): Promise<boolean>
  /** `kept`: what comes while the connection is lost comes later, if it is not for too long. */
  listen(filter: string, kept: boolean, heard: (packet: IPublishPacket) => void): Promise<Ear>
  incoming(packet: IPublishPacket): Incoming
  /** Called before the connections close; what it returns is waited for. */
  closing(what: () => unknown): () => void
  onError: OpenOptions['onError']
  close(): Promise<void>
}

/** Ours are no headers of the message. */
const OWN = /^(talkwire-more|__proto__)$/i
/** How long the broker keeps what is for a subscriber who is away, seconds. */
const KEPT = 60
/** Seconds; a broker that says nothing for one and a half of them is gone. */
const KEEPALIVE = 30
/** Of MQTT itself. */
const LARGEST = 268_435_460
const LONGEST_TEXT = 65_535
/** What a message has beside body and headers, at most: the topic above all. */
const OVERHEAD = 2_048
const PATIENCE = 10_000

interface Place {
  readonly options: IClientOptions
  readonly prefix: string
  /** Undefined: 5, or 3.1.1 if the broker has no other. */
  readonly version: 4 | 5 | undefined
}

const FORM =
  'MQTT is mqtt://user:password@host:1883?prefix=shop, or mqtts: for TLS; the prefix has letters, digits, "_" and "-"; &version=3.1.1 or &version=5 asks for that alone'

function parse(address: string, credentials: Credentials): Place {
  const parsed = brokerAddress(address, ['mqtt', 'mqtts'], /^\/?$/, FORM, ['version'])
  const { url, host, prefix } = parsed
  const { user, password } = whoAsks(parsed, credentials)
  const said = url.searchParams.get('version')
  if (said !== null && said !== '5' && said !== '3.1.1') throw new TalkwireError('INVALID_ADDRESS', `an address of ${FORM}`)
  const secure = url.protocol === 'mqtts:'
  return {
    prefix,
    version: said === null ? undefined : said === '5' ? 5 : 4,
    options: {
      protocol: secure ? 'mqtts' : 'mqtt',
      host,
      port: Number(url.port || (secure ? 8883 : 1883)),
      ...(user !== '' && { username: user }),
      ...(password !== '' && { password }),
    },
  }
}

const LESS = ['topics', 'wildcards', 'confirmed', 'retained'] as const
const ALL = [...LESS, 'headers', 'groups', 'requests', 'unanswered'] as const

/** What MQTT 5 can do. A broker may have less, and says so. */
export const MQTT_TRAITS: readonly HubTrait[] = ALL

function traitsOf({ connack }: Line, version: 4 | 5): readonly HubTrait[] {
  if (version === 4) return LESS
  const said = (connack.properties ?? {}) as Record<string, unknown>
  const lacking = new Set<HubTrait>([
    ...(said['wildcardSubscriptionAvailable'] === false ? (['wildcards'] as const) : []),
    ...(said['maximumQoS'] === 0 ? (['confirmed', 'unanswered'] as const) : []),
    ...(said['retainAvailable'] === false ? (['retained'] as const) : []),
    ...(said['sharedSubscriptionAvailable'] === false ? (['groups'] as const) : []),
  ])
  return ALL.filter((trait) => !lacking.has(trait))
}

export async function connectMqtt(address: string, options: OpenOptions): Promise<Mqtt> {
  const { credentials = {} } = options
  const place = parse(address, credentials)
  const { default: library } = await packageOf('mqtt', 'mqtt', () => import('mqtt'))
  options.signal?.throwIfAborted()
  let version = place.version ?? 5
  let closing: Promise<void> | undefined
  let ids = 0
  const lines: Line[] = []
  const down = new Set<object>()
  const closings = calls()
  const open = async (kept: boolean, signal?: AbortSignal): Promise<Line> => {
    const me = {}
    const told = {
      down(cause: TalkwireError) {
        if (closing) return
        down.add(me)
        if (down.size === 1) options.onConnection({ state: 'lost', cause })
      },
      up() {
        if (down.delete(me) && down.size === 0 && !closing) options.onConnection({ state: 'connected' })
      },
      error: options.onError,
    }
    // Sessions of 3.1.1 have no end: what is killed would leave its own for ever.
    const keeps = kept && version === 5
    const line = await openLine(
      {
        library,
        kept,
        signal,
        options: {
          ...place.options,
          ...(credentials['tls'] as object | undefined),
          protocolVersion: version,
          clientId: `talkwire-${randomUUID()}`,
          clean: !keeps,
          ...(keeps && { properties: { sessionExpiryInterval: KEPT } }),
          keepalive: KEEPALIVE,
          connectTimeout: PATIENCE,
          // What is sent without a connection fails, and who waits is told: the library would do neither.
          reconnectPeriod: 0,
          resubscribe: false,
          queueQoSZero: false,
        },
      },
      told,
    )
    const close = line.close.bind(line)
    return Object.assign(line, {
      async close() {
        await close()
        told.up()
      },
    })
  }
  try {
    lines.push(await open(true, options.signal))
  } catch (reason) {
    options.signal?.throwIfAborted()
    if (place.version !== undefined || !wantsOther(reason)) throw errorOf(reason)
    version = 4
    lines.push(await open(true, options.signal))
  }
  const main = lines[0]!
  const traits = traitsOf(main, version)
  const ready = (): void => {
    if (closing) throw new TalkwireError('CLOSED', 'the hub was closed')
  }
  const need = (trait: HubTrait): void => {
    if (traits.includes(trait)) return
    throw new TalkwireError('UNSUPPORTED', `this connection of MQTT has no ${trait} (${HUB_TRAITS[trait]})`)
  }
  const propertiesOf = ({ type, headers }: Outgoing, { properties, extra }: Wish): Properties => {
    const user = { ...headers, ...extra }
    return {
      ...properties,
      contentType: CONTENT_TYPES[type],
      ...(type !== 'bytes' && { payloadFormatIndicator: true }),
      // The library sends nothing at all, and says nothing, when it is given none of them.
      ...(Object.keys(user).length > 0 && { userProperties: user }),
    }
  }
  const largest = main.connack.properties?.maximumPacketSize ?? LARGEST
  /** The broker would end the connection; the library writes a length of two bytes, whatever it is. */
  const validateSize = ({ body, headers }: Outgoing): void => {
    let size = body.length + OVERHEAD
    for (const [name, value] of Object.entries(headers)) {
      const length = Buffer.byteLength(value)
      if (length > LONGEST_TEXT)
        throw new TalkwireError('MESSAGE_TOO_LARGE', `the header ${name} has ${length} bytes; MQTT takes ${LONGEST_TEXT}`)
      size += name.length + length + 5
    }
    if (size > largest)
      throw new TalkwireError('MESSAGE_TOO_LARGE', `a message of ${body.length} bytes; this broker takes ${largest} with headers and topic`)
  }
  return {
    prefix: place.prefix,
    version,
    traits,
    get closed() {
      return closing !== undefined
    },
    need,
    async publish(topic, message, wish) {
      ready()
      if (Object.keys(message.headers).length > 0) need('headers')
      if (wish.retain) need('retained')
      validateSize(message)
      const { body } = message
      return main.publish(topic, Buffer.from(body.buffer, body.byteOffset, body.byteLength), {
        qos: traits.includes('confirmed') ? 1 : 0,
        retain: wish.retain ?? false,
        ...(version === 5 && { properties: propertiesOf(message, wish) }),
      })
    },
    async listen(filter, kept, heard) {
      ready()
      const hearing: Hearing = { filter, id: ++ids, heard }
      let line = lines.find((each) => each.kept === kept && !each.overlaps(filter))
      if (!line) {
        line = await open(kept)
        if (closing) await line.close()
        ready()
        lines.push(line)
      }
      const forget = async (): Promise<void> => {
        if (!line!.idle || line === main || !lines.includes(line!)) return
        lines.splice(lines.indexOf(line!), 1)
        await line!.close()
      }
      try {
        await line.hear(hearing)
      } catch (reason) {
        await forget()
        throw reason
      }
      return {
        async close() {
          await line!.unhear(hearing)
          await forget()
        },
      }
    },
    incoming({ payload, properties = {} }) {
      const headers: Record<string, string> = {}
      for (const [name, value] of Object.entries(properties.userProperties ?? {}))
        if (!OWN.test(name)) headers[name] = Array.isArray(value) ? value[0]! : value
      return { body: payload as Buffer, headers, type: bodyTypeOf(properties.contentType ?? '') }
    },
    closing: (what) => closings.add(what),
    onError: options.onError,
    close: () =>
      (closing ??= (async () => {
        await closings.all()
        await Promise.all(lines.splice(0).map((line) => line.close()))
      })()),
  }
}

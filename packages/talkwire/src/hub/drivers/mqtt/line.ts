/** One connection to a broker, made again by itself, with its subscriptions. */
import type { IClientOptions, IConnackPacket, IPublishPacket, MqttClient } from 'mqtt'
import { TalkwireError } from '../../../error.js'
import { underway } from '../../underway.js'
import { pauses } from '../broker.js'
import { matchesFilter, overlap } from './names.js'

export type Library = typeof import('mqtt')
type PublishOptions = NonNullable<Parameters<MqttClient['publishAsync']>[2]>

export interface LinePlan {
  readonly library: Library
  readonly options: IClientOptions
  readonly signal: AbortSignal | undefined
  /** Its session outlives a lost connection: what comes meanwhile comes later. */
  readonly kept: boolean
}

export interface Told {
  down(cause: TalkwireError): void
  up(): void
  error(reason: unknown, what: string): void
}

export interface Hearing {
  readonly filter: string
  /** Of MQTT 5: the broker says which subscription a message is for. */
  readonly id: number
  heard(packet: IPublishPacket): void
}

export interface Line {
  readonly kept: boolean
  readonly connack: IConnackPacket
  readonly idle: boolean
  /** Resolves with true when the broker has it, false when it says that nobody subscribed to it. */
  publish(topic: string, body: Buffer, options: PublishOptions): Promise<boolean>
  overlaps(filter: string): boolean
  /** Resolves when the broker has the subscription. Messages may come before. */
  hear(hearing: Hearing): Promise<void>
  /** Nothing is heard from now on; resolves when the broker knows. */
  unhear(hearing: Hearing): Promise<void>
  /** What was published leaves first. */
  close(): Promise<void>
}

/** Of publications on their way, where the broker takes more. */
const WINDOW = 64
const NOBODY = 16
const UNAUTHENTICATED = new Set([4, 5, 134, 135, 138, 140])
const OTHER_VERSION = new Set([1, 132])
const UNSUPPORTED = new Set([154, 155, 158, 161, 162])

/** It asks for another version of MQTT. */
export const wantsOther = (reason: unknown): boolean =>
  reason instanceof TalkwireError && OTHER_VERSION.has((reason.cause as { code?: number }).code ?? 0)

/** `number`: the broker's own, which the library does not always leave on its errors. */
export function errorOf(reason: unknown, number?: number): TalkwireError {
  if (reason instanceof TalkwireError) return reason
  const { message, code } = reason as Error & { code?: number | string }
  const said = number ?? (typeof code === 'number' ? code : 0)
  const name = UNAUTHENTICATED.has(said) ? 'UNAUTHENTICATED' : UNSUPPORTED.has(said) ? 'UNSUPPORTED' : 'UNAVAILABLE'
  return new TalkwireError(name, `MQTT: ${message || (code ?? 'nobody is there')}`, { cause: reason })
}

/** How many publications may be on their way over one connection, in order. */
interface Window {
  free: number
  readonly waiting: { readonly resolve: () => void; readonly reject: (reason: TalkwireError) => void }[]
}

export async function openLine({ library, options, signal, kept }: LinePlan, told: Told): Promise<Line> {
  const hearings = new Set<Hearing>()
  const asked = new Set<(reason: TalkwireError) => void>()
  const publishing = underway()
  let client: MqttClient | undefined
  let window: Window = { free: 0, waiting: [] }
  /** Publications that the broker had no subscriber for: the library does not pass it on. */
  const unheard = new Set<number | undefined>()
  let closed = false
  /** Ends a pause, or an attempt. */
  let hurry: (() => void) | undefined
  let redialling: Promise<void> | undefined

  const dispatch = (packet: IPublishPacket): void => {
    const ids = [packet.properties?.subscriptionIdentifier ?? []].flat()
    for (const hearing of hearings)
      if (ids.length > 0 ? ids.includes(hearing.id) : matchesFilter(hearing.filter, packet.topic)) hearing.heard(packet)
  }
  const dial = (): Promise<IConnackPacket> =>
    new Promise((resolve, reject) => {
      let failure: unknown
      const made = library.connect(options)
      hurry = () => void made.end(true)
      made.on('error', (reason) => (failure ??= reason))
      made.on('message', (_topic, _body, packet) => dispatch(packet))
      made.on('packetreceive', (packet) => {
        if (packet.cmd === 'puback' && packet.reasonCode === NOBODY) unheard.add(packet.messageId)
      })
      made.on('disconnect', ({ reasonCode }) => (failure ??= new Error(`the broker ended the connection, reason ${reasonCode}`)))
      made.once('connect', (connack) => {
        hurry = undefined
        client = made
        window = { free: Math.min(WINDOW, connack.properties?.receiveMaximum ?? WINDOW), waiting: [] }
        resolve(connack)
      })
      made.once('close', () => {
        failure ??= new Error('the connection was closed')
        reject(errorOf(failure))
        if (client === made) gone(failure)
      })
    })
  const gone = (reason: unknown): void => {
    client = undefined
    const cause = new TalkwireError('CONNECTION_LOST', `MQTT: ${(reason as Error).message}`, { cause: reason, outcome: 'maybe-ran' })
    const unsent = away()
    for (const { reject } of window.waiting.splice(0)) reject(unsent)
    for (const fail of asked) fail(cause)
    asked.clear()
    unheard.clear()
    if (closed || redialling) return
    told.down(cause)
    redialling = redial()
  }
  const redial = async (): Promise<void> => {
    let refused = false
    const pause = pauses()
    while (!closed) {
      hurry = pause.end
      await pause.next()
      if (closed) return
      try {
        const { sessionPresent } = await dial()
        if (!sessionPresent) await Promise.all([...hearings].map(subscribeAgain))
      } catch (reason) {
        const error = errorOf(reason)
        if (error.code === 'UNAUTHENTICATED' && !refused) told.error(error, 'the connection')
        refused ||= error.code === 'UNAUTHENTICATED'
      }
      if (!client) continue
      redialling = undefined
      return told.up()
    }
  }
  const away = (): TalkwireError => new TalkwireError('UNAVAILABLE', 'MQTT: there is no connection for now', { outcome: 'not-sent' })
  /** What the library answers later than the connection ends fails with it. */
  const ask = <T>(run: (client: MqttClient, done: (error: Error | undefined | null, answer?: T, number?: number) => void) => unknown) =>
    new Promise<T | undefined>((resolve, reject) => {
      if (!client) return reject(away())
      asked.add(reject)
      run(client, (error, answer, number) => {
        // The connection ended first: it is answered.
        if (!asked.delete(reject)) return
        if (error) reject(errorOf(error, number))
        else resolve(answer)
      })
    })
  const subscribe = ({ filter, id }: Hearing): Promise<void> =>
    ask<void>((it, done) => {
      const wish = { qos: 1 as const, ...(options.protocolVersion === 5 && { properties: { subscriptionIdentifier: id } }) }
      it.subscribe(filter, wish, (error, _granted, packet) => {
        const said = packet?.granted[0]
        done(error, undefined, typeof said === 'number' ? said : undefined)
      })
    })
  const subscribeAgain = (hearing: Hearing): Promise<void> =>
    subscribe(hearing).catch((reason: unknown) => {
      if (client) told.error(reason, hearing.filter)
    })
  const turn = async (): Promise<Window> => {
    const mine = window
    await new Promise<void>((resolve, reject) => {
      if (!client) return reject(away())
      if (mine.free === 0) return void mine.waiting.push({ resolve, reject })
      mine.free--
      resolve()
    })
    return mine
  }
  const publish = async (topic: string, body: Buffer, wish: PublishOptions): Promise<boolean> => {
    const mine = await turn()
    try {
      const lone = await ask<boolean>((it, done) =>
        it.publish(topic, body, wish, (error, packet) => done(error, packet !== undefined && unheard.delete(packet.messageId))),
      )
      return !lone
    } finally {
      const next = mine.waiting.shift()
      if (next) next.resolve()
      else mine.free++
    }
  }
  const abort = (): void => hurry?.()
  signal?.addEventListener('abort', abort, { once: true })
  const connack = await dial().finally(() => signal?.removeEventListener('abort', abort))
  return {
    kept,
    connack,
    get idle() {
      return hearings.size === 0
    },
    publish: (topic, body, wish) => publishing.keep(publish(topic, body, wish)),
    overlaps: (filter) => [...hearings].some((hearing) => overlap(hearing.filter, filter)),
    async hear(hearing) {
      hearings.add(hearing)
      try {
        await subscribe(hearing)
      } catch (reason) {
        hearings.delete(hearing)
        throw reason
      }
    },
    async unhear(hearing) {
      if (!hearings.has(hearing)) return
      // Until the broker has ended it nobody else may have what overlaps with it.
      const silent = { ...hearing, heard() {} }
      hearings.add(silent)
      hearings.delete(hearing)
      await ask((it, done) => it.unsubscribe(hearing.filter, (error) => done(error))).catch(() => {})
      hearings.delete(silent)
    },
    async close() {
      if (closed) return
      await publishing.settled()
      closed = true
      hurry?.()
      await redialling
      const last = client
      if (!last) return
      const goodbye = { reasonCode: 0, ...(options.protocolVersion === 5 && { properties: { sessionExpiryInterval: 0 } }) }
      await new Promise<void>((resolve) => last.end(false, goodbye, () => resolve()))
    },
  }
}

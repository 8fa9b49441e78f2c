/**
 * Calls over a broker: `nats://127.0.0.1:4222`, `mqtt://127.0.0.1:1883`, `redis://127.0.0.1:6379`, `amqp://127.0.0.1:5672`,
 * `kafka://127.0.0.1:9092`, `stomp://127.0.0.1:61613`, `amqp1://127.0.0.1:5672`. A call is a request in the broker's own idiom, a service
 * any number of processes that share them. docs/protocols/broker.md.
 */
import { fromOpenRpc } from '../contract/from-openrpc.js'
import type { Contract } from '../contract/contract.js'
import { TalkwireError } from '../error.js'
import type { HubDriver, OpenDriver } from '../hub/driver.js'
import { openDriver } from '../hub/open-driver.js'
import type { Limits } from '../session/limits.js'
import type { ConnectionBase, Listener, Peer } from '../transports/transport.js'
import { BrokerCallee, first } from './broker-call.js'
import { EVERYBODY, Served, type Topics } from './broker-serve.js'
import { CONTROL, readError, wordsOf } from './broker-words.js'
import type { Dialect, DialectTraits } from './dialect.js'

const traits: DialectTraits = {
  inputStream: true,
  outputStream: true,
  duplex: true,
  events: true,
  oneway: true,
  progress: true,
  deadline: true,
  metadata: true,
  cancellation: true,
  untyped: true,
  crossHost: true,
}
/** Of drivers that are not `unanswered`. */
const unheard: DialectTraits = { ...traits, unheard: true }

export const amqp = brokerDialect('amqp', async () => (await import('../hub/drivers/amqp.js')).amqp)
export const amqps = brokerDialect('amqps', async () => (await import('../hub/drivers/amqp.js')).amqp)
export const amqp1 = brokerDialect('amqp1', async () => (await import('../hub/drivers/amqp1.js')).amqp1, unheard)
export const amqp1s = brokerDialect('amqp1s', async () => (await import('../hub/drivers/amqp1.js')).amqp1, unheard)
export const kafka = brokerDialect('kafka', async () => (await import('../hub/drivers/kafka.js')).kafka, unheard)
export const kafkas = brokerDialect('kafkas', async () => (await import('../hub/drivers/kafka.js')).kafka, unheard)
export const nats = brokerDialect('nats', async () => (await import('../hub/drivers/nats.js')).nats)
export const mqtt = brokerDialect('mqtt', async () => (await import('../hub/drivers/mqtt.js')).mqtt)
export const mqtts = brokerDialect('mqtts', async () => (await import('../hub/drivers/mqtt.js')).mqtt)
export const redis = brokerDialect('redis', async () => (await import('../hub/drivers/redis.js')).redis)
export const rediss = brokerDialect('rediss', async () => (await import('../hub/drivers/redis.js')).redis)
export const stomp = brokerDialect('stomp', async () => (await import('../hub/drivers/stomp.js')).stomp, unheard)
export const stomps = brokerDialect('stomps', async () => (await import('../hub/drivers/stomp.js')).stomp, unheard)

function brokerDialect(scheme: string, load: () => Promise<HubDriver>, own = traits): Dialect {
  return {
    scheme,
    speaks: 'calls',
    traits: own,
    async listen(address, service, admit, options): Promise<Listener> {
      const { broker, name } = placeOf(address)
      const [driver, connection] = await open(load, broker, options, options.onError, false)
      const topics = topicsOf(name ?? (service.contract ? nameOf(service.contract) : service.name))
      const served = new Served(driver, topics, service, connection, admit, options)
      try {
        await served.listen()
      } catch (reason) {
        connection.abort(TalkwireError.from(reason))
        throw reason
      }
      return { address, close: () => served.close() }
    },
    async connect(address, options) {
      const { broker, name } = placeOf(address)
      const { contract } = options
      const [driver, connection] = await open(load, broker, options, () => {}, true)
      try {
        const wanted = name ?? (contract && nameOf(contract))
        const card = contract?.foreign ? undefined : await hello(driver, wanted, options.limits, address)
        if (contract && card && card.contract !== contract.id) throw mismatch(card, contract)
        const callee = new BrokerCallee(driver, topicsOf(wanted ?? topicName(card!)), options, connection)
        return { connection, callee }
      } catch (reason) {
        await connection.close()
        throw reason
      }
    },
    async discover(address, options): Promise<Contract> {
      const { broker, name } = placeOf(address)
      const [driver, connection] = await open(load, broker, options, () => {}, false)
      try {
        const topic = `${topicsOf(name ?? topicName(await hello(driver, name, options.limits, address))).calls}.rpc.discover`
        const words = wordsOf(options.limits, false)
        const reply = await first(driver, topic, words.write(undefined, {}), options.limits.handshake, 'group')
        if (!reply) throw nobody(address)
        const error = readError(reply, words)
        if (error) throw error
        return await fromOpenRpc(words.read(reply))
      } finally {
        await connection.close()
      }
    },
  }
}

/** The broker's own address, and whose calls: `?service=bank`. Throws INVALID_ADDRESS. */
function placeOf(address: string): { broker: string; name: string | undefined } {
  const url = URL.canParse(address) ? new URL(address) : undefined
  const name = url?.searchParams.get('service') ?? undefined
  if (!url || name === undefined) return { broker: address, name: undefined }
  if (!/^[\w~-]{1,200}$/.test(name))
    throw new TalkwireError('INVALID_ADDRESS', `service=${name.slice(0, 80)} is no name: letters, digits, "_", "~" and "-"`)
  url.searchParams.delete('service')
  return { broker: url.href, name }
}

/** One part of a topic. */
const partOf = (name: string): string => name.replaceAll(/[^\w~-]/g, '~')
const nameOf = ({ name, version }: Contract): string => `${partOf(name)}-${version}`

interface Card {
  readonly service: string
  readonly contract: string | null
}

const topicName = ({ service, contract }: Card): string =>
  contract === null ? partOf(service) : partOf(contract).replace(/~(\d+)$/, '-$1')

function topicsOf(name: string): Topics {
  const part = partOf(name)
  return { calls: `rpc.${part}`, control: `${EVERYBODY}.${part}`, events: `rpc-events.${part}` }
}

async function open(
  load: () => Promise<HubDriver>,
  address: string,
  { signal, tls }: { readonly signal?: AbortSignal; readonly tls?: object },
  onError: (error: unknown, what: string) => void,
  endsWhenLost: boolean,
): Promise<[OpenDriver, BrokerConnection]> {
  let connection: BrokerConnection | undefined
  let early: TalkwireError | undefined
  const found = await load()
  const driver = await openDriver(found, address, {
    credentials: tls && { tls },
    onError,
    signal,
    onConnection(change) {
      // A service goes on when the broker is there again; what was asked of a client's connection is not answered any more.
      if (!endsWhenLost || change.state !== 'lost') return
      if (connection) connection.abort(change.cause)
      else early = change.cause
    },
  })
  connection = new BrokerConnection(driver, { address })
  if (!driver.requests) {
    await connection.close()
    throw new TalkwireError(
      'UNSUPPORTED',
      `${driver.only?.name ?? found.name} has no requests, so no calls; take ActiveMQ, Kafka, MQTT 5, NATS, RabbitMQ or Redis`,
    )
  }
  if (early) connection.abort(early)
  return [driver, connection]
}

/** Who serves it, or, without a name, the one service that is there. Rejects with PEER_NOT_FOUND. */
async function hello(driver: OpenDriver, name: string | undefined, limits: Limits, address: string): Promise<Card> {
  const topic = name === undefined ? EVERYBODY : topicsOf(name).control
  const words = wordsOf(limits, false)
  const reply = await first(driver, topic, words.write(undefined, { [CONTROL]: 'hello' }), limits.handshake, 'all')
  const card = reply && (words.read(reply) as Partial<Card> | null)
  if (typeof card?.service !== 'string') throw nobody(address)
  return { service: card.service, contract: typeof card.contract === 'string' ? card.contract : null }
}

const nobody = (address: string): TalkwireError =>
  new TalkwireError(
    'PEER_NOT_FOUND',
    `nobody at ${address} serves that; start it with serve(…, { listen }), and give both the same contract or ?service=name`,
  )

const mismatch = ({ contract, service }: Card, wanted: Contract): TalkwireError =>
  new TalkwireError(
    'CONTRACT_MISMATCH',
    `this service is ${contract ?? `${service} (no contract)`}, the caller wants "${wanted.id}"; give both the same contract`,
  )

/** The way to the broker, as a session sees it. */
export class BrokerConnection implements ConnectionBase {
  readonly buffered = 0
  readonly unsent = 0
  private ending: Promise<void> | undefined
  private readonly actions: ((cause?: TalkwireError) => void)[] = []

  constructor(
    private readonly driver: OpenDriver,
    readonly peer: Peer,
  ) {}

  onEnd(action: (cause?: TalkwireError) => void): void {
    this.actions.push(action)
  }

  // The broker holds what is not taken; a stream is slowed down by itself.
  pause(): void {}
  resume(): void {}
  ref(): void {}
  unref(): void {}

  close(): Promise<void> {
    return this.end(undefined)
  }

  abort(cause: TalkwireError): void {
    void this.end(cause)
  }

  private end(cause: TalkwireError | undefined): Promise<void> {
    return (this.ending ??= this.driver
      .close()
      .catch(() => {})
      .then(() => {
        for (const action of this.actions) action(cause)
      }))
  }
}

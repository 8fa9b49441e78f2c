/** A connection to NATS, and JetStream's requests as they are documented: JSON on `$JS.API.…`. */
import type { Msg, MsgHdrs, NatsConnection } from '@nats-io/transport-node'
import { plainMessage, TalkwireError } from '../../../error.js'
import { bodyTypeOf, calls, CONTENT_TYPES, packageOf, pauses } from '../broker.js'
import { NO_HEADERS, type Headers, type Incoming, type OpenOptions, type Outgoing } from '../../driver.js'
import { underway } from '../../underway.js'
import { natsAddress } from './address.js'
import { asking } from './asking.js'

type Library = typeof import('@nats-io/transport-node')

export interface Nats {
  readonly connection: NatsConnection
  readonly library: Library
  /** Every subject, stream and bucket begins with it. */
  readonly prefix: string
  /** Topics without a stream are wanted. */
  readonly core: boolean
  readonly jetStream: boolean
  /** Of JetStream's API: 0 before NATS 2.11, 1 with it, 2 with 2.12. */
  readonly level: number
  /** Rejects with what JetStream says; `jetStreamCode` has its number. Asked again where nobody answers: only what may run twice. */
  api(subject: string, body?: object): Promise<any>
  /** Makes a stream that is not there; one that is stays as it is, and false says that it is another. */
  ensure(stream: string, config: object): Promise<boolean>
  /** Resolves with the place in the stream. `expect`: the last place of the subject, else rejects with CONFLICT. */
  store(subject: string, message: Outgoing, extra?: Headers): Promise<{ readonly seq: number; readonly duplicate: boolean }>
  headersOf(message: Outgoing, extra?: Headers): MsgHdrs
  incoming(message: { readonly data: Uint8Array; readonly headers?: MsgHdrs | undefined }): Incoming
  errorOf(reason: unknown, outcome?: 'not-sent' | 'maybe-ran'): TalkwireError
  /** Resolves with the answer. Rejects at once where there is no connection, or when it is lost meanwhile. */
  ask(subject: string, body: Uint8Array | string, headers?: MsgHdrs): Promise<Msg>
  /** Resolves when the server has all that was published until now. */
  flush(): Promise<void>
  /** There is no connection now. */
  absent(): TalkwireError
  /** Called for each subject at which we may not publish, when we did. */
  denied(what: (subject: string, reason: TalkwireError) => void): void
  /** Called when there is a connection again. */
  back(what: () => void): () => void
  closing(what: () => unknown): () => void
  readonly closed: boolean
  readonly away: boolean
  onError: OpenOptions['onError']
  close(): Promise<void>
}

export const TYPE = 'Content-Type'
/** Ours and the server's own are no headers of the message. */
const OWN = /^(nats-|kv-|content-type$|talkwire-(more|reason|attempts)$)/i
/** How long JetStream may take to answer, milliseconds: a cluster needs up to nine seconds to see that a leader is gone, and to elect one. */
const ANSWER = 12_000
/** Of a cluster the second, while what it is about is being agreed on. */
export const CONFLICTS: readonly (number | undefined)[] = [10071, 10164]
const NO_STREAM = 10059
export const NO_MESSAGE = 10037
/** There is a stream of that name, and it is not as we would make it. */
const ANOTHER = 10058
const OVERLAPS = 10065
/** Most servers of the cluster are away. */
const NO_LEADER = 10008
/** So are those that have the stream, or the consumer. */
const OFFLINE: readonly number[] = [NO_LEADER, 10118, 10119]
/** The server is alone; too few of the cluster are there. */
const ALONE = 10074
const TOO_FEW = 10005

const NOTHING = new Uint8Array()
/** What the library says of what was on its way. */
const DISCONNECTED = 'connection disconnected'

/** Of the address, and of the credentials, where a password has our name or the library's. */
function whoOf(user: string, password: string, { password: secret = password, ...own }: Readonly<Record<string, unknown>>): object {
  const { pass = secret } = own
  if (pass !== '') return { user, ...own, pass }
  return user === '' ? own : { token: user, ...own }
}

export async function connectNats(address: string, options: OpenOptions): Promise<Nats> {
  const { host, servers, user, password, prefix, core, replicas } = natsAddress(address)
  const lib = await packageOf('nats', '@nats-io/transport-node', () => import('@nats-io/transport-node'))
  options.signal?.throwIfAborted()
  const errorOf = (reason: unknown, outcome: 'not-sent' | 'maybe-ran' = 'not-sent'): TalkwireError => {
    if (reason instanceof TalkwireError) return reason
    const { name, message } = reason as Error
    if (/max_payload/.test(message))
      return new TalkwireError('MESSAGE_TOO_LARGE', `NATS: ${message}; send less, or raise max_payload of the server`, { cause: reason })
    const say = (code: 'UNAUTHENTICATED' | 'UNAVAILABLE' | 'CLOSED' | 'CONNECTION_LOST'): TalkwireError =>
      new TalkwireError(code, `NATS: ${message}`, { cause: reason, outcome })
    if (/Authorization|Permission/.test(name)) return say('UNAUTHENTICATED')
    if (/Closed|Draining/.test(name)) return say('CLOSED')
    if (/Timeout/.test(name) || message === DISCONNECTED)
      return new TalkwireError('CONNECTION_LOST', `NATS: ${message}`, { cause: reason, outcome: 'maybe-ran' })
    return say('UNAVAILABLE')
  }
  const { credentials: { tls, ...credentials } = {} } = options
  const connection = await lib
    .connect({
      servers: [...servers],
      ...whoOf(user, password, credentials),
      // By its number a server would have to be "localhost".
      ...(tls !== undefined && { tls: { host, ...(tls as object) } as object }),
      maxReconnectAttempts: -1,
      reconnectTimeWait: 50,
      reconnectJitter: 50,
    })
    .catch((reason: unknown) => {
      throw errorOf(reason)
    })
  if (options.signal?.aborted) {
    await connection.close()
    options.signal.throwIfAborted()
  }
  let closed = false
  let away = false
  const backs = calls()
  const closings = calls()
  const answers = asking(connection, lib.createInbox(), ANSWER)
  const asked = underway()
  const cut = (): void => answers.fail(new Error(DISCONNECTED))
  const watch = async (): Promise<void> => {
    for await (const status of connection.status()) {
      if (status.type === 'disconnect' && !closed) lost()
      else if (status.type === 'disconnect') cut()
      else if (status.type === 'reconnect' && !closed) void again(++times)
      else if (status.type === 'error') refused(status.error)
    }
  }
  const refused = (reason: Error): void => {
    const { subject, operation } = reason as { subject?: string; operation?: string }
    if (operation !== 'publish' || subject === undefined) return
    answers.fail(reason, (at) => at === subject)
    for (const tell of denials) tell(subject, errorOf(reason))
  }
  const denials: ((subject: string, reason: TalkwireError) => void)[] = []
  let times = 0
  const lost = (): void => {
    times++
    const isFirst = !away
    away = true
    // What was sent, or would have been, is not sent again.
    cut()
    if (isFirst)
      options.onConnection({
        state: 'lost',
        cause: new TalkwireError('CONNECTION_LOST', 'NATS: the connection was lost', { outcome: 'maybe-ran' }),
      })
  }
  /** JetStream needs some time after the server has begun. */
  const again = async (time: number): Promise<void> => {
    while (
      jetStream &&
      !closed &&
      time === times &&
      (await request('$JS.API.INFO', NOTHING, undefined, () => {}).catch(() => undefined)) === undefined
    )
      await new Promise((resolve) => setTimeout(resolve, 20))
    if (closed || time !== times) return
    away = false
    options.onConnection({ state: 'connected' })
    void backs.all()
  }
  const open = (): void => {
    if (closed) throw new TalkwireError('CLOSED', 'the hub was closed')
  }
  const request = async (subject: string, body: Uint8Array | string, headers?: MsgHdrs, again?: () => void): Promise<Msg> => {
    open()
    try {
      return await asked.keep(answers.ask(subject, body, headers, again))
    } catch (reason) {
      throw errorOf(reason)
    }
  }
  const absent = (): TalkwireError => new TalkwireError('UNAVAILABLE', 'NATS: there is no connection now; it is made again by itself')
  const ask = async (subject: string, body: Uint8Array | string, headers?: MsgHdrs, again?: () => void): Promise<Msg> => {
    if (!closed && away) throw absent()
    return request(subject, body, headers, again)
  }
  const headersOf = ({ type, headers }: Outgoing, extra: Headers = {}): MsgHdrs => {
    const made = lib.headers()
    made.set(TYPE, CONTENT_TYPES[type])
    for (const [name, value] of [...Object.entries(headers), ...Object.entries(extra)]) made.set(name, value)
    return made
  }
  void watch()
  let jetStream = true
  let level = 0
  const nats: Nats = {
    connection,
    library: lib,
    prefix,
    core,
    get jetStream() {
      return jetStream
    },
    get level() {
      return level
    },
    absent,
    flush: () => connection.flush().catch((reason: unknown) => Promise.reject(errorOf(reason))),
    denied: (what) => void denials.push(what),
    get closed() {
      return closed
    },
    get away() {
      return away
    },
    async api(subject, body) {
      let wasAgain = false
      const again = (): void => void (wasAgain = true)
      try {
        return checked(await ask(`$JS.API.${subject}`, body === undefined ? NOTHING : JSON.stringify(body), undefined, again))
      } catch (reason) {
        // What is refused the second time may have run the first.
        if (wasAgain && reason instanceof TalkwireError && reason.outcome === 'not-sent') throw reason.withOutcome('maybe-ran')
        throw reason
      }
    },
    async ensure(name, config) {
      const whole = { name, retention: 'limits', storage: 'file', discard: 'old', num_replicas: replicas, ...config }
      const make = (): Promise<any> => nats.api(`STREAM.CREATE.${name}`, whole)
      try {
        // Of several that make it at once, some are told that it overlaps with the one which is being made.
        const made = await make().catch((reason: unknown) => (jetStreamCode(reason) === OVERLAPS ? make() : Promise.reject(reason)))
        await led(nats, name, made)
        return true
      } catch (reason) {
        if (jetStreamCode(reason) !== ANOTHER) throw tooFew(reason, name, replicas)
        return false
      }
    },
    async store(subject, message, extra) {
      const answer = checked(await ask(subject, message.body, headersOf(message, extra)))
      return { seq: answer.seq, duplicate: answer.duplicate === true }
    },
    headersOf,
    incoming({ data, headers }) {
      if (!headers) return { body: data, headers: NO_HEADERS, type: undefined }
      const found: Record<string, string> = {}
      for (const name of headers.keys()) if (!OWN.test(name)) found[name] = headers.get(name)
      return { body: data, headers: found, type: bodyTypeOf(headers.get(TYPE)) }
    },
    errorOf,
    ask,
    back: (what) => backs.add(what),
    closing: (what) => closings.add(what),
    onError: options.onError,
    async close() {
      if (closed) return
      await closings.all()
      closed = true
      // What was handed to the library leaves before the connection ends. Since 2.10 a stream answers later than the server does.
      if (!away) await connection.flush().catch(() => {})
      await asked.settled()
      await connection.close()
      answers.fail(new TalkwireError('CLOSED', 'the hub was closed', { outcome: 'maybe-ran' }))
    },
  }
  try {
    level = (await elected(nats, options.signal)).api.level ?? 0
  } catch (reason) {
    const isThere = jetStreamCode(reason) === NO_LEADER || TalkwireError.from(reason).code === 'CONNECTION_LOST'
    jetStream = false
    if (core && !isThere) return nats
    await connection.close()
    if (isThere) throw reason
    throw new TalkwireError(
      'UNAVAILABLE',
      'this NATS has no JetStream; start nats-server with -js, or take ?topics=core for topics and requests alone',
      { cause: reason },
    )
  }
  if (replicas > 1 && level < 1) {
    await connection.close()
    // https://github.com/nats-io/nats-server/issues/4320: of several that compare and set at once, several win.
    throw new TalkwireError(
      'UNSUPPORTED',
      `replicas=${replicas} wants NATS 2.11 or later: before it values, leases and counters on several servers are not safe; leave it out, or use a newer server`,
    )
  }
  return nats
}

/** What JetStream answers. Throws what it says of an error; `jetStreamCode` has its number. */
export function checked(message: Msg): any {
  const answer = message.json<any>()
  if (!answer.error) return answer
  const { err_code, description } = answer.error
  if (OFFLINE.includes(err_code))
    throw new TalkwireError(
      'UNAVAILABLE',
      `JetStream: ${description}; most servers of the cluster, or of those that have the stream, are away`,
      {
        details: answer.error,
      },
    )
  throw new TalkwireError('UNKNOWN', `JetStream: ${description}`, { details: answer.error, outcome: 'ran' })
}

/** What JetStream says of itself, also to who opens while a cluster elects who leads it. */
async function elected(nats: Nats, signal: AbortSignal | undefined): Promise<any> {
  const pause = pauses()
  for (const until = performance.now() + ANSWER; ;)
    try {
      return await nats.api('INFO')
    } catch (reason) {
      if (jetStreamCode(reason) !== NO_LEADER || signal?.aborted || performance.now() > until) throw reason
      await pause.next()
    }
}

/** In a cluster a stream is there before somebody leads it: what comes sooner is refused, or not answered. */
async function led(nats: Nats, name: string, made: any): Promise<void> {
  const pause = pauses()
  const until = performance.now() + ANSWER
  for (let there = made; there.cluster && !there.cluster.leader && performance.now() < until;) {
    await pause.next()
    there = await nats.api(`STREAM.INFO.${name}`).catch((reason: unknown) => {
      if (jetStreamCode(reason) !== NO_STREAM) throw reason
      return made
    })
  }
}

function tooFew(reason: unknown, stream: string, replicas: number): unknown {
  const code = jetStreamCode(reason)
  if (code !== ALONE && code !== TOO_FEW) return reason
  return new TalkwireError(
    code === ALONE ? 'UNSUPPORTED' : 'UNAVAILABLE',
    `the stream "${stream}" cannot have ${replicas} replicas: ${plainMessage(reason as TalkwireError)}; have ${replicas} servers with JetStream in one cluster, or say fewer in ?replicas=`,
    { cause: reason },
  )
}

/** JetStream's own number of an error. */
export const jetStreamCode = (reason: unknown): number | undefined =>
  reason instanceof TalkwireError ? (reason.details as { err_code?: number } | undefined)?.err_code : undefined

/** The parts of the subject that an acknowledgement goes to: `$JS.ACK.stream.consumer.attempt.place.order.time.left`. */
export function delivery(reply: string): { attempt: number; seq: number; time: number } {
  const parts = reply.split('.').slice(-5)
  return { attempt: Number(parts[0]), seq: Number(parts[1]), time: Math.floor(Number(parts[3]) / 1e6) }
}

/** What may stand in one token of a subject and in a stream's name: the rest as `=` and two digits for each byte. */
export const token = (name: string): string =>
  Buffer.from(name).reduce(
    (done, byte) =>
      done + (/[A-Za-z0-9_-]/.test(String.fromCharCode(byte)) ? String.fromCharCode(byte) : `=${byte.toString(16).padStart(2, '0')}`),
    '',
  )
export const untoken = (text: string): string =>
  Buffer.from(
    text.replaceAll(/=([0-9a-f]{2})/g, (_, hex: string) => String.fromCharCode(parseInt(hex, 16))),
    'latin1',
  ).toString()

/** A connection to NATS, and JetStream's requests as they are documented: JSON on `$JS.API.…`. */
import type { Msg, MsgHdrs, NatsConnection } from '@nats-io/transport-node'
import { TalkwireError } from '../../../error.js'
import { brokerAddress } from '../broker-address.js'
import { bodyTypeOf, calls, CONTENT_TYPES, packageOf } from '../broker.js'
import { NO_HEADERS, type Headers, type Incoming, type OpenOptions, type Outgoing } from '../../driver.js'
import { underway } from '../../underway.js'
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
  /** Rejects with what JetStream says; `describe` has its number. */
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
/** How long JetStream may take to answer, milliseconds. */
const ANSWER = 30_000
export const CONFLICT = 10071
export const NO_MESSAGE = 10037
/** There is a stream of that name, and it is not as we would make it. */
const ANOTHER = 10058
const OVERLAPS = 10065

/** What the library says of what was on its way. */
const DISCONNECTED = 'connection disconnected'

const FORM =
  'NATS is nats://user:password@host:4222?prefix=shop&topics=core; a user alone is a token; the prefix has letters, digits, "_" and "-"; topics are "stream", the default, or "core"'

function parse(address: string): { host: string; server: string; user: string; password: string; prefix: string; core: boolean } {
  const { url, host, user, password, prefix } = brokerAddress(address, ['nats'], /^\/?$/, FORM, ['topics'])
  const topics = url.searchParams.get('topics') ?? 'stream'
  if (topics !== 'core' && topics !== 'stream') throw new TalkwireError('INVALID_ADDRESS', `an address of ${FORM}`)
  return {
    core: topics === 'core',
    host,
    server: `${url.hostname}:${url.port || 4222}`,
    user,
    password,
    prefix,
  }
}

/** Of the address, and of the credentials, where a password has our name or the library's. */
function whoOf(user: string, password: string, { password: secret = password, ...own }: Readonly<Record<string, unknown>>): object {
  const { pass = secret } = own
  if (pass !== '') return { user, ...own, pass }
  return user === '' ? own : { token: user, ...own }
}

export async function connectNats(address: string, options: OpenOptions): Promise<Nats> {
  const { host, server, user, password, prefix, core } = parse(address)
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
      servers: server,
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
    while (jetStream && !closed && time === times && (await request('$JS.API.INFO', new Uint8Array()).catch(() => undefined)) === undefined)
      await new Promise((resolve) => setTimeout(resolve, 20))
    if (closed || time !== times) return
    away = false
    options.onConnection({ state: 'connected' })
    void backs.all()
  }
  const open = (): void => {
    if (closed) throw new TalkwireError('CLOSED', 'the hub was closed')
  }
  const request = async (subject: string, body: Uint8Array | string, headers?: MsgHdrs): Promise<Msg> => {
    open()
    try {
      return await asked.keep(answers.ask(subject, body, headers))
    } catch (reason) {
      throw errorOf(reason)
    }
  }
  const absent = (): TalkwireError => new TalkwireError('UNAVAILABLE', 'NATS: there is no connection now; it is made again by itself')
  const ask: Nats['ask'] = async (subject, body, headers) => {
    if (!closed && away) throw absent()
    return request(subject, body, headers)
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
    api: async (subject, body) => checked(await ask(`$JS.API.${subject}`, Buffer.from(body === undefined ? '' : JSON.stringify(body)))),
    async ensure(name, config) {
      const whole = { name, retention: 'limits', storage: 'file', discard: 'old', num_replicas: 1, ...config }
      const make = async (): Promise<void> => void (await nats.api(`STREAM.CREATE.${name}`, whole))
      try {
        // Of several that make it at once, some are told that it overlaps with the one which is being made.
        await make().catch((reason: unknown) => (jetStreamCode(reason) === OVERLAPS ? make() : Promise.reject(reason)))
        return true
      } catch (reason) {
        if (jetStreamCode(reason) !== ANOTHER) throw reason
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
    level = (await nats.api('INFO')).api.level ?? 0
  } catch (reason) {
    jetStream = false
    if (core) return nats
    await connection.close()
    throw new TalkwireError(
      'UNAVAILABLE',
      'this NATS has no JetStream; start nats-server with -js, or take ?topics=core for topics and requests alone',
      { cause: reason },
    )
  }
  return nats
}

/** What JetStream answers. Throws what it says of an error; `jetStreamCode` has its number. */
export function checked(message: Msg): any {
  const answer = message.json<any>()
  if (answer.error) throw new TalkwireError('UNKNOWN', `JetStream: ${answer.error.description}`, { details: answer.error, outcome: 'ran' })
  return answer
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

export interface Pull {
  /** So many more, at most; `waits` false: of what is there. */
  ask(count: number, waits?: boolean): void
  /** Asked for and not come. */
  readonly open: number
  /** What was asked for before will not come: the connection is another. */
  reset(): void
  stop(): void
}

/** Pulls from a consumer. `over`: what was asked for will not come: there is none for now (`none`), no consumer (`gone`), or it is to be asked for again. */
export function puller(
  nats: Nats,
  stream: string,
  consumer: string,
  got: (message: Msg) => void,
  over: (gone: boolean, none: boolean) => void,
): Pull {
  let open = 0
  const inbox = nats.library.createInbox()
  const subscription = nats.connection.subscribe(inbox, {
    callback(error, message) {
      if (error) return
      const status = message.headers?.code ?? 0
      if (message.data.length > 0 || status === 0) {
        open--
        return got(message)
      }
      if (status === 100) return
      open = 0
      over(status === 503 || (status === 409 && /Deleted|Shutdown/i.test(message.headers!.description)), status === 404 || status === 408)
    },
  })
  return {
    get open() {
      return open
    },
    ask(count, waits = true) {
      open += count
      const wish = { batch: count, ...(waits ? { expires: 30e9 } : { no_wait: true }) }
      nats.connection.publish(`$JS.API.CONSUMER.MSG.NEXT.${stream}.${consumer}`, JSON.stringify(wish), { reply: inbox })
    },
    reset: () => void (open = 0),
    stop: () => subscription.unsubscribe(),
  }
}

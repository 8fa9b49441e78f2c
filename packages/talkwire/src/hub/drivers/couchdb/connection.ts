/** CouchDB has requests and no connection: it is lost when one finds nobody, and there again when another is answered. None is tried again. */
import http from 'node:http'
import https from 'node:https'
import { TalkwireError, type Outcome } from '../../../error.js'
import type { OpenOptions } from '../../driver.js'
import { brokerAddress, whoAsks, type Credentials } from '../broker-address.js'
import { isAway, type Pauses } from '../broker.js'
import { presence } from '../presence.js'
import { linesOf, parse, readAll, refused, send, unanswered, type Answer, type Asked } from './exchange.js'

export interface Couch {
  /** What every id begins with. */
  readonly prefix: string
  /** Of each document, on machines of their own. */
  readonly copies: number
  /** `path` is behind the database's. Rejects for every status that is neither good nor expected. */
  ask(method: Method, path: string, question?: Question): Promise<Answer>
  /** Its lines, until the server ends it or the signal aborts. */
  feed(since: Sequence, signal: AbortSignal): AsyncGenerator<any, void, undefined>
  info(): Promise<Info>
  /** Resolves when it is worth trying again after this reason, or aborted; undefined: it ended. Tells reasons that are no lost connection. */
  again(pause: Pauses, reason: unknown, what: string, signal: AbortSignal): Promise<void>
  /** Called before the hub closes; what it returns is waited for. */
  closing(what: () => unknown): () => void
  close(): Promise<void>
}

type Method = 'GET' | 'PUT' | 'POST'
/** Of what was asked and not answered. */
const OUTCOMES: Readonly<Record<Method, Outcome>> = { GET: 'not-sent', PUT: 'maybe-ran', POST: 'maybe-ran' }
interface Question {
  readonly body?: string
  /** Statuses that are answers, too. */
  readonly expected?: readonly number[]
}

/** Opaque, but for the number that it is or begins with. */
export type Sequence = string | number
export interface Info {
  readonly sequence: Sequence
  /** Another one: what was known of the database may be another's. */
  readonly instance: unknown
  readonly copies: number
}

const FORM =
  'CouchDB is couchdb://user:password@host:5984/database?prefix=shop, or couchdbs: with TLS; a database has small letters, digits and "_$()+-/", the prefix letters, digits, "_" and "-"'
const PATH = /^\/?$|^\/[a-z](?:[a-z0-9_$()+-]|%2[fF])*\/?$/
const DATABASE = 'talkwire'
const PORTS = { http: 5984, https: 6984 }
/** Requests at a time; others wait for their turn. */
const SOCKETS = 16
/** Milliseconds after which a connection that is not used is left: before whoever is between leaves it. */
const IDLE = 20_000
const HEARTBEAT = 10_000

interface Place {
  readonly request: https.RequestOptions
  readonly path: string
  readonly prefix: string
}

function placeOf(address: string, credentials: Credentials): Place {
  const parsed = brokerAddress(address, ['couchdb', 'couchdbs'], PATH, FORM)
  const { url, host, prefix } = parsed
  const wire = url.protocol === 'couchdbs:' ? 'https' : 'http'
  const { user, password } = whoAsks(parsed, credentials)
  return {
    request: {
      ...(wire === 'https' && (credentials['tls'] as object | undefined)),
      protocol: `${wire}:`,
      host,
      port: Number(url.port || PORTS[wire]),
      headers: {
        accept: 'application/json',
        ...(user !== '' && { authorization: `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}` }),
      },
    },
    path: `/${encodeURIComponent(decodeURIComponent(url.pathname).replaceAll(/^\/|\/$/g, '') || DATABASE)}`,
    prefix: url.searchParams.has('prefix') ? `${prefix}:` : '',
  }
}

export async function connectCouch(address: string, options: OpenOptions): Promise<Couch> {
  const { credentials = {}, signal } = options
  signal?.throwIfAborted()
  const { request, path: database, prefix } = placeOf(address, credentials)
  const agent = new (request.protocol === 'https:' ? https : http).Agent({ keepAlive: true, maxSockets: SOCKETS, timeout: IDLE })

  /** What it throws is one of ours, or nobody answered. */
  const exchange = async (method: Method, path: string, { body, expected = [] }: Question, aborts?: AbortSignal): Promise<Answer> => {
    const headers = { ...request.headers, ...(body !== undefined && { 'content-type': 'application/json' }) }
    const whole: Asked = { ...request, agent, method, path: database + path, headers, ...(aborts && { signal: aborts }) }
    const answer = await readAll(await send(whole, body), OUTCOMES[method])
    if ((answer.status >= 200 && answer.status < 300) || expected.includes(answer.status)) return answer
    throw refused(answer, OUTCOMES[method])
  }
  const infoOf = ({ body }: Answer): Info => {
    const { update_seq: sequence, instance_start_time: instance, cluster } = Object(parse(String(body), 'not-sent'))
    if (typeof sequence !== 'string' && typeof sequence !== 'number')
      throw new TalkwireError('INVALID_MESSAGE', 'what answers is no CouchDB: a database has an "update_seq"')
    return { sequence, instance, copies: Number(cluster?.n ?? 1) }
  }
  const open = async (): Promise<Info> => {
    const there = await exchange('GET', '', { expected: [404] }, signal)
    if (there.status !== 404) return infoOf(there)
    // 412: somebody else just made it.
    const made = await exchange('PUT', '', { expected: [401, 403, 412] }, signal)
    if (made.status < 400 || made.status === 412) return infoOf(await exchange('GET', '', {}, signal))
    throw new TalkwireError('PERMISSION_DENIED', `CouchDB: there is no database ${database.slice(1)}, and this user may not make it`)
  }
  const there = async (): Promise<void> => void (await exchange('GET', '', { expected: [401, 403, 404] }))
  const broker = presence('CouchDB: nobody answers now; it is asked again by itself', there, options)
  /** Nobody being there is noticed. */
  const noticed = (reason: unknown, outcome: Outcome): TalkwireError => {
    if (reason instanceof TalkwireError) return reason
    const error = unanswered(reason, outcome)
    if (isAway(error)) {
      // They lead to who was there before.
      for (const socket of Object.values(agent.freeSockets).flat()) socket?.destroy()
      broker.lost(error)
    }
    return error
  }
  const run = async (method: Method, path: string, question: Question): Promise<Answer> => {
    broker.ready()
    try {
      return await exchange(method, path, question)
    } catch (reason) {
      throw noticed(reason, OUTCOMES[method])
    }
  }
  const ask: Couch['ask'] = (method, path, question = {}) => broker.keep(run(method, path, question))
  const response = async (since: Sequence, aborts: AbortSignal): Promise<http.IncomingMessage> => {
    const from = encodeURIComponent(typeof since === 'string' ? since : JSON.stringify(since))
    const path = `${database}/_changes?feed=continuous&include_docs=true&heartbeat=${HEARTBEAT}&since=${from}`
    const came = await send({ ...request, agent: false, method: 'GET', path, signal: aborts }, undefined)
    if (came.statusCode !== 200) throw refused(await readAll(came, 'not-sent'), 'not-sent')
    return came
  }
  const feed: Couch['feed'] = async function* (since, aborts) {
    try {
      broker.ready()
      for await (const line of linesOf(await response(since, aborts))) yield Object(parse(line, 'not-sent'))
    } catch (reason) {
      aborts.throwIfAborted()
      throw noticed(reason, 'not-sent')
    }
  }
  let copies: number
  try {
    ;({ copies } = await open())
  } catch (reason) {
    agent.destroy()
    signal?.throwIfAborted()
    throw reason instanceof TalkwireError ? reason : unanswered(reason, 'not-sent')
  }
  return {
    prefix,
    copies,
    ask,
    feed,
    info: async () => infoOf(await ask('GET', '')),
    closing: broker.closing,
    again: broker.again,
    close: () => broker.close(() => agent.destroy()),
  }
}

/** The calling side of GraphQL: a service of ours, or any server whose fields a contract names. */
import type { Agent } from 'node:http'
import { fromJson, toJson } from '../codecs/plain-json.js'
import type { Contract } from '../contract/contract.js'
import { TalkwireError } from '../error.js'
import { inputOf } from '../session/service.js'
import type { ConnectionBase } from '../transports/transport.js'
import type { Answer, Callee, DialectClientOptions, DialectDiscoverOptions, OpenCall } from './dialect.js'
import { contractFrom, TYPES } from './graphql-contract.js'
import { errorFrom } from './graphql-errors.js'
import { CONTRACT, operationsOf, valueOf, variablesOf, type Operation } from './operations.js'
import { documentOf, ROOTS, rootsIn, type Reply, type Roots } from './graphql-text.js'
import { subscribeEvents, subscribeSocket, type Subscribed, type Subscription } from './graphql-subscribe.js'
import { AgentConnection, ask, openPlace, post, type Place, type Told } from './http-agent.js'
import { metaHeaders } from './http-meta.js'
import { fromProblem } from './http-problem.js'
import type { Meta } from './message.js'

export const ACCEPT = 'application/graphql-response+json, application/json;q=0.9'
const PATH = '/graphql'

/** Rejects as `Dialect.connect`: the server is asked which fields it has, as far as it tells. */
export async function connectGraphql(
  address: string,
  options: DialectClientOptions,
): Promise<{ connection: ConnectionBase; callee: Callee }> {
  options.signal?.throwIfAborted()
  const { contract } = options
  if (!contract)
    throw new TalkwireError(
      'UNSUPPORTED',
      'graphql: is called by a contract, which says what is asked for; discover() makes one of the schema',
    )
  const place = openPlace(address, options)
  const path = place.path || PATH
  const operations = await operationsOf(contract)
  const { roots, ours } = await learn(place, path, operations, options)
  const connection = new AgentConnection(place, options.onClosed)
  return { connection, callee: new GraphqlCallee({ place, path, operations, roots, ours, options, connection }) }
}

interface Server {
  /** Undefined: it tells nobody. */
  readonly roots: Roots | undefined
  /** It is a service of ours. */
  readonly ours: boolean
}

/** What the server answers to a query before there is a session. */
async function query(
  place: Place,
  path: string,
  text: string,
  { limits, signal }: Pick<DialectClientOptions, 'limits' | 'signal'>,
): Promise<unknown> {
  const headers = { 'content-type': 'application/json', accept: ACCEPT }
  const told = await ask(place, { method: 'POST', path, headers, body: JSON.stringify({ query: text }) }, limits, signal)
  return answerIn(told, limits, place.address).data
}

/** Of a service of ours. */
async function contractAt(place: Place, path: string, options: Pick<DialectClientOptions, 'limits' | 'signal'>): Promise<string> {
  return String(((await query(place, path, `{ ${CONTRACT} }`, options)) as Record<string, unknown> | undefined)?.[CONTRACT])
}

async function learn(
  place: Place,
  path: string,
  operations: ReadonlyMap<string, Operation>,
  options: DialectClientOptions,
): Promise<Server> {
  const contract = options.contract!
  const roots = rootsIn(await query(place, path, ROOTS, options))
  if (!roots) return { roots, ours: false }
  const ours = roots.Query.has(CONTRACT)
  if (ours && !contract.foreign) {
    const served = await contractAt(place, path, options)
    if (served !== contract.id)
      throw new TalkwireError(
        'CONTRACT_MISMATCH',
        `this service is ${served}, the caller wants "${contract.id}"; give both the same contract`,
      )
  }
  for (const { root, field, name } of operations.values())
    if (!roots[root].has(field))
      throw new TalkwireError(
        'CONTRACT_MISMATCH',
        `the ${root} of ${place.address} has no field "${field}" for "${name}" of ${contract.id}`,
      )
  return { roots, ours }
}

/** As `Dialect.discover`. */
export async function discoverGraphql(address: string, options: DialectDiscoverOptions): Promise<Contract> {
  options.signal?.throwIfAborted()
  const place = openPlace(address, options)
  const path = place.path || PATH
  try {
    const data = await query(place, path, TYPES, options)
    const ours = rootsIn(await query(place, path, ROOTS, options))?.Query.has(CONTRACT)
    return await contractFrom(data, ours ? await contractAt(place, path, options) : undefined)
  } finally {
    ;(place.base.agent as Agent).destroy()
  }
}

/** Throws what a refusal means, INVALID_MESSAGE and the like. Errors of GraphQL are no refusal, unless the status is one of who may ask. */
function answerIn({ status, body }: Told, limits: DialectClientOptions['limits'], who?: string): Reply {
  let reply: unknown
  try {
    reply = fromJson(body, limits)
  } catch (reason) {
    if (status < 300) throw reason
  }
  const { errors } = (typeof reply === 'object' && reply !== null ? reply : {}) as Reply
  const refused = status >= 300 && status !== 400
  if (Array.isArray(errors) && errors.length > 0) {
    if (!refused) return reply as Reply
    const error = errorFrom(errors[0])
    throw error.code === 'INVALID_REQUEST' ? fromProblem(status, { title: error.message }).withOutcome('not-sent') : error
  }
  if (status >= 300) throw fromProblem(status, undefined, who)
  if (typeof reply !== 'object' || reply === null || !('data' in reply))
    throw new TalkwireError('INVALID_MESSAGE', 'the answer is no GraphQL: it has neither data nor errors')
  return reply
}

interface Parts extends Server {
  readonly place: Place
  readonly path: string
  readonly operations: ReadonlyMap<string, Operation>
  readonly options: DialectClientOptions
  readonly connection: AgentConnection
}

class GraphqlCallee implements Callee {
  private readonly documents = new Map<string, string>()
  private readonly events = new Map<string, OpenCall>()
  /** How a foreign server is subscribed to; it is found out by the first attempt. */
  private socket = true

  constructor(private readonly parts: Parts) {}

  call(method: string, params: unknown, meta: Meta | undefined, answer: Answer): OpenCall {
    const { place, path, options, connection } = this.parts
    const operation = this.operation(method)
    const member = options.contract!.members[method]
    const payload = this.payload(operation, inputOf(params, member?.kind === 'rpc' ? member.parameters : undefined))
    if (operation.root === 'Subscription') return this.open(operation, payload, meta, streamOf(operation, answer))
    const headers = { ...metaHeaders(meta), 'content-type': 'application/json', accept: ACCEPT }
    const question = { method: 'POST', path, headers, body: toJson(payload, options.limits) }
    return post(place, connection, question, answer, options.limits, (told) => {
      const read = readReply(operation, answerIn(told, options.limits))
      if ('error' in read) answer.error(read.error)
      else answer.result(read.value)
    })
  }

  private operation(method: string): Operation {
    const operation = this.parts.operations.get(method)
    if (operation) return operation
    throw new TalkwireError('METHOD_NOT_FOUND', `the contract has no ${JSON.stringify(method.slice(0, 128))}`)
  }

  private payload(operation: Operation, input: unknown): { query: string; operationName: string; variables: object } {
    const { roots } = this.parts
    let query = this.documents.get(operation.name)
    if (query === undefined) {
      query = documentOf(operation, roots?.[operation.root].get(operation.field))
      this.documents.set(operation.name, query)
    }
    return { query, operationName: operation.field, variables: variablesOf(operation, input) }
  }

  private open(operation: Operation, payload: object, meta: Meta | undefined, on: Subscribed): OpenCall {
    const { place, path, ours, options, connection } = this.parts
    const subscription: Subscription = { place, path, options, connection, payload, meta, on }
    if (ours || !this.socket) return subscribeEvents(subscription)
    return subscribeSocket(subscription, () => {
      this.socket = false
      return subscribeEvents(subscription)
    })
  }

  subscribe(event: string): Promise<void> {
    const { options, connection, place } = this.parts
    return new Promise((resolve, reject) => {
      const operation = this.operation(event)
      const ended = (error?: TalkwireError): void => {
        if (error) reject(error)
        if (this.events.delete(event))
          connection.abort(new TalkwireError('CONNECTION_LOST', `the events of ${place.address} ended${error ? `: ${error.message}` : ''}`))
      }
      const call = this.open(operation, this.payload(operation, undefined), undefined, {
        ready: resolve,
        next(reply) {
          const read = readReply(operation, reply)
          if ('error' in read) return read.error
          options.onEvent(event, read.value)
          return undefined
        },
        taken: () => 0,
        end: ended,
      })
      this.events.set(event, call)
    })
  }

  unsubscribe(event: string): void {
    const call = this.events.get(event)
    this.events.delete(event)
    call?.cancel()
  }
}

/** A stream of the output. */
const streamOf = (operation: Operation, answer: Answer): Subscribed => ({
  ready() {},
  next(reply, size) {
    const read = readReply(operation, reply)
    if ('error' in read) return read.error
    answer.item(read.value, size)
    return undefined
  },
  taken: (size) => size,
  end: (error) => (error ? answer.error(error) : answer.result(null)),
})

type Read = { readonly value: unknown } | { readonly error: TalkwireError }

/** Throws INVALID_INPUT for a value that is not what the contract has. */
function readReply({ field, output, errors: declared }: Operation, { data, errors }: Reply): Read {
  if (Array.isArray(errors) && errors.length > 0) return { error: errorFrom(errors[0], declared) }
  const value = (data as Record<string, unknown> | null | undefined)?.[field]
  return { value: output ? valueOf(output, value) : undefined }
}

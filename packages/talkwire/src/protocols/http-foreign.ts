/** HTTP services of others, by their OpenAPI document. */
import { fromJson } from '../codecs/plain-json.js'
import type { Contract } from '../contract/contract.js'
import { fromOpenApi, operationOf } from '../contract/from-openapi.js'
import { TalkwireError } from '../error.js'
import { inputOf } from '../session/service.js'
import type { ConnectionBase } from '../transports/transport.js'
import type { Callee, DialectClientOptions, DialectDiscoverOptions } from './dialect.js'
import { AgentConnection, ask, openPlace, post, type Place } from './http-agent.js'
import { metaHeaders } from './http-meta.js'
import { answerOf, requestOf } from './http-operation.js'
import { fromProblem } from './http-problem.js'

/** Whether the contract was made of such a document. */
export const isOpenApi = (contract: Contract | undefined): contract is Contract =>
  contract !== undefined && Object.values(contract.members).some(operationOf)

/** What the service tells of itself in /openapi.json, whoever wrote it. Rejects as `Dialect.discover`. */
export async function discoverHttp(address: string, options: DialectDiscoverOptions): Promise<Contract> {
  options.signal?.throwIfAborted()
  const place = openPlace(address, options)
  const connection = new AgentConnection(place, () => {})
  try {
    const path = `${place.path.replace(/\/$/, '')}/openapi.json`
    const { status, body } = await ask(place, { method: 'GET', path }, options.limits, options.signal)
    if (status === 401 || status === 403) throw fromProblem(status, readable(body))
    const document = status === 200 ? readable(body) : undefined
    if (document === undefined)
      throw new TalkwireError('UNSUPPORTED', `${address} has no /openapi.json; connect with await fromOpenApi(document), whatever names it`)
    return await fromOpenApi(document)
  } catch (reason) {
    if (!(reason instanceof TypeError)) throw reason
    throw new TalkwireError('UNSUPPORTED', `what ${address} tells of itself cannot be read: ${reason.message}`, { cause: reason })
  } finally {
    await connection.close()
  }
}

function readable(body: Buffer): unknown {
  try {
    return fromJson(body)
  } catch {
    return undefined
  }
}

/** That it is there is asked without asking it to do anything. Rejects as `Dialect.connect`. */
export async function connectForeign(
  whole: Place,
  contract: Contract,
  { limits, signal, token, tokens, onClosed }: DialectClientOptions,
): Promise<{ connection: ConnectionBase; callee: Callee }> {
  const secrets = { ...(token !== undefined && { token }), ...(tokens && { tokens }) }
  checkNames(contract, tokens ?? {})
  // Each operation says where secrets go, or that they do not.
  const place = { ...whole, headers: {} }
  await ask(place, { method: 'HEAD', path: place.path || '/' }, limits, signal)
  const connection = new AgentConnection(place, onClosed)
  const call: Callee['call'] = (method, params, meta, answer) => {
    const operation = operationOf(contract.members[method])
    if (!operation) throw new TalkwireError('METHOD_NOT_FOUND', `"${method}" is no operation of the document`)
    const { verb, path, headers, body } = requestOf(operation, inputOf(params), place.path, limits, secrets)
    const question = { method: verb, path, headers: { ...headers, ...metaHeaders(meta) }, ...(body !== undefined && { body }) }
    return post(place, connection, question, answer, limits, (told) => {
      const result = answerOf(operation, told.status, told.headers['content-type'], told.body, limits)
      if (result instanceof TalkwireError) answer.error(result)
      else answer.result(result)
    })
  }
  const subscribe = (event: string): Promise<void> =>
    Promise.reject(new TalkwireError('UNSUPPORTED', `"${event}": a service of others tells of no events`))
  return { connection, callee: { call, subscribe, unsubscribe() {} } }
}

/** A secret by a name that nobody asks for is a slip of the pen. Throws TypeError. */
function checkNames({ id, members }: Contract, tokens: Readonly<Record<string, string>>): void {
  const asked = new Set(
    Object.values(members).flatMap(
      (member) =>
        operationOf(member)
          ?.ways.flat()
          .map(({ of }) => of) ?? [],
    ),
  )
  asked.delete('')
  for (const name of Object.keys(tokens))
    if (!asked.has(name))
      throw new TypeError(
        `tokens has ${JSON.stringify(name.slice(0, 80))}, which no operation of ${id} asks for; ${asked.size > 0 ? `they ask for ${[...asked].join(', ')}` : 'they ask for none'}`,
      )
}

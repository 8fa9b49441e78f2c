/**
 * XML-RPC: `xmlrpc+http://127.0.0.1:8080`. Every method under its name at /RPC2, with `system.listMethods` and its like.
 * docs/protocols/xmlrpc.md.
 */
import type { Agent } from 'node:http'
import type { Contract } from '../contract/contract.js'
import { fromOpenRpc } from '../contract/from-openrpc.js'
import { TalkwireError } from '../error.js'
import { inputOf, notFound, paramsOf, type Service } from '../session/service.js'
import type { ConnectionBase } from '../transports/transport.js'
import type {
  Answer,
  Callee,
  DialectClientOptions,
  DialectDiscoverOptions,
  DialectServerOptions,
  DialectTraits,
  OpenCall,
} from './dialect.js'
import { AgentConnection, ask, openPlace, post, type Place, type Told } from './http-agent.js'
import { metaHeaders, metaOf } from './http-meta.js'
import { fromProblem } from './http-problem.js'
import { readBody, turnAway, type Exchange, type Response, type Site } from './http-server.js'
import type { Meta } from './message.js'
import { contractOfMethods, type XmlRpcMethod } from './xmlrpc-contract.js'
import { readXmlText, type Xml } from './xml.js'
import { xmlDialect, type XmlProtocol } from './xml-dialect.js'
import { answerOf, faultValue, readAnswer, readCall, writeCall, writeFault, writeValue, type XmlCall } from './xmlrpc-message.js'

const traits: DialectTraits = {
  inputStream: false,
  outputStream: false,
  duplex: false,
  events: false,
  oneway: false,
  progress: false,
  deadline: true,
  metadata: true,
  cancellation: true,
  untyped: true,
  crossHost: true,
}

const protocol: XmlProtocol = { traits, site: siteOf, connect: connectXmlRpc, discover }
export const xmlrpc = xmlDialect('xmlrpc+http', protocol)
export const xmlrpcs = xmlDialect('xmlrpc+https', protocol)

const TYPE = 'text/xml'
const PATH = '/RPC2'
/** Whoever sends it takes a third member of a fault, with the error's name, outcome and details. */
const FAULTS = 'talkwire-faults'

/** Of a service of ours: its OpenRPC document. */
const DISCOVER = 'talkwire.discover'
/** Methods of a stranger that are asked for their types, one after the other. */
const MOST_METHODS = 1000

// ── serving ──────────────────────────────────────────────────────────────────────────────────────

function siteOf(scheme: string, xml: Xml, service: Service, options: DialectServerOptions): Site {
  return {
    scheme,
    claims: (path) => path === PATH,
    refuse: (response, status, error) => send(response, writeFault(error, false), status),
    handle(exchange) {
      const { request, response, path } = exchange
      const refuse = (status: number, code: string, text: string): void => {
        turnAway(request, response, () => send(response, writeFault(new TalkwireError(code, text), false), status))
      }
      if (path !== PATH && path !== '/') return refuse(404, 'METHOD_NOT_FOUND', `XML-RPC is at ${PATH}`)
      if (request.method !== 'POST') {
        response.setHeader('allow', 'POST')
        return refuse(405, 'INVALID_REQUEST', 'XML-RPC is called by POST')
      }
      // Another type could come from a page of anyone, without the browser's asking first.
      const type = request.headers['content-type'] ?? ''
      if (!/^\s*(text|application)\/xml\s*(;|$)/i.test(type)) return refuse(415, 'INVALID_REQUEST', `XML-RPC takes content-type: ${TYPE}`)
      readBody(request, options.limits, (error, body) => new ServedCall(exchange, xml, service, options).run(error, body, type))
    },
  }
}

function send(response: Response, text: string, status = 200): void {
  if (response.headersSent || response.destroyed) return
  response.writeHead(status, { 'content-type': TYPE, 'content-length': Buffer.byteLength(text) }).end(text)
}

/** What becomes of one call: a written `<value>`, or an error. */
type Done = (value: string | undefined, error?: TalkwireError) => void

/** One request, until its answer has left. */
class ServedCall {
  private readonly extended: boolean
  private meta: Meta | undefined
  private done = false

  constructor(
    private readonly exchange: Exchange,
    private readonly xml: Xml,
    private readonly service: Service,
    private readonly options: DialectServerOptions,
  ) {
    this.extended = FAULTS in exchange.request.headers
  }

  run(error: TalkwireError | undefined, body: Buffer, type: string): void {
    if (error) {
      this.exchange.response.setHeader('connection', 'close')
      return this.finish(undefined, error)
    }
    try {
      this.meta = metaOf(this.exchange.request.headers)
      const call = readCall(this.xml, readXmlText(body, type), this.options.limits)
      if (call.method === 'system.multicall') this.runAll(call.params)
      else this.call(call, (value, failure) => this.finish(value, failure))
    } catch (reason) {
      this.finish(undefined, TalkwireError.from(reason))
    }
  }

  private call({ method, params }: XmlCall, done: Done): void {
    const { limits, onError } = this.options
    if (method.startsWith('system.')) {
      import('./xmlrpc-system.js')
        .then(({ systemCall }) => systemCall(this.service, method, params))
        .then(
          (value) => done(writeValue(value, 1, limits)),
          (reason: unknown) => {
            if (!(reason instanceof TalkwireError)) onError(reason, method)
            done(undefined, TalkwireError.from(reason, 'INTERNAL', 'ran'))
          },
        )
      return
    }
    const found = this.service.methods.get(method)
    if (!found && method === DISCOVER) return this.discover(done)
    if (!found) return done(undefined, notFound(this.service, method))
    const byPosition = found.positional || found.parameters !== undefined
    if (!byPosition && params.length > 1)
      return done(undefined, new TalkwireError('INVALID_INPUT', `"${method}" takes one value, not ${params.length}; see system.methodHelp`))
    this.exchange.caller.call(method, byPosition ? params : paramsOf(params[0]), this.meta, {
      result: (value) => done(writeValue(value, 1, limits)),
      error: (error) => done(undefined, error),
      item: () => 0,
    })
  }

  private discover(done: Done): void {
    this.exchange.caller.call('rpc.discover', [], this.meta, {
      result: (value) => done(writeValue(value, 1, this.options.limits)),
      error: (error) => done(undefined, error),
      item: () => 0,
    })
  }

  /** `system.multicall`: a list of calls, and a list of their answers, each a list of one value or a fault. */
  private runAll(params: readonly unknown[]): void {
    const calls = callsIn(params, this.options.limits.batch)
    const answers: string[] = []
    let left = calls.length
    if (left === 0) return this.finish(writeValue([], 1, this.options.limits))
    for (const [index, call] of calls.entries()) {
      const done: Done = (value, error) => {
        answers[index] = error ? faultValue(error, this.extended) : `<value><array><data>${value!}</data></array></value>`
        if (--left === 0) this.finish(`<value><array><data>${answers.join('')}</data></array></value>`)
      }
      if (call instanceof TalkwireError) done(undefined, call)
      else this.call(call, done)
    }
  }

  private finish(value: string | undefined, error?: TalkwireError): void {
    if (this.done) return
    this.done = true
    send(this.exchange.response, error ? writeFault(error, this.extended) : answerOf(value!))
  }
}

/** Throws INVALID_INPUT, LIMIT_EXCEEDED. */
function callsIn([calls]: readonly unknown[], most: number): (XmlCall | TalkwireError)[] {
  if (!Array.isArray(calls)) throw new TalkwireError('INVALID_INPUT', 'system.multicall takes a list of { methodName, params }')
  if (calls.length > most)
    throw new TalkwireError('LIMIT_EXCEEDED', `a multicall of more than ${most} calls; send less at a time, or raise limits.batch`)
  return calls.map((call: unknown) => {
    const { methodName, params } = (typeof call === 'object' && call !== null ? call : {}) as Record<string, unknown>
    if (typeof methodName !== 'string' || !Array.isArray(params))
      return new TalkwireError('INVALID_REQUEST', 'a call of system.multicall is { methodName, params }')
    if (methodName === 'system.multicall') return new TalkwireError('INVALID_REQUEST', 'a multicall inside a multicall is refused')
    return { method: methodName, params }
  })
}

// ── calling ──────────────────────────────────────────────────────────────────────────────────────

async function connectXmlRpc(
  address: string,
  xml: Xml,
  options: DialectClientOptions,
): Promise<{ connection: ConnectionBase; callee: Callee }> {
  options.signal?.throwIfAborted()
  const place = openPlace(address, options)
  const path = place.path || PATH
  await checkServer(place, path, xml, options)
  const connection = new AgentConnection(place, options.onClosed)
  return { connection, callee: new XmlRpcCallee(place, path, xml, options, connection) }
}

/** Rejects as `Dialect.discover`. */
async function discover(address: string, xml: Xml, options: DialectDiscoverOptions): Promise<Contract> {
  options.signal?.throwIfAborted()
  const place = openPlace(address, options)
  const told = asker(place, place.path || PATH, xml, options)
  try {
    const capabilities = (await told('system.getCapabilities')) as { talkwire?: unknown } | undefined
    if (capabilities?.talkwire !== undefined) return await fromOpenRpc(await told(DISCOVER))
    const names = await told('system.listMethods')
    if (!Array.isArray(names))
      throw new TalkwireError('UNSUPPORTED', `${address} tells nothing of itself: it has no system.listMethods; write a contract for it`)
    const methods: XmlRpcMethod[] = []
    for (const name of names.slice(0, MOST_METHODS) as unknown[])
      if (typeof name === 'string' && !name.startsWith('system.'))
        methods.push({ name, signature: await told('system.methodSignature', [name]), help: await told('system.methodHelp', [name]) })
    return await contractOfMethods(place.base.host!, methods)
  } finally {
    ;(place.base.agent as Agent).destroy()
  }
}

/** Asks one thing after the other; a fault is no answer. */
const asker =
  (place: Place, path: string, xml: Xml, { limits, signal }: DialectDiscoverOptions) =>
  async (method: string, params: readonly unknown[] = []): Promise<unknown> => {
    const body = writeCall(method, params, limits)
    const answer = answerIn(
      await ask(place, { method: 'POST', path, headers: { 'content-type': TYPE }, body }, limits, signal),
      xml,
      limits,
    )
    return 'value' in answer ? answer.value : undefined
  }

/** A service of ours says its contract; others are asked for their methods, as far as they tell. */
async function checkServer(place: Place, path: string, xml: Xml, options: DialectClientOptions): Promise<void> {
  const { contract } = options
  const told = asker(place, path, xml, options)
  const capabilities = (await told('system.getCapabilities')) as { talkwire?: { contract?: unknown; service?: unknown } } | undefined
  if (!contract) return
  const served = capabilities?.talkwire
  if (served) {
    if (contract.foreign || served.contract === contract.id) return
    throw new TalkwireError(
      'CONTRACT_MISMATCH',
      `this service is ${typeof served.contract === 'string' ? served.contract : `${String(served.service)} (no contract)`}, the caller wants "${contract.id}"; give both the same contract`,
    )
  }
  const methods = await told('system.listMethods')
  const missing = Array.isArray(methods) ? Object.keys(contract.members).find((name) => !methods.includes(name)) : undefined
  if (missing !== undefined)
    throw new TalkwireError(
      'CONTRACT_MISMATCH',
      `${place.address} has no method "${missing}" of ${contract.id}; see its system.listMethods`,
    )
}

/** Throws what a refusal by HTTP means, INVALID_MESSAGE and the like. */
function answerIn({ status, headers, body }: Told, xml: Xml, limits: DialectClientOptions['limits']): ReturnType<typeof readAnswer> {
  if (status === 200) return readAnswer(xml, readXmlText(body, headers['content-type']), limits)
  throw fromProblem(status, undefined)
}

const single = (input: unknown): unknown[] => (input === undefined ? [] : [input])

class XmlRpcCallee implements Callee {
  constructor(
    private readonly place: Place,
    private readonly path: string,
    private readonly xml: Xml,
    private readonly options: DialectClientOptions,
    private readonly connection: AgentConnection,
  ) {}

  call(method: string, params: unknown, meta: Meta | undefined, answer: Answer): OpenCall {
    const { contract, limits } = this.options
    const member = contract?.members[method]
    const list = contract && !(member?.kind === 'rpc' && member.parameters) ? single(inputOf(params)) : ((params ?? []) as unknown[])
    const question = {
      method: 'POST',
      path: this.path,
      headers: { ...metaHeaders(meta), 'content-type': TYPE, [FAULTS]: 'extended' },
      body: writeCall(method, list, limits),
    }
    return post(this.place, this.connection, question, answer, limits, (told) => {
      if (told.status !== 200) return answer.error(fromProblem(told.status, undefined))
      const read = answerIn(told, this.xml, limits)
      if ('error' in read) answer.error(read.error)
      else answer.result(member?.kind === 'rpc' && member.output === undefined ? undefined : read.value)
    })
  }

  subscribe(event: string): Promise<void> {
    return Promise.reject(new TalkwireError('UNSUPPORTED', `XML-RPC has no events, so not "${event}"; take http: or unix:`))
  }

  unsubscribe(): void {}
}

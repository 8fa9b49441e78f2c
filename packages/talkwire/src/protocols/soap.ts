/**
 * SOAP 1.1 and 1.2: `soap+http://127.0.0.1:8080`. A contract as document/literal at `/<service>`, its WSDL at `?wsdl`.
 * docs/protocols/soap.md.
 */
import type { Agent } from 'node:http'
import { TalkwireError } from '../error.js'
import type { Contract } from '../contract/contract.js'
import { defaultLimits } from '../session/limits.js'
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
import { AgentConnection, ask, openPlace, post, type Place } from './http-agent.js'
import { metaHeaders, metaOf } from './http-meta.js'
import { fromProblem } from './http-problem.js'
import { readBody, turnAway, type Exchange, type Response, type Site } from './http-server.js'
import type { Meta } from './message.js'
import {
  isFault,
  isSenders,
  readEnvelope,
  readFault,
  TYPES,
  writeBody,
  writeEnvelope,
  writeFault,
  writeForeign,
  type Version,
} from './soap-message.js'
import { operationsOf, readMessage, writeAttributes, writeMessage, type Operation } from './soap-schema.js'
import { contractOfWsdl } from './soap-contract.js'
import { importsOf, readWsdl, type ForeignService } from './soap-foreign.js'
import { namespaceOf, wsdlOf } from './soap-wsdl.js'
import { loadXml, readXmlText, type Element, type Xml } from './xml.js'
import { xmlDialect, type XmlProtocol } from './xml-dialect.js'

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
  untyped: false,
  crossHost: true,
}

const protocol: XmlProtocol = { traits, site: siteOf, connect: connectSoap, discover }
export const soap = xmlDialect('soap+http', protocol)
export const soaps = xmlDialect('soap+https', protocol)

/** The WSDL of a contract that is served at `location`. Rejects with UNSUPPORTED for what SOAP has no word for. */
export const wsdl = async (contract: Contract, location: string): Promise<string> =>
  wsdlOf(contract, await operationsOf(contract), location)

/**
 * The contract of a WSDL that others wrote. `imports`: the texts of documents that it imports. A client reads the WSDL of the service
 * all the same: where it is, and how its elements are called, are no part of a contract. Rejects with TypeError for what is no WSDL
 * with a binding for SOAP, INVALID_MESSAGE for what is no XML, MISSING_PACKAGE.
 */
export async function wsdlContract(
  text: string,
  { imports = {} }: { readonly imports?: Readonly<Record<string, string>> } = {},
): Promise<Contract> {
  const xml = await loadXml('soap+http')
  return contractOfWsdl(readWsdl([text, ...Object.values(imports)].map((each) => xml.parse(each, defaultLimits, true))))
}

// ── serving ──────────────────────────────────────────────────────────────────────────────────────

interface Served {
  readonly xml: Xml
  readonly service: Service
  readonly options: DialectServerOptions
  readonly operations: ReadonlyMap<string, Operation>
  readonly namespace: string
}

async function siteOf(scheme: string, xml: Xml, service: Service, options: DialectServerOptions): Promise<Site> {
  const contract = service.contract!
  const served: Served = { xml, service, options, operations: await operationsOf(contract), namespace: namespaceOf(contract) }
  const plain = scheme.slice('soap+'.length)
  return {
    scheme,
    claims: (path) => path === `/${service.name}`,
    refuse: (response, status, error) => send(response, '1.1', writeFault('1.1', error, served.namespace), status),
    handle(exchange) {
      const { request, response, path, query } = exchange
      const refuse = (status: number, code: string, text: string): void => {
        turnAway(request, response, () => send(response, '1.1', writeFault('1.1', new TalkwireError(code, text), served.namespace), status))
      }
      if (path !== `/${service.name}` && path !== '/')
        return refuse(404, 'METHOD_NOT_FOUND', `SOAP is at /${service.name}, its WSDL at ?wsdl`)
      if (request.method === 'GET' && query.toLowerCase() === 'wsdl')
        return send(response, '1.1', wsdlOf(contract, served.operations, `${plain}://${request.headers.host ?? ''}/${service.name}`))
      if (request.method !== 'POST') {
        response.setHeader('allow', 'POST')
        return refuse(405, 'INVALID_REQUEST', 'SOAP is called by POST; the WSDL is at ?wsdl')
      }
      // Another type could come from a page of anyone, without the browser's asking first.
      const type = request.headers['content-type'] ?? ''
      const version = /^\s*application\/soap\+xml\s*(;|$)/i.test(type) ? '1.2' : /^\s*text\/xml\s*(;|$)/i.test(type) ? '1.1' : undefined
      if (!version) return refuse(415, 'INVALID_REQUEST', 'SOAP takes content-type: text/xml (1.1) or application/soap+xml (1.2)')
      readBody(request, options.limits, (error, body) => new ServedCall(exchange, served, version).run(error, body, type))
    },
  }
}

function send(response: Response, version: Version, text: string, status = 200): void {
  if (response.headersSent || response.destroyed) return
  response.writeHead(status, { 'content-type': TYPES[version], 'content-length': Buffer.byteLength(text) }).end(text)
}

/** One request, until its answer has left. */
class ServedCall {
  private operation: Operation | undefined
  private done = false

  constructor(
    private readonly exchange: Exchange,
    private readonly served: Served,
    private version: Version,
  ) {}

  run(error: TalkwireError | undefined, body: Buffer, type: string): void {
    const { exchange, served } = this
    if (error) {
      exchange.response.setHeader('connection', 'close')
      return this.fail(error)
    }
    try {
      const meta = metaOf(exchange.request.headers)
      const envelope = readEnvelope(served.xml, readXmlText(body, type), served.options.limits)
      this.version = envelope.version
      const { name, uri } = envelope.body
      const operation = uri === served.namespace ? served.operations.get(name) : undefined
      if (!operation) throw uri === served.namespace ? notFound(served.service, name) : foreign(uri, served.namespace)
      this.operation = operation
      exchange.caller.call(name, paramsOf(readMessage(operation.request, envelope.body)), meta, {
        result: (value) => this.result(operation, value),
        error: (failure) => this.fail(failure),
        item: () => 0,
      })
    } catch (reason) {
      this.fail(TalkwireError.from(reason))
    }
  }

  private result(operation: Operation, value: unknown): void {
    if (this.done) return
    const body = writeBody(`${operation.name}Response`, this.served.namespace, writeMessage(operation.answer, value))
    this.done = true
    send(this.exchange.response, this.version, writeEnvelope(this.version, body))
  }

  private fail(error: TalkwireError): void {
    if (this.done) return
    this.done = true
    // SOAP 1.1 § 6.2 has 500 for all, 1.2 part 2 § 7.5.2.2 tells them apart.
    const status = this.version === '1.2' && isSenders(error) ? 400 : 500
    send(this.exchange.response, this.version, writeFault(this.version, error, this.served.namespace, this.operation), status)
  }
}

const foreign = (uri: string, own: string): TalkwireError =>
  new TalkwireError('METHOD_NOT_FOUND', `this service has nothing in the namespace ${JSON.stringify(uri.slice(0, 100))}; its own is ${own}`)

// ── calling ──────────────────────────────────────────────────────────────────────────────────────

async function connectSoap(
  address: string,
  xml: Xml,
  options: DialectClientOptions,
): Promise<{ connection: ConnectionBase; callee: Callee }> {
  options.signal?.throwIfAborted()
  const { contract } = options
  if (!contract) throw new TalkwireError('UNSUPPORTED', 'soap: calls by contract only; give connect the contract, or take another address')
  const place = openPlace(address, options)
  const connection = new AgentConnection(place, options.onClosed)
  if (contract.foreign) {
    const { operations, location } = await readForeign(place, xml, options)
    const missing = Object.keys(contract.members).find((name) => !operations.has(name))
    if (missing !== undefined) throw new TalkwireError('CONTRACT_MISMATCH', `the WSDL of ${address} has no operation "${missing}" any more`)
    return { connection, callee: new SoapCallee(place, pathIn(location) ?? place.path, xml, operations, '', options, connection) }
  }
  const operations = await operationsOf(contract)
  const path = place.path || `/${contract.name}`
  await checkServer(place, path, contract, xml, options)
  return { connection, callee: new SoapCallee(place, path, xml, operations, namespaceOf(contract), options, connection) }
}

// ── services of others ───────────────────────────────────────────────────────────────────────────

/** Documents that a WSDL may import. */
const MOST_IMPORTS = 50

/** Rejects as `Dialect.discover`. */
async function discover(address: string, xml: Xml, options: DialectDiscoverOptions): Promise<Contract> {
  options.signal?.throwIfAborted()
  const place = openPlace(address, options)
  try {
    return await contractOfWsdl(await readForeign(place, xml, options))
  } finally {
    ;(place.base.agent as Agent).destroy()
  }
}

/** The WSDL at the address, and what it imports from there: nothing is fetched from another host. */
async function readForeign(place: Place, xml: Xml, { limits, signal }: DialectDiscoverOptions): Promise<ForeignService> {
  const base = new URL(`http://host${place.path || '/'}`)
  const wanted = [new URL('?wsdl', base)]
  const seen = new Set<string>()
  const documents: Element[] = []
  for (const { pathname, search } of wanted) {
    const path = `${pathname}${search}`
    if (seen.has(path) || seen.size >= MOST_IMPORTS) continue
    seen.add(path)
    const { status, headers, body } = await ask(place, { method: 'GET', path }, limits, signal)
    if (status !== 200)
      throw status === 404
        ? new TalkwireError('UNSUPPORTED', `${place.address} has no WSDL at ${path}; name the path of the service`)
        : fromProblem(status, undefined).withOutcome('not-sent')
    const root = xml.parse(readXmlText(body, headers['content-type']), limits, true)
    documents.push(root)
    for (const each of importsOf(root)) if (URL.canParse(each, `http://host${path}`)) wanted.push(new URL(each, `http://host${path}`))
  }
  try {
    return readWsdl(documents)
  } catch (reason) {
    throw reason instanceof TypeError ? new TalkwireError('UNSUPPORTED', `${place.address}: ${reason.message}`, { cause: reason }) : reason
  }
}

/** The host in a WSDL is often one that only the service knows; its path counts. */
function pathIn(location: string | undefined): string | undefined {
  if (location === undefined || !URL.canParse(location)) return undefined
  const { pathname, search } = new URL(location)
  return `${pathname}${search}`
}

/** The WSDL says which contract is served. */
async function checkServer(
  place: Place,
  path: string,
  contract: Contract,
  xml: Xml,
  { limits, signal }: DialectClientOptions,
): Promise<void> {
  const { status, headers, body } = await ask(place, { method: 'GET', path: `${path}?wsdl` }, limits, signal)
  if (status !== 200) throw mismatch(status, place.address, contract)
  const root = xml.parse(readXmlText(body, headers['content-type']), limits, true)
  const told = root.attributes.get('targetNamespace')
  if (told !== namespaceOf(contract))
    throw new TalkwireError(
      'CONTRACT_MISMATCH',
      `the WSDL of this service is of ${JSON.stringify((told ?? '').slice(0, 100))}, the caller wants "${contract.id}", ${namespaceOf(contract)}; give both the same contract`,
    )
}

/** Where there is no such service, another contract is served. */
const mismatch = (status: number, address: string, { id }: Contract): TalkwireError =>
  status === 404
    ? new TalkwireError('CONTRACT_MISMATCH', `${address} has no WSDL of "${id}"; give both the same contract, or name the path`)
    : fromProblem(status, undefined).withOutcome('not-sent')

class SoapCallee implements Callee {
  constructor(
    private readonly place: Place,
    private readonly path: string,
    private readonly xml: Xml,
    private readonly operations: ReadonlyMap<string, Operation>,
    private readonly namespace: string,
    private readonly options: DialectClientOptions,
    private readonly connection: AgentConnection,
  ) {}

  call(method: string, params: unknown, meta: Meta | undefined, answer: Answer): OpenCall {
    const { limits } = this.options
    const operation = this.operations.get(method)
    if (!operation) throw new TalkwireError('METHOD_NOT_FOUND', `the contract has no method ${JSON.stringify(method.slice(0, 128))}`)
    if (operation.wire) return this.callForeign(operation, params, meta, answer)
    const question = {
      method: 'POST',
      path: this.path,
      headers: { ...metaHeaders(meta), 'content-type': TYPES['1.1'], soapaction: `"${this.namespace}#${method}"` },
      body: writeEnvelope('1.1', writeBody(method, this.namespace, writeMessage(operation.request, inputOf(params, operation.parameters)))),
    }
    return post(this.place, this.connection, question, answer, limits, ({ status, headers, body }) => {
      if (status !== 200 && status !== 500) return answer.error(fromProblem(status, undefined))
      const envelope = readEnvelope(this.xml, readXmlText(body, headers['content-type']), limits)
      if (isFault(envelope.body)) return answer.error(readFault(envelope.body, operation))
      if (envelope.body.name !== `${method}Response`)
        throw new TalkwireError('INVALID_MESSAGE', `no answer to ${method}: <${envelope.body.name.slice(0, 80)}>`)
      answer.result(readMessage(operation.answer, envelope.body))
    })
  }

  /** As its WSDL wants it. RFC 3902 has the action in SOAP 1.2. */
  private callForeign(operation: Operation, params: unknown, meta: Meta | undefined, answer: Answer): OpenCall {
    const { limits } = this.options
    const { version, action, element, oneway } = operation.wire!
    const input = inputOf(params) ?? {}
    const content = writeMessage(operation.request, input)
    const headers = {
      ...metaHeaders(meta),
      'content-type': version === '1.1' ? TYPES[version] : `${TYPES[version]}; action="${action}"`,
      ...(version === '1.1' && { soapaction: `"${action}"` }),
    }
    const body = writeEnvelope(version, writeForeign(element, writeAttributes(operation.request.structure, input), content))
    return post(this.place, this.connection, { method: 'POST', path: this.path, headers, body }, answer, limits, (told) => {
      if (oneway && told.status < 300) return answer.result(undefined)
      if (told.status !== 200 && told.status !== 500 && told.status !== 400) return answer.error(fromProblem(told.status, undefined))
      const envelope = readEnvelope(this.xml, readXmlText(told.body, told.headers['content-type']), limits)
      if (isFault(envelope.body)) answer.error(readFault(envelope.body, operation))
      else answer.result(operation.answer.structure.fields.size === 0 ? undefined : readMessage(operation.answer, envelope.body))
    })
  }

  subscribe(event: string): Promise<void> {
    return Promise.reject(new TalkwireError('UNSUPPORTED', `SOAP has no events, so not "${event}"; take http: or unix:`))
  }

  unsubscribe(): void {}
}

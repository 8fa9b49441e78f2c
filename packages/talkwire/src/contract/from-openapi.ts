/** A contract of what an OpenAPI document says (3.0 and 3.1, spec.openapis.org), fully where a Talkwire service wrote it. Sans I/O. */
import { event, rpc, stream, type Contract, type Members, type Rpc } from './contract.js'
import { foreignContract } from './foreign.js'
import { fromJsonSchema } from './from-json-schema.js'
import { isObject, isSubschema, type JsonSchema, type Subschema } from './schema-walk.js'
import { standalone } from './standalone.js'
import type { StandardSchema } from './standard-schema.js'

type Schema = StandardSchema<any, any>

/** How one method is asked over HTTP. */
export interface Operation {
  /** As in a request: `GET`. */
  readonly verb: string
  /** What the document's paths stand below, where the address does not say. */
  readonly base: string
  /** With `{name}` where path parameters go. */
  readonly path: string
  readonly parameters: readonly Parameter[]
  /** Undefined: none. `key`: which member of the input it is; without one the input itself. `parts`: types of a form's parts, by name. */
  readonly body: { readonly type: string; readonly key?: string; readonly parts?: Readonly<Record<string, string>> } | undefined
  /** What the service wants to be shown: all of one of these, the first for which the secrets are there. */
  readonly ways: readonly (readonly Credential[])[]
  /** Names of declared errors, by status code, `4XX` or `default`. */
  readonly errors: ReadonlyMap<string, string>
}

export interface Credential {
  /** What the document calls it; '': nothing. */
  readonly of: string
  readonly in: 'header' | 'query' | 'cookie'
  readonly name: string
  /** Of `authorization`; '' where the token stands alone. */
  readonly scheme: 'Bearer' | 'Basic' | ''
}

export interface Parameter {
  /** Of the input. */
  readonly key: string
  readonly name: string
  readonly in: 'path' | 'query' | 'header' | 'cookie'
  readonly style: string
  readonly explode: boolean
}

const operations = new WeakMap<object, Operation>()

/** How a method of such a contract is asked; undefined for one that was not made of an operation. */
export const operationOf = (member: object | undefined): Operation | undefined => member && operations.get(member)

/** The same method, described otherwise, is asked the same way. */
const remember = (member: Rpc, operation: Operation): Rpc => {
  operations.set(member, operation)
  return member
}

const VERBS = ['get', 'put', 'post', 'delete', 'patch', 'head', 'options']
/** RFC 9110 § 9.2.2. */
const IDEMPOTENT = new Set(['get', 'put', 'delete', 'head', 'options'])
const record = (value: unknown): Record<string, unknown> => (isObject(value) ? value : {})
const textOf = (value: unknown, otherwise: string): string => (typeof value === 'string' && value !== '' ? value : otherwise)

/**
 * Operations that cannot be called as methods are left out, with the reason. Their names are `operationId`, or of verb and path. The
 * input holds the parameters by name and the body as `body`; without parameters it is the body. Declared errors are named as their
 * status: `NotFound`. Rejects with MISSING_PACKAGE, and with TypeError for what is no such document.
 */
export async function fromOpenApi(document: unknown): Promise<Contract> {
  if (!isObject(document) || !/^3\.[01]\./.test(String(document['openapi'])))
    throw new TypeError('this is no OpenAPI document of version 3.0 or 3.1: its member "openapi" says which it is')
  const info = record(document['info'])
  const own = record(document['x-talkwire'])
  const members: Members = {}
  const leftOut: Record<string, string> = {}
  const base = pathOf(document)
  for (const [path, item] of Object.entries(record(document['paths'])))
    for (const [verb, each] of operationsOf(resolved(item, document), document)) {
      const name = textOf(each['operationId'], `${verb}${path.replaceAll(/[^A-Za-z0-9]+/g, '_')}`.replace(/_$/, ''))
      try {
        if (typeof own['name'] === 'string') await addOwn(members, path, verb, each, document)
        else put(members, name, await methodOf(base, path, verb, each, document))
      } catch (reason) {
        if (!(reason instanceof TypeError)) throw reason
        leftOut[name] = reason.message
      }
    }
  const [, id, number] = /^(.+)\/(\d{1,9})$/.exec(typeof own['contract'] === 'string' ? own['contract'] : '') ?? []
  return foreignContract(
    id ?? textOf(own['name'], textOf(info['title'], 'service')),
    Number(number ?? majorOf(info['version'])),
    members,
    leftOut,
  )
}

const majorOf = (version: unknown): string => /^v?(\d{1,9})/.exec(String(version))?.[1] ?? '0'

function put(members: Members, name: string, member: Members[string]): void {
  if (Object.hasOwn(members, name)) throw new TypeError('another operation has this name')
  Object.defineProperty(members, name, { value: member, enumerable: true, configurable: true, writable: true })
}

/** What all paths of the document stand below. */
function pathOf(document: JsonSchema): string {
  const [server] = Array.isArray(document['servers']) ? (document['servers'] as unknown[]) : []
  const { url, variables } = record(server)
  if (typeof url !== 'string') return ''
  const filled = url.replaceAll(/\{([^{}]*)\}/g, (_, name: string) => textOf(record(record(variables)[name])['default'], ''))
  try {
    return new URL(filled, 'http://localhost/').pathname.replace(/\/$/, '')
  } catch {
    return ''
  }
}

function resolved(value: unknown, document: JsonSchema): Record<string, unknown> {
  let at = value
  for (let hops = 0; hops < 8 && isObject(at) && typeof at['$ref'] === 'string'; hops++) {
    const ref: string = at['$ref']
    at = document
    for (const token of ref.replace(/^#\//, '').split('/')) {
      const key = decodeURIComponent(token).replaceAll('~1', '/').replaceAll('~0', '~')
      at = isObject(at) && Object.hasOwn(at, key) ? at[key] : undefined
    }
  }
  return record(at)
}

/** Parameters of the path are those of each of its operations, unless one has its own. */
function operationsOf(item: Record<string, unknown>, document: JsonSchema): [verb: string, operation: Record<string, unknown>][] {
  const listOf = (value: unknown): Record<string, unknown>[] =>
    (Array.isArray(value) ? (value as unknown[]) : []).map((each) => resolved(each, document))
  const shared = listOf(item['parameters'])
  return VERBS.filter((verb) => isObject(item[verb])).map((verb) => {
    const operation = record(item[verb])
    const own = listOf(operation['parameters'])
    const parameters = [
      ...shared.filter((each) => !own.some(({ name, in: where }) => name === each['name'] && where === each['in'])),
      ...own,
    ]
    return [verb, { ...operation, parameters: parameters.filter(isParameter) }]
  })
}

const schemaOf = (schema: unknown, document: JsonSchema, optional = false): Promise<Schema> =>
  fromJsonSchema(standalone(isSubschema(schema) ? schema : true, document), { optional })

// ── operations of others ─────────────────────────────────────────────────────────────────────────

async function methodOf(base: string, path: string, verb: string, operation: Record<string, unknown>, document: JsonSchema): Promise<Rpc> {
  const parameters = (operation['parameters'] as Record<string, unknown>[]).map((each, _, all) => parameterOf(each, all))
  const body = bodyOf(resolved(operation['requestBody'], document), document)
  const key = body && parameters.length > 0 ? freeKey('body', parameters) : undefined
  const properties = parameters.map((each) => [each.key, each.schema] as [string, Subschema])
  const required = parameters.filter((each) => each.required).map((each) => each.key)
  if (body && key !== undefined) {
    properties.push([key, body.schema])
    if (body.required) required.push(key)
  }
  const text = operation['description'] ?? operation['summary']
  const input: Subschema | undefined =
    properties.length > 0
      ? {
          type: 'object',
          properties: Object.fromEntries(properties),
          ...(required.length > 0 && { required }),
          additionalProperties: false,
          ...(typeof text === 'string' && { description: text }),
        }
      : body?.schema
  const { output, errors } = await answersOf(record(operation['responses']), document)
  const optional = properties.length > 0 ? required.length === 0 : body?.required !== true
  return remember(
    rpc({
      ...(input !== undefined && { input: await schemaOf(input, document, optional) }),
      ...(output && { output }),
      errors: Object.fromEntries(errors.values()),
      idempotent: IDEMPOTENT.has(verb),
    }) as Rpc,
    {
      verb: verb.toUpperCase(),
      base,
      path,
      parameters: parameters.map(({ key: name, parameter }) => ({ ...parameter, key: name })),
      body: body && { type: body.type, ...(key !== undefined && { key }), ...(body.parts && { parts: body.parts }) },
      ways: waysOf(operation, document),
      errors: new Map([...errors].map(([status, [name]]) => [status, name])),
    },
  )
}

interface ReadParameter {
  readonly key: string
  readonly required: boolean
  readonly schema: Subschema
  readonly parameter: Omit<Parameter, 'key'>
}

/** Headers that the protocol itself sets. */
const NO_PARAMETERS = new Set([
  'accept',
  'authorization',
  'connection',
  'content-length',
  'content-type',
  'cookie',
  'host',
  'transfer-encoding',
  'upgrade',
])
const isParameter = ({ name, in: where }: Record<string, unknown>): boolean =>
  where !== 'header' || typeof name !== 'string' || !NO_PARAMETERS.has(name.toLowerCase())

const STYLES: Readonly<Record<string, string>> = { path: 'simple', header: 'simple', query: 'form', cookie: 'form' }

function parameterOf(parameter: Record<string, unknown>, all: readonly Record<string, unknown>[]): ReadParameter {
  const { name, in: where, content } = parameter
  if (typeof name !== 'string' || typeof where !== 'string' || !Object.hasOwn(STYLES, where) || name === '__proto__')
    throw new TypeError('a parameter without a name, or in no place')
  if (where === 'header' && /[^\w!#$%&'*+.^`|~-]/.test(name)) throw new TypeError(`"${name}" cannot be a header`)
  const others = all.filter((each) => each['name'] === name && each['in'] !== where)
  const style = isObject(content) ? 'json' : textOf(parameter['style'], STYLES[where]!)
  const [media] = Object.values(record(content))
  const schema = isObject(content) ? record(media)['schema'] : parameter['schema']
  return {
    key: others.length > 0 ? `${name}_${where}` : name,
    required: parameter['required'] === true || where === 'path',
    schema: isSubschema(schema) ? schema : true,
    parameter: {
      name,
      in: where as Parameter['in'],
      style,
      explode: typeof parameter['explode'] === 'boolean' ? parameter['explode'] : style === 'form',
    },
  }
}

function freeKey(wish: string, taken: readonly { readonly key: string }[]): string {
  let key = wish
  while (taken.some((each) => each.key === key)) key = `${key}_`
  return key
}

const isJson = (type: string): boolean => /^application\/([\w.-]+\+)?json\b/i.test(type)
const FORM = 'application/x-www-form-urlencoded'
export const MULTIPART = 'multipart/form-data'
const BYTES: Subschema = { 'x-talkwire': 'array', 'x-dtype': 'u1' }
/** What a body may be, best first. */
const isText = (type: string): boolean => /^text\//i.test(type)

interface ReadBody {
  readonly type: string
  readonly schema: Subschema
  readonly required: boolean
  readonly parts?: Readonly<Record<string, string>>
}

function bodyOf(body: Record<string, unknown>, document: JsonSchema): ReadBody | undefined {
  const types = Object.keys(record(body['content']))
  if (types.length === 0) return undefined
  const type =
    types.find(isJson) ??
    types.find((each) => each === FORM) ??
    types.find((each) => each === MULTIPART) ??
    types.find(isText) ??
    types.find((each) => /octet-stream/.test(each))
  if (type === undefined) throw new TypeError(`it takes ${types.join(', ')}; what a method takes is JSON, a form, text or bytes`)
  const { schema, encoding } = record(record(body['content'])[type])
  if (type === MULTIPART) return { type, required: body['required'] === true, ...formOf(schema, encoding, document) }
  const taken = isJson(type) || type === FORM ? schema : isText(type) ? { type: 'string' } : BYTES
  return { type, schema: isSubschema(taken) ? taken : true, required: body['required'] === true }
}

/** A form whose files are bytes. */
function formOf(schema: unknown, encoding: unknown, document: JsonSchema): Pick<ReadBody, 'schema' | 'parts'> {
  const form = resolved(schema, document)
  const properties = Object.entries(record(form['properties'])).map(([name, each]) => [name, withFiles(each, document)] as const)
  const types = Object.entries(record(encoding)).flatMap(([name, each]) => {
    // Of several, or with a placeholder, the server takes what it likes; ours is one.
    const [type] = textOf(record(each)['contentType'], '').split(',')
    return type !== '' && !type!.includes('*') && !/[\r\n]/.test(type!) ? [[name, type!.trim()] as const] : []
  })
  return { schema: { ...form, type: 'object', properties: Object.fromEntries(properties) } as Subschema, parts: Object.fromEntries(types) }
}

function withFiles(schema: unknown, document: JsonSchema): Subschema {
  const plain = resolved(schema, document)
  if (plain['type'] === 'string' && (plain['format'] === 'binary' || ('contentMediaType' in plain && !('contentEncoding' in plain))))
    return BYTES
  if (isObject(plain['items'])) return { ...plain, items: withFiles(plain['items'], document) } as Subschema
  for (const word of ['anyOf', 'oneOf'])
    if (Array.isArray(plain[word])) return { ...plain, [word]: plain[word].map((each) => withFiles(each, document)) } as Subschema
  return isSubschema(schema) ? schema : true
}

// ── who asks ─────────────────────────────────────────────────────────────────────────────────────

/** A document that says nothing of it: as everywhere else. With nothing comes last. */
function waysOf(operation: Record<string, unknown>, document: JsonSchema): Operation['ways'] {
  const wanted = [operation['security'], document['security']].find(Array.isArray) as unknown[] | undefined
  if (!wanted) return [[authorization('', 'Bearer')], []]
  const schemes = record(record(document['components'])['securitySchemes'])
  const ways = wanted.map((each) => Object.keys(record(each)).flatMap((name) => credentialIn(name, resolved(schemes[name], document))))
  const usable = ways.filter((way) => clashIn(way).length === 0)
  if (ways.length > 0 && usable.length === 0) throw new TypeError(clashText(clashIn(ways[0]!)))
  return usable.length === 0 ? [[]] : usable.toSorted((a, b) => Number(a.length === 0) - Number(b.length === 0))
}

const placeOf = ({ in: where, name }: Credential): string => `the ${where} ${where === 'header' ? name.toLowerCase() : name}`

/** Those of a way that would stand where another one stands. */
const clashIn = (way: readonly Credential[]): Credential[] =>
  way.filter((each) => way.some((other) => other !== each && placeOf(other) === placeOf(each)))

const clashText = (clash: readonly Credential[]): string =>
  `it wants ${clash.map(({ of }) => of).join(' and ')} in one place, ${placeOf(clash[0]!)}; in a copy of the document leave the one that the service reads in its "security", and give that copy to fromOpenApi or talkwire import`

const authorization = (of: string, scheme: Credential['scheme']): Credential => ({ of, in: 'header', name: 'authorization', scheme })

/** One, or none for what is shown elsewhere, such as a certificate. */
function credentialIn(of: string, { type, scheme, in: where, name }: Record<string, unknown>): Credential[] {
  if (type === 'mutualTLS') return []
  if (type === 'http') {
    if (/^basic$/i.test(String(scheme))) return [authorization(of, 'Basic')]
    if (!/^bearer$/i.test(String(scheme)))
      throw new TypeError(`it wants the scheme ${JSON.stringify(scheme)} of authorization, which is not known here`)
  }
  if (type !== 'apiKey') return [authorization(of, 'Bearer')]
  if (
    (where !== 'header' && where !== 'query' && where !== 'cookie') ||
    typeof name !== 'string' ||
    (where !== 'query' && /[^\w!#$%&'*+.^`|~-]/.test(name))
  )
    throw new TypeError('it wants an API key without a name, or in no place')
  return [{ of, in: where, name, scheme: '' }]
}

interface Answers {
  readonly output: Schema | undefined
  readonly errors: ReadonlyMap<string, readonly [name: string, details: Schema]>
}

async function answersOf(responses: Record<string, unknown>, document: JsonSchema): Promise<Answers> {
  const good: Subschema[] = []
  let empty = false
  const errors = new Map<string, readonly [string, Schema]>()
  for (const [status, response] of Object.entries(responses)) {
    const content = record(resolved(response, document)['content'])
    const types = Object.keys(content)
    const type = types.find(isJson) ?? types[0]
    const said = type === undefined ? undefined : record(content[type])['schema']
    const schema: Subschema | undefined =
      type === undefined ? undefined : isJson(type) ? (isSubschema(said) ? said : true) : otherOutput(type)
    if (status.startsWith('3')) continue
    if (status.startsWith('2')) {
      if (schema === undefined) empty = true
      else good.push(schema)
    } else if (status !== 'default' || Object.keys(responses).length > 1) {
      const name = errorName(status)
      errors.set(status, [name, await schemaOf(schema ?? true, document, true)])
    } else good.push(schema ?? true)
  }
  const [only, second] = good
  const schema = second === undefined ? only : { anyOf: good }
  return { output: schema === undefined ? undefined : await schemaOf(schema, document, empty), errors }
}

/** What an answer in another type than JSON is: text, or bytes. */
function otherOutput(type: string): Subschema {
  if (/^text\/event-stream/i.test(type)) throw new TypeError('it answers with a stream of events')
  return isText(type) || /xml|yaml/.test(type) ? { type: 'string' } : { 'x-talkwire': 'array', 'x-dtype': 'u1' }
}

const NAMES: Readonly<Record<string, string>> = {
  400: 'BadRequest',
  401: 'Unauthorized',
  402: 'PaymentRequired',
  403: 'Forbidden',
  404: 'NotFound',
  405: 'MethodNotAllowed',
  406: 'NotAcceptable',
  409: 'Conflict',
  410: 'Gone',
  412: 'PreconditionFailed',
  413: 'ContentTooLarge',
  415: 'UnsupportedMediaType',
  418: 'Teapot',
  422: 'UnprocessableContent',
  423: 'Locked',
  428: 'PreconditionRequired',
  429: 'TooManyRequests',
  500: 'InternalServerError',
  501: 'NotImplemented',
  502: 'BadGateway',
  503: 'ServiceUnavailable',
  504: 'GatewayTimeout',
  default: 'Failed',
}
const errorName = (status: string): string => NAMES[status] ?? `Status${status.replaceAll(/[^0-9A-Za-z]/g, '')}`

/** The declared error of an answer. */
export const errorOf = ({ errors }: Operation, status: number): string | undefined =>
  errors.get(String(status)) ?? errors.get(`${String(status)[0]}XX`) ?? errors.get(`${String(status)[0]}xx`) ?? errors.get('default')

// ── operations of ours ───────────────────────────────────────────────────────────────────────────

/** As openapi.ts writes them. They are asked as every method of ours. */
async function addOwn(
  members: Members,
  path: string,
  verb: string,
  operation: Record<string, unknown>,
  document: JsonSchema,
): Promise<void> {
  const item = record(record(document['paths'])[path])
  const name = decodeURIComponent(path.slice(path.lastIndexOf('/') + 1))
  const responses = record(operation['responses'])
  const contentOf = (of: unknown): [type: string, schema: unknown] | undefined => {
    const [entry] = Object.entries(record(record(of)['content']))
    return entry && [entry[0], record(entry[1])['schema']]
  }
  const [type, schema] = contentOf(responses['200']) ?? []
  if (verb === 'get') {
    if (!('post' in item)) put(members, name, event(await schemaOf(schema, document)))
    return
  }
  const [takes, taken] = contentOf(operation['requestBody']) ?? []
  const optional = record(operation['requestBody'])['required'] !== true
  const input =
    takes === undefined
      ? undefined
      : takes.includes('ndjson')
        ? stream(await schemaOf(taken, document))
        : await schemaOf(taken, document, optional)
  const output =
    type === undefined
      ? undefined
      : type.startsWith('text/event-stream')
        ? stream(await schemaOf(schema, document))
        : await schemaOf(schema, document)
  const oneway = '202' in responses
  put(
    members,
    name,
    rpc({
      ...(input && { input }),
      ...(output && { output }),
      ...(!oneway && { errors: await ownErrors(contentOf(responses['422'])?.[1], document) }),
      idempotent: 'get' in item,
      oneway,
    }) as Rpc,
  )
}

async function ownErrors(schema: unknown, document: JsonSchema): Promise<Record<string, Schema>> {
  const errors: Record<string, Schema> = {}
  const { oneOf } = record(schema)
  for (const each of Array.isArray(oneOf) ? (oneOf as unknown[]) : [schema]) {
    const { code, details } = record(record(each)['properties'])
    const name = record(code)['const']
    if (typeof name === 'string') errors[name] = await schemaOf(details, document)
  }
  return errors
}

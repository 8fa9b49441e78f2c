/** A contract of what an OpenRPC document says (spec.open-rpc.org), fully where a Talkwire service wrote it. Sans I/O. */
import { event, rpc, stream, type Contract, type Event, type Members, type Rpc } from './contract.js'
import { foreignContract } from './foreign.js'
import { fromJsonSchema } from './from-json-schema.js'
import { isObject, isSubschema, type JsonSchema, type Subschema } from './schema-walk.js'
import { standalone } from './standalone.js'
import type { StandardSchema } from './standard-schema.js'

type Schema = StandardSchema<any, any>

/** Members that cannot be read are left out, with the reason. Rejects with MISSING_PACKAGE, and with TypeError for what is no such document. */
export async function fromOpenRpc(document: unknown, name = 'service'): Promise<Contract> {
  if (!isObject(document) || !Array.isArray(document['methods']))
    throw new TypeError('this is no OpenRPC document: it has no list of methods')
  const members: Members = {}
  const leftOut: Record<string, string> = {}
  for (const entry of document['methods'] as unknown[]) {
    const method = isObject(entry) && typeof entry['$ref'] === 'string' ? refersTo(document, entry['$ref']) : entry
    if (!isObject(method) || typeof method['name'] !== 'string') continue
    try {
      Object.defineProperty(members, method['name'], { value: await methodOf(method, document), enumerable: true, configurable: true })
    } catch (reason) {
      if (!(reason instanceof TypeError)) throw reason
      leftOut[method['name']] = reason.message
    }
  }
  const own = record(document['x-talkwire'])
  for (const [each, value] of Object.entries(record(own['events'])))
    if (isObject(value)) members[each] = await eventOf(value['payload'], document)
  const { title, version } = record(document['info'])
  const [, id, number] = /^(.+)\/(\d{1,9})$/.exec(typeof own['contract'] === 'string' ? own['contract'] : '') ?? []
  return foreignContract(
    id ?? (typeof title === 'string' ? title : name),
    Number(number ?? /^\d{1,9}/.exec(String(version))?.[0] ?? 0),
    members,
    leftOut,
  )
}

const record = (value: unknown): Record<string, unknown> => (isObject(value) ? value : {})

function refersTo(document: JsonSchema, ref: string): unknown {
  let at: unknown = document
  for (const token of ref.replace(/^#\//, '').split('/')) at = isObject(at) && Object.hasOwn(at, token) ? at[token] : undefined
  return at
}

const schemaOf = (schema: unknown, document: JsonSchema, optional = false): Promise<Schema> =>
  fromJsonSchema(standalone(isSubschema(schema) ? schema : true, document), { optional })

const eventOf = async (payload: unknown, document: JsonSchema): Promise<Event> => event(await schemaOf(payload, document))

async function methodOf(method: JsonSchema, document: JsonSchema): Promise<Rpc> {
  const own = method['x-talkwire']
  return isObject(own) ? ownMethod(method, own, document) : foreignMethod(method, document)
}

/** Under `x-talkwire` stands what OpenRPC has no word for; `params` says whether they may go by position. */
async function ownMethod(method: JsonSchema, own: JsonSchema, document: JsonSchema): Promise<Rpc> {
  const value = async (of: unknown): Promise<Rpc['input']> => {
    if (!isObject(of)) return undefined
    if (of['stream'] === true) return stream(await schemaOf(of['schema'], document))
    return schemaOf(of['schema'], document, of['optional'] === true)
  }
  const errors: Record<string, Schema> = {}
  for (const [name, details] of Object.entries(record(own['errors']))) errors[name] = await schemaOf(details, document)
  const oneway = own['oneway'] === true
  const parameters = namesIn(own['parameters'])
  return rpc({
    ...(isObject(own['input']) && { input: await value(own['input']) }),
    ...(!oneway && { ...(isObject(own['output']) && { output: await value(own['output']) }), errors }),
    idempotent: own['idempotent'] === true,
    oneway,
    ...(parameters && { parameters }),
  }) as Rpc
}

const namesIn = (value: unknown): string[] | undefined =>
  Array.isArray(value) && value.every((each) => typeof each === 'string') ? (value as string[]) : undefined

async function foreignMethod(method: JsonSchema, document: JsonSchema): Promise<Rpc> {
  const params = (Array.isArray(method['params']) ? (method['params'] as unknown[]) : []).map((param) => {
    const read = record(isObject(param) && typeof param['$ref'] === 'string' ? refersTo(document, param['$ref']) : param)
    if (typeof read['name'] !== 'string' || read['name'] === '__proto__') throw new TypeError('a parameter without a name')
    return { name: read['name'], required: read['required'] === true, schema: read['schema'] }
  })
  const { result } = method
  const streams = method['x-stream'] === true
  // OpenRPC: a method without a result is a notification.
  const oneway = !isObject(result) && !streams
  return rpc({
    ...(params.length > 0 && {
      input: await schemaOf(
        { ...objectOf(params), ...described(method) },
        document,
        params.every(({ required }) => !required),
      ),
    }),
    ...(!oneway && { output: await outputOf(result, streams, document) }),
    oneway,
    ...(method['paramStructure'] === 'by-position' && params.length > 0 && { parameters: params.map(({ name }) => name) }),
  }) as Rpc
}

const described = ({ description, summary }: JsonSchema): JsonSchema => {
  const text = description ?? summary
  return typeof text === 'string' ? { description: text } : {}
}

/** `...rest` takes a list: the parameters that are left. */
function objectOf(params: readonly { name: string; required: boolean; schema: unknown }[]): JsonSchema {
  const entries = params.map(({ name, schema }) =>
    name.startsWith('...') ? [name.slice(3), { type: 'array' }] : [name, isSubschema(schema) ? schema : true],
  )
  return {
    type: 'object',
    properties: Object.fromEntries(entries) as Record<string, Subschema>,
    required: params.filter(({ required }) => required).map(({ name }) => name),
    additionalProperties: false,
  }
}

async function outputOf(result: unknown, streams: boolean, document: JsonSchema): Promise<Rpc['output']> {
  if (streams) return stream(await schemaOf(true, document))
  const { schema, required } = result as JsonSchema
  if (isObject(schema) && schema['type'] === 'null') return undefined
  return schemaOf(schema, document, required !== true)
}

/** What XML-RPC services tell of themselves: `system.listMethods` and its like (xmlrpc-c.sourceforge.io/introspection.html). */
import { describeMethod, type JsonSchema } from '../contract/json-schema.js'
import { parameterNames } from '../contract/parameters.js'
import { isObject, resolveRef, type Subschema } from '../contract/schema-walk.js'
import { TalkwireError } from '../error.js'
import { notFound, type Method, type Service } from '../session/service.js'

const OWN: Readonly<Record<string, string>> = {
  'system.getCapabilities': 'Which extensions of XML-RPC this service knows.',
  'system.listMethods': 'The names of all methods.',
  'system.methodHelp': 'What a method does.',
  'system.methodSignature': 'The types of a method: of its result, then of its parameters.',
  'system.multicall': 'Several calls at once: a list of { methodName, params }.',
}
const SIGNATURES: Readonly<Record<string, string[]>> = {
  'system.getCapabilities': ['struct'],
  'system.listMethods': ['array'],
  'system.methodHelp': ['string', 'string'],
  'system.methodSignature': ['array', 'string'],
  'system.multicall': ['array', 'array'],
}

/** Rejects with METHOD_NOT_FOUND, INVALID_INPUT. */
export async function systemCall(service: Service, method: string, params: readonly unknown[]): Promise<unknown> {
  if (method === 'system.listMethods') return [...service.methods.keys(), ...Object.keys(OWN)].toSorted()
  if (method === 'system.getCapabilities') return capabilities(service)
  if (method !== 'system.methodHelp' && method !== 'system.methodSignature') throw notFound(service, method)
  const [name] = params
  if (typeof name !== 'string' || params.length !== 1) throw new TalkwireError('INVALID_INPUT', `${method} takes the name of a method`)
  const own = Object.hasOwn(OWN, name)
  if (method === 'system.methodHelp') return own ? OWN[name] : helpOf(service, methodOf(service, name))
  return own ? [SIGNATURES[name]] : signatureOf(service, methodOf(service, name))
}

function methodOf(service: Service, name: string): Method {
  const method = service.methods.get(name)
  if (!method) throw notFound(service, name)
  return method
}

const capabilities = ({ name, contract }: Service): unknown => ({
  introspection: { specUrl: 'https://xmlrpc-c.sourceforge.io/introspection.html', specVersion: 1 },
  multicall: { specUrl: 'https://mirrors.talideon.com/articles/multicall.html', specVersion: 1 },
  nil: { specUrl: 'http://ontosys.com/xml-rpc/extensions.php', specVersion: 20010518 },
  talkwire: { specVersion: 1, service: name, ...(contract && { contract: contract.id }) },
})

async function helpOf({ contract }: Service, method: Method): Promise<string> {
  const member = contract?.members[method.name]
  if (member?.kind !== 'rpc') return `${method.name}(${((method.source && parameterNames(method.source)) ?? []).join(', ')})`
  const { input, output, errors } = await describeMethod(member)
  return [
    `${method.name}: takes ${input ? JSON.stringify(input.schema) : 'nothing'}`,
    `returns ${output ? JSON.stringify(output.schema) : 'nothing'}`,
    ...Object.entries(errors).map(([name, details]) => `fault [${name}] ${JSON.stringify(details)}`),
  ].join('\n')
}

/** Functions do not tell their types: the word for that is "undef". */
async function signatureOf({ contract }: Service, { name }: Method): Promise<unknown> {
  const member = contract?.members[name]
  if (member?.kind !== 'rpc') return 'undef'
  const { input, output } = await describeMethod(member)
  const result = output ? typeOf(output.schema) : 'nil'
  const signatures = [input ? [result, typeOf(input.schema)] : [result]]
  if (input?.optional) signatures.push([result])
  return signatures.flat().includes('undef') ? 'undef' : signatures
}

const TYPES: Readonly<Record<string, string>> = {
  object: 'struct',
  array: 'array',
  string: 'string',
  number: 'double',
  integer: 'int',
  boolean: 'boolean',
  null: 'nil',
}

function typeOf(root: JsonSchema): string {
  let schema: Subschema = root
  for (let hops = 0; hops < 8 && isObject(schema) && typeof schema['$ref'] === 'string'; hops++)
    schema = resolveRef(root, schema['$ref']) ?? true
  if (!isObject(schema)) return 'undef'
  const mark = schema['x-talkwire']
  if (mark === 'date') return 'dateTime.iso8601'
  if (mark === 'array') return 'base64'
  if (mark === 'bigint') return 'i8'
  const type = schema['type']
  return typeof type === 'string' && Object.hasOwn(TYPES, type) ? TYPES[type]! : 'undef'
}

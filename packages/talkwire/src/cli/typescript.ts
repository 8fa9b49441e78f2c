/** A contract that others described, as a module of TypeScript: its types are those of the description. */
import { jsonSchema, type Contract, type ContractDescription, type JsonSchema } from '../index.js'

/** How the module comes by the contract when it runs. */
export interface Origin {
  /** For people: a file or an address. */
  readonly from: string
  /** What the module imports beside types: from which subpath of the package. */
  readonly imports: readonly (readonly [name: string, path: string])[]
  /** The statements that make it, given the names of its type and of its value. */
  readonly make: (type: string, value: string) => string
}

type Schema = JsonSchema | boolean
type MethodDescription = ContractDescription['methods'][string]

/** The module's text. What has no type says `unknown`. */
export async function moduleOf(contract: Contract, { from, imports, make }: Origin): Promise<string> {
  const described = await jsonSchema(contract)
  const type = pascal(short(contract.name))
  const names = new Names(new Set([type, ...OWN]))
  const members = membersOf(described, names)
  const paths = new Map<string, string[]>()
  const used = OWN.filter((each) => each === 'Contract' || members.some((line) => line.includes(`${each}<`)))
  for (const [name, path] of [...imports, ...used.map((each) => [`type ${each}`, 'talkwire'] as const)])
    paths.set(path, [...(paths.get(path) ?? []), name])
  return [
    `// Written by: talkwire import ${oneLine(from)}`,
    '// Import again instead of changing it.',
    ...[...paths].map(([path, all]) => `import { ${all.join(', ')} } from '${path}'`),
    '',
    ...names.declarations(),
    ...leftOutOf(contract),
    `export type ${type} = Contract<{`,
    ...members.map((line) => `  ${line}`),
    '}>',
    '',
    make(type, camel(type)),
    '',
  ].join('\n')
}

const OWN = ['Contract', 'Event', 'Rpc', 'StandardSchema', 'Stream']

const leftOutOf = ({ foreign }: Contract): string[] => {
  const entries = Object.entries(foreign?.leftOut ?? {})
  return entries.length === 0 ? [] : ['// Left out:', ...entries.map(([name, reason]) => `// ${oneLine(`${name}: ${reason}`)}`)]
}

// ── members ──────────────────────────────────────────────────────────────────────────────────────

function membersOf({ methods, events }: ContractDescription, names: Names): string[] {
  const lines = Object.entries(methods).flatMap(([name, method]) => [
    ...comment(method.input?.schema),
    `${key(name)}: ${methodText(name, method, names)}`,
  ])
  for (const [name, { payload }] of Object.entries(events)) lines.push(`${key(name)}: Event<${schemaText(payload, name, names)}>`)
  return lines
}

function methodText(name: string, { input, output, errors, oneway }: MethodDescription, names: Names): string {
  const value = (of: MethodDescription['input'], what: string): string => {
    if (!of) return 'undefined'
    if (of.stream) return `Stream<${schemaText(of.schema, `${name}_${what}`, names)}>`
    return `StandardSchema<${names.typeOf(of.schema, `${name}_${what}`)}${of.optional ? ' | undefined' : ''}>`
  }
  const declared = Object.entries(errors).map(([error, details]) => `${key(error)}: ${schemaText(details, `${name}_${error}`, names)}`)
  return `Rpc<${value(input, 'input')}, ${value(output, 'output')}, ${declared.length > 0 ? `{ ${declared.join('; ')} }` : '{}'}, ${oneway}>`
}

const schemaText = (schema: Schema, wish: string, names: Names): string => `StandardSchema<${names.typeOf(schema, wish)}>`

const comment = (schema: Schema | undefined): string[] => {
  const text = typeof schema === 'object' ? schema['description'] : undefined
  return typeof text === 'string' && text.trim() !== '' ? [`/** ${oneLine(text)} */`] : []
}

// ── words ────────────────────────────────────────────────────────────────────────────────────────

/** Nothing of a description may end a comment or a line of ours. */
const oneLine = (text: string): string =>
  text
    .replaceAll(/[\s\u2028\u2029]+/g, ' ')
    .replaceAll('*/', '*\\/')
    .trim()
    .slice(0, 300)
const literal = (value: unknown): string => JSON.stringify(value).replaceAll('\u2028', '\\u2028').replaceAll('\u2029', '\\u2029')
const key = (name: string): string => (/^[A-Za-z_$][\w$]*$/.test(name) && name !== '__proto__' ? name : literal(name))
const pascal = (text: string): string =>
  text
    .split(/[^A-Za-z0-9]+/)
    .map((word) => word.slice(0, 1).toUpperCase() + word.slice(1))
    .join('')
    .replace(/^(?=\d)|^$/, 'Service')
/** Without its package. */
const short = (name: string): string => name.slice(name.lastIndexOf('.') + 1)
const camel = (text: string): string => {
  const name = text.slice(0, 1).toLowerCase() + text.slice(1)
  return WORDS.has(name) ? `${name}_` : name
}
const WORDS = new Set(
  `break case catch class const continue debugger default delete do else enum export extends false finally for function if import in
  instanceof new null return super switch this throw true try typeof var void while with yield let static await address description discover
  implements interface package private protected public arguments eval`.split(/\s+/),
)

/** Types that have a name, because a schema names them: they may refer to themselves. */
class Names {
  private readonly byText = new Map<string, string>()
  private readonly texts = new Map<string, string>()

  constructor(private readonly taken: Set<string>) {}

  /** `wish`: what it is called if it needs a name. */
  typeOf(schema: Schema, wish: string): string {
    const refersToItself = typeof schema === 'object' && JSON.stringify(schema).includes('"$ref":"#"')
    return refersToItself ? this.named(wish, schema, schema) : typeText(schema, (ref) => this.refer(ref, schema, wish), 0)
  }

  private refer(ref: string, root: Schema, wish: string): string {
    if (ref === '#') return this.named(wish, root, root)
    const [, name] = /^#\/(?:\$defs|definitions)\/([^/]+)$/.exec(ref) ?? []
    const defs = definitionsOf(root)
    const plain = name && plainToken(name)
    if (plain === undefined || !Object.hasOwn(defs, plain)) return 'unknown'
    return this.named(short(plain), defs[plain]!, root)
  }

  private named(wish: string, schema: Schema, root: Schema): string {
    // The same words mean something else beside other definitions.
    const text = withDefinitions(schema, root)
    const known = this.byText.get(text)
    if (known !== undefined) return known
    const plain = pascal(wish)
    let name = plain
    for (let number = 2; this.taken.has(name); number++) name = `${plain}${number}`
    this.taken.add(name)
    this.byText.set(text, name)
    this.texts.set(name, '')
    this.texts.set(
      name,
      typeText(schema, (ref) => this.refer(ref, root, wish), 0),
    )
    return name
  }

  declarations(): string[] {
    return [...this.texts].flatMap(([name, text]) => [`export type ${name} = ${text}`, ''])
  }
}

const definitionsOf = (root: Schema): Readonly<Record<string, Schema>> =>
  typeof root === 'object' ? ((root['$defs'] ?? root['definitions'] ?? {}) as Readonly<Record<string, Schema>>) : {}
const plainToken = (token: string): string => decodeURIComponent(token).replaceAll('~1', '/').replaceAll('~0', '~')

/** A schema and all that it refers to, as text. */
function withDefinitions(schema: Schema, root: Schema): string {
  const defs = definitionsOf(root)
  const texts = new Map([['', JSON.stringify(schema)]])
  // What is found while one is read is read after it: a Map goes on with what is added to it.
  for (const text of texts.values())
    for (const [, token] of text.matchAll(/"\$ref":"#\/(?:\$defs|definitions)\/([^/"]+)"/g)) {
      const name = plainToken(token!)
      if (!texts.has(name) && Object.hasOwn(defs, name)) texts.set(name, JSON.stringify(defs[name]))
    }
  return JSON.stringify([...texts].toSorted(([a], [b]) => (a < b ? -1 : 1)))
}

// ── types ────────────────────────────────────────────────────────────────────────────────────────

const DEPTH = 32
const PLAIN: Readonly<Record<string, string>> = { string: 'string', number: 'number', integer: 'number', boolean: 'boolean', null: 'null' }
const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
const isSchema = (value: unknown): value is Schema => typeof value === 'boolean' || isObject(value)

function typeText(schema: Schema, refer: (ref: string) => string, depth: number): string {
  if (schema === false) return 'never'
  if (schema === true || depth > DEPTH) return 'unknown'
  const inner = (of: unknown): string => (isSchema(of) ? typeText(of, refer, depth + 1) : 'unknown')
  if (typeof schema['$ref'] === 'string') return refer(schema['$ref'])
  if (typeof schema['x-talkwire'] === 'string') return beyondJson(schema, inner)
  if ('const' in schema) return literal(schema['const'])
  const { enum: values, anyOf, oneOf, allOf, type } = schema
  if (Array.isArray(values))
    return values.every((each) => typeof each !== 'object' || each === null) ? union(values.map(literal)) : 'unknown'
  const either = [anyOf, oneOf].find(Array.isArray) as unknown[] | undefined
  if (either) return union(either.map(inner))
  const all = Array.isArray(allOf) ? allOf.map(inner) : []
  if (Array.isArray(type)) return union(type.map((each) => inner({ ...schema, type: each as unknown })))
  const own = type === 'array' || 'items' in schema || 'prefixItems' in schema ? arrayText(schema, inner) : plainText(schema, inner)
  const parts = [...(own === 'unknown' && all.length > 0 ? [] : [own]), ...all]
  return parts.length === 1 ? parts[0]! : parts.map((each) => `(${each})`).join(' & ')
}

function plainText(schema: JsonSchema, inner: (of: unknown) => string): string {
  const { type, properties, additionalProperties: others } = schema
  if (typeof type === 'string' && Object.hasOwn(PLAIN, type)) return PLAIN[type]!
  if (isObject(properties) && Object.keys(properties).length > 0) {
    const required = Array.isArray(schema['required']) ? (schema['required'] as unknown[]) : []
    const members = Object.entries(properties).map(([name, of]) => `${key(name)}${required.includes(name) ? '' : '?'}: ${inner(of)}`)
    return `{ ${members.join('; ')} }`
  }
  if (type !== 'object') return 'unknown'
  return others === false ? '{}' : `Record<string, ${isSchema(others) ? inner(others) : 'unknown'}>`
}

function arrayText({ items, prefixItems }: JsonSchema, inner: (of: unknown) => string): string {
  const rest = items === undefined ? 'unknown' : inner(items)
  if (!Array.isArray(prefixItems)) return `(${rest})[]`
  return `[${prefixItems.map(inner).join(', ')}${items === false || items === undefined ? '' : `, ...(${rest})[]`}]`
}

const ARRAYS: Readonly<Record<string, string>> = {
  u1: 'Uint8Array',
  i1: 'Int8Array',
  u2: 'Uint16Array',
  i2: 'Int16Array',
  u4: 'Uint32Array',
  i4: 'Int32Array',
  u8: 'BigUint64Array',
  i8: 'BigInt64Array',
  f4: 'Float32Array',
  f8: 'Float64Array',
  c1: 'Uint8ClampedArray',
}

/** Types that JSON has no word for: contract/schema-libraries.ts. */
function beyondJson(schema: JsonSchema, inner: (of: unknown) => string): string {
  const dtype = schema['x-dtype']
  switch (schema['x-talkwire']) {
    case 'array':
      return typeof dtype === 'string' && Object.hasOwn(ARRAYS, dtype) ? ARRAYS[dtype]! : 'ArrayBufferView'
    case 'date':
      return 'Date'
    case 'bigint':
      return 'bigint'
    case 'undefined':
      return 'undefined'
    case 'set':
      return `Set<${inner(schema['x-values'])}>`
    case 'map':
      return `Map<${inner(schema['x-keys'])}, ${inner(schema['x-values'])}>`
    default:
      return 'unknown'
  }
}

const union = (types: readonly string[]): string => [...new Set(types)].join(' | ') || 'never'

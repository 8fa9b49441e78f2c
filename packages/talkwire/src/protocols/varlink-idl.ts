/** Interfaces of varlink: a contract as a description, and a description as a contract. varlink.org/Interface-Definition. Sans I/O. */
import { rpc, type Contract, type Members } from '../contract/contract.js'
import { foreignContract } from '../contract/foreign.js'
import { fromJsonSchema } from '../contract/from-json-schema.js'
import type { JsonSchema } from '../contract/schema-walk.js'
import { TalkwireError } from '../error.js'
import type { Field, Operation, Shape } from './operations.js'

/** What a method's answer is called where it is no object. */
export const RESULT = 'result'
export const SERVICE = 'org.varlink.service'

/** `bank` is `org.talkwire.bank`; a name that is an interface already stays. */
export function interfaceOf(name: string): string {
  const fit = name.replaceAll('_', '-')
  return /^[A-Za-z]+(\.[A-Za-z0-9]+(-+[A-Za-z0-9]+)*)+$/.test(fit) ? fit : `org.talkwire.${fit.replaceAll(/[^A-Za-z0-9]+/g, '-')}`
}

/** `deposit` is `Deposit`, `user.get` is `UserGet`. */
export const methodOf = (name: string): string =>
  name
    .split(/[^A-Za-z0-9]+/)
    .map((word) => word.slice(0, 1).toUpperCase() + word.slice(1))
    .join('')
    .replace(/^(?=\d)/, 'M')

/** The fields of an object that is not nothing; undefined for what is no such object. */
export const fieldsOf = ({ shape, optional }: Pick<Field, 'shape' | 'optional'>): readonly Field[] | undefined =>
  shape.kind === 'object' && !shape.nullable && !optional ? shape.fields : undefined

/** The fields of an answer. Of a stream each may be missing: its end is an answer without fields. */
function answerFields({ output, root }: Operation): readonly Field[] {
  if (!output) return []
  const fields = fieldsOf(output) ?? [{ ...output, name: RESULT }]
  return root === 'Subscription' ? fields.map((field) => ({ ...field, optional: true })) : fields
}

export function describe(contract: Contract, operations: Iterable<Operation>): string {
  const lines = [`# ${contract.id}`, `interface ${interfaceOf(contract.name)}`]
  const errors = new Set<string>()
  for (const operation of operations) {
    if (operation.root === 'Subscription') lines.push('', '# Call it with more.')
    else lines.push('')
    lines.push(`method ${methodOf(operation.name)}${struct(operation.arguments)} -> ${struct(answerFields(operation))}`)
    for (const error of operation.errors) errors.add(error)
  }
  for (const error of errors) lines.push('', `error ${error} ()`)
  return `${lines.join('\n')}\n`
}

const IDENTIFIER = /^[A-Za-z](_?[A-Za-z0-9])*$/

const struct = (fields: readonly Field[]): string => `(${fields.map((field) => `${field.name}: ${typeText(field)}`).join(', ')})`

function typeText({ shape, optional }: Pick<Field, 'shape' | 'optional'>): string {
  const text = plainText(shape)
  return (optional || shape.nullable) && text !== 'object' ? `?${text}` : text
}

function plainText(shape: Shape): string {
  if (shape.kind === 'list') return `[]${typeText({ shape: shape.item, optional: false })}`
  if (shape.kind === 'enum')
    return shape.values.every((value) => IDENTIFIER.test(value)) && shape.values.length > 1 ? `(${shape.values.join(', ')})` : 'string'
  if (shape.kind === 'object') return shape.fields.every(({ name }) => IDENTIFIER.test(name)) ? struct(shape.fields) : 'object'
  if (shape.type === 'Int' || shape.type === 'SafeInt') return 'int'
  if (shape.type === 'JSON') return 'object'
  return shape.type === 'Float' ? 'float' : shape.type === 'Boolean' ? 'bool' : 'string'
}

// ── reading ──────────────────────────────────────────────────────────────────────────────────────

export interface Described {
  readonly name: string
  readonly methods: ReadonlyMap<string, { readonly input: JsonSchema; readonly output: JsonSchema }>
  readonly errors: ReadonlyMap<string, JsonSchema>
}

const TOKEN = /(?:\s|#[^\n]*)*(?:([A-Za-z][A-Za-z0-9_.-]*)|(->|\[string\]|\[\]|[?:,()])|(\S))/gy
/** Words of a description, and types in types: nobody wrote more. */
const MOST = 100_000
const DEPTH = 64

/** Throws INVALID_MESSAGE. */
export function parse(description: string): Described {
  return new Parser(description).interface()
}

const SCALARS: Readonly<Record<string, JsonSchema>> = {
  bool: { type: 'boolean' },
  int: { type: 'integer' },
  float: { type: 'number' },
  string: { type: 'string' },
  object: {},
  any: {},
}

class Parser {
  private readonly tokens: string[] = []
  private at = 0
  private readonly types: Record<string, JsonSchema> = {}

  constructor(text: string) {
    for (const [, word, sign, other] of text.matchAll(TOKEN)) {
      if (other !== undefined || this.tokens.length >= MOST) throw wrong(other ?? 'the rest')
      this.tokens.push(word ?? sign!)
    }
  }

  interface(): Described {
    this.expect('interface')
    const name = this.next()
    const methods = new Map<string, { input: JsonSchema; output: JsonSchema }>()
    const errors = new Map<string, JsonSchema>()
    while (this.at < this.tokens.length) {
      const [kind, member] = [this.next(), this.next()]
      if (kind === 'type') this.types[member] = this.type(0)
      else if (kind === 'error') errors.set(member, this.type(0))
      else if (kind === 'method') {
        const input = this.type(0)
        this.expect('->')
        methods.set(member, { input, output: this.type(0) })
      } else throw wrong(kind)
    }
    const whole = (schema: JsonSchema): JsonSchema =>
      JSON.stringify(schema).includes('"$ref"') ? { ...schema, $defs: this.types } : schema
    return {
      name,
      methods: new Map([...methods].map(([key, { input, output }]) => [key, { input: whole(input), output: whole(output) }])),
      errors: new Map([...errors].map(([key, schema]) => [key, whole(schema)])),
    }
  }

  private next(): string {
    const token = this.tokens[this.at++]
    if (token === undefined) throw wrong('its end')
    return token
  }

  private expect(token: string): void {
    const got = this.next()
    if (got !== token) throw wrong(got)
  }

  private type(depth: number): JsonSchema {
    if (depth > DEPTH) throw wrong('so many types in each other')
    const token = this.next()
    if (token === '?') return { anyOf: [this.type(depth + 1), { type: 'null' }] }
    if (token === '[]') return { type: 'array', items: this.type(depth + 1) }
    if (token === '[string]') return { type: 'object', additionalProperties: this.type(depth + 1) }
    if (token === '(') return this.struct(depth)
    if (Object.hasOwn(SCALARS, token)) return SCALARS[token]!
    if (!/^[A-Z][A-Za-z0-9]*$/.test(token)) throw wrong(token)
    return { $ref: `#/$defs/${token}` }
  }

  private struct(depth: number): JsonSchema {
    const properties: Record<string, JsonSchema> = Object.create(null) as Record<string, JsonSchema>
    const words: string[] = []
    const required: string[] = []
    for (let token = this.next(); token !== ')';) {
      const name = token
      const sign = this.next()
      if (sign === ':') {
        if (this.tokens[this.at] !== '?') required.push(name)
        properties[name] = this.type(depth + 1)
      } else {
        words.push(name)
        this.at--
      }
      token = this.next()
      if (token === ',') token = this.next()
      else if (token !== ')') throw wrong(token)
    }
    if (words.length > 0) return { type: 'string', enum: words }
    return { type: 'object', properties, required }
  }
}

const wrong = (token: string): TalkwireError =>
  new TalkwireError(
    'INVALID_MESSAGE',
    `the description of the interface is none: ${JSON.stringify(token.slice(0, 40))} stands where it should not`,
  )

/** Rejects with MISSING_PACKAGE. Whether a method streams no description tells: each has one answer. */
export async function contractFrom({ name, methods, errors }: Described, version: number): Promise<Contract> {
  const members: Members = Object.create(null) as Members
  const declared: Record<string, Awaited<ReturnType<typeof fromJsonSchema>>> = {}
  for (const [error, schema] of errors) declared[error] = await fromJsonSchema(schema)
  for (const [method, { input, output }] of methods)
    members[method] = rpc({
      ...(hasFields(input) && { input: await fromJsonSchema(input) }),
      ...(hasFields(output) && { output: await fromJsonSchema(output) }),
      errors: declared,
    })
  return foreignContract(name, version, members)
}

const hasFields = ({ properties }: JsonSchema): boolean => Object.keys((properties ?? {}) as object).length > 0

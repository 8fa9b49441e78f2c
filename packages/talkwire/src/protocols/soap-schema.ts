/**
 * What a contract's JSON Schemas mean in XML: elements in a sequence, with types of XML Schema 1.0. A schema that has no such
 * meaning (unions, tuples, records, "anything") is refused with its path. Sans I/O.
 */
import type { Contract } from '../contract/contract.js'
import { describeMethod, type JsonSchema, type ValueDescription } from '../contract/json-schema.js'
import { isObject, resolveRef, withoutNull, type Subschema } from '../contract/schema-walk.js'
import { TalkwireError } from '../error.js'
import { escapeAttribute, escapeBreaks, escapeText, type Element } from './xml.js'

export interface Scalar {
  readonly kind: 'scalar'
  /** `xs:` and this. */
  readonly type: string
  read(text: string): unknown
  /** Throws TypeError. */
  write(value: unknown): string
}

export interface Structure {
  readonly kind: 'structure'
  /** Of its complexType. */
  readonly name: string
  readonly fields: Map<string, Field>
  /** An inner list: `item` is what counts. */
  readonly row?: true
  /** Somebody else's: elements that it does not name are passed over. */
  readonly open?: true
}

export interface Field {
  readonly name: string
  /** The namespace of its element, in a WSDL of others; '' for none. */
  readonly uri?: string
  readonly of: Scalar | Structure
  /** In a WSDL of others: no element, but an attribute of that name, or the text beside them. */
  readonly place?: { readonly attribute: string } | 'text'
  /** It may be left out. */
  readonly optional: boolean
  /** It may be null: xsi:nil. */
  readonly nullable: boolean
  /** It comes any number of times. */
  readonly list: boolean
}

/** One method: the fields of its request, of its answer, and of each declared error. */
export interface Operation {
  readonly name: string
  /** As in the contract. */
  readonly parameters?: readonly string[]
  readonly request: Message
  readonly answer: Message
  readonly errors: ReadonlyMap<string, Message>
  /** How a service of others wants it. */
  readonly wire?: {
    readonly version: '1.1' | '1.2'
    readonly action: string
    readonly element: { readonly name: string; readonly uri: string }
    /** It is taken, and nobody answers. */
    readonly oneway: boolean
  }
}

/** The content of an element. `bare`: a value that is no object is the only field, under that name. */
export interface Message {
  readonly structure: Structure
  readonly bare?: string
  /** In a WSDL of others. */
  readonly element?: { readonly name: string; readonly uri: string }
}

export const XSI = 'http://www.w3.org/2001/XMLSchema-instance'

/** Rejects with UNSUPPORTED for what XML Schema has no word for. */
export async function operationsOf(contract: Contract): Promise<Map<string, Operation>> {
  const operations = new Map<string, Operation>()
  for (const [name, member] of Object.entries(contract.members)) {
    if (member.kind !== 'rpc') continue
    const { input, output, errors } = await describeMethod(member)
    const refuse = (path: string, what: string): never => {
      throw new TalkwireError(
        'UNSUPPORTED',
        `soap: has no word for ${what}, at ${path} of ${contract.id}; describe it as an object, or take http:`,
      )
    }
    if (!isName(name)) refuse(name, 'that name')
    operations.set(name, {
      name,
      ...(member.parameters && { parameters: member.parameters }),
      request: messageOf(input, `${name}`, 'input', refuse),
      // A result is always one element, so that clients can take it out of its wrapper.
      answer: bare(output, `${name}Response`, 'result', refuse),
      errors: new Map(
        Object.entries(errors).map(([error, schema]) => {
          if (!isName(error)) refuse(`${name}.errors`, JSON.stringify(error))
          return [error, messageOf({ schema, stream: false, optional: false }, `${name}.${error}`, 'details', refuse)]
        }),
      ),
    })
  }
  return operations
}

type Refuse = (path: string, what: string) => never

function messageOf(value: ValueDescription | null, name: string, single: string, refuse: Refuse): Message {
  if (value && !value.optional) {
    const field = new Reader(value.schema, refuse).field(value.schema, name, single, false)
    if (field.of.kind === 'structure' && !field.list && !field.nullable) return { structure: field.of }
  }
  return bare(value, name, single, refuse)
}

function bare(value: ValueDescription | null, name: string, single: string, refuse: Refuse): Message {
  const fields = new Map<string, Field>()
  if (value) fields.set(single, new Reader(value.schema, refuse).field(value.schema, `${name}.${single}`, single, value.optional))
  return { structure: { kind: 'structure', name, fields }, bare: single }
}

const isName = (text: string): boolean => /^[A-Za-z_][\w.-]*$/.test(text) && text !== '__proto__'

class Reader {
  private readonly known = new Map<unknown, Structure>()

  constructor(
    private readonly root: JsonSchema,
    private readonly refuse: Refuse,
  ) {}

  field(schema: Subschema, path: string, name: string, optional: boolean): Field {
    const { plain, nullable } = withoutNull(this.resolved(schema, path))
    const inner = this.resolved(plain, path)
    if (inner['type'] === 'array' && inner['items'] !== undefined && inner['prefixItems'] === undefined) {
      if (nullable) this.refuse(path, 'a list that may be null')
      const item = this.field(inner['items'] as Subschema, `${path}.item`, 'item', false)
      if (!item.list) return { name, of: item.of, optional, nullable: item.nullable, list: true }
      const rows: Structure = { kind: 'structure', name: `${path}.list`, fields: new Map([['item', item]]), row: true }
      return { name, of: rows, optional, nullable: false, list: true }
    }
    return { name, of: this.type(inner, path), optional, nullable, list: false }
  }

  private resolved(schema: Subschema, path: string): JsonSchema {
    let at: Subschema | undefined = schema
    for (let hops = 0; hops < 8 && isObject(at) && typeof at['$ref'] === 'string'; hops++) at = resolveRef(this.root, at['$ref'])
    return isObject(at) ? at : this.refuse(path, 'a value of any type')
  }

  private type(schema: JsonSchema, path: string): Scalar | Structure {
    const mark = schema['x-talkwire']
    if (mark !== undefined) {
      const known = mark === 'array' && schema['x-dtype'] === 'u1' ? bytes : mark === 'date' ? date : mark === 'bigint' ? bigint : undefined
      return known ?? this.refuse(path, `a value of ${JSON.stringify(mark)}`)
    }
    const literal = 'const' in schema ? [schema['const']] : schema['enum']
    const types = new Set(Array.isArray(literal) ? literal.map((each) => typeof each) : [schema['type']].flat())
    const [type] = types
    if (types.size !== 1) this.refuse(path, types.size > 1 || schema['anyOf'] || schema['oneOf'] ? 'a union' : 'a value of any type')
    if (type === 'object') return this.structure(schema, path)
    const scalar = typeof type === 'string' && Object.hasOwn(scalars, type) ? scalars[type] : undefined
    return scalar ?? this.refuse(path, schema['anyOf'] || schema['oneOf'] || schema['allOf'] ? 'a union' : `the type ${String(type)}`)
  }

  private structure(schema: JsonSchema, path: string): Structure {
    const known = this.known.get(schema)
    if (known) return known
    if (isObject(schema['additionalProperties']) || schema['patternProperties'] !== undefined) this.refuse(path, 'a record with any keys')
    const structure: Structure = { kind: 'structure', name: path, fields: new Map() }
    this.known.set(schema, structure)
    const required = Array.isArray(schema['required']) ? (schema['required'] as unknown[]) : []
    for (const [name, inner] of Object.entries(isObject(schema['properties']) ? schema['properties'] : {})) {
      if (!isName(name)) this.refuse(path, `the name ${JSON.stringify(name)}`)
      structure.fields.set(name, this.field(inner as Subschema, `${path}.${name}`, name, !required.includes(name)))
    }
    return structure
  }
}

// ── values ───────────────────────────────────────────────────────────────────────────────────────

const wrong = (text: string, type: string): TalkwireError =>
  new TalkwireError('INVALID_INPUT', `${JSON.stringify(text.slice(0, 40))} is no xs:${type}`)
const unfit = (value: unknown, type: string): TypeError =>
  new TypeError(`${value === null ? 'null' : typeof value} is no xs:${type}; the contract says what fits`)

function scalar<T>(type: string, pattern: RegExp, read: (text: string) => T, write: (value: T) => string | undefined): Scalar {
  return {
    kind: 'scalar',
    type,
    read(text) {
      if (!pattern.test(text)) throw wrong(text, type)
      return read(text)
    },
    write(value) {
      const text = write(value as T)
      if (text === undefined) throw unfit(value, type)
      return text
    },
  }
}

const isNumber = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value)
const numeral = (value: number): string => (Object.is(value, -0) ? '-0' : String(value))
const string = scalar(
  'string',
  /^/,
  (text) => text,
  (value) => (typeof value === 'string' ? escapeText(value) : undefined),
)
const double = scalar('double', /^\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,4})?\s*$/i, finite, (value) =>
  isNumber(value) ? numeral(value) : undefined,
)
const long = scalar('long', /^\s*[+-]?\d{1,16}\s*$/, Number, (value) => (Number.isSafeInteger(value) ? String(value) : undefined))
const bigint = scalar(
  'integer',
  /^\s*[+-]?\d{1,4000}\s*$/,
  (text) => BigInt(text.trim().replace('+', '')),
  (value) => (typeof value === 'bigint' ? String(value) : undefined),
)
const boolean = scalar(
  'boolean',
  /^\s*(true|false|0|1)\s*$/,
  (text) => /true|1/.test(text),
  (value) => (typeof value === 'boolean' ? String(value) : undefined),
)
const bytes = scalar(
  'base64Binary',
  /^[A-Za-z0-9+/\s]*[=\s]*$/,
  (text) => new Uint8Array(Buffer.from(text, 'base64')),
  (value) => (value instanceof Uint8Array ? Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64') : undefined),
)
const date = scalar(
  'dateTime',
  /^\s*\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)?\s*$/,
  (text) => {
    const time = new Date(/(Z|[+-]\d\d:\d\d)\s*$/.test(text) ? text.trim() : `${text.trim()}Z`)
    if (Number.isNaN(time.getTime())) throw wrong(text, 'dateTime')
    return time
  },
  (value) => (value instanceof Date && !Number.isNaN(value.getTime()) ? value.toISOString() : undefined),
)
const scalars: Readonly<Record<string, Scalar>> = { string, number: double, integer: long, boolean }

const TEXTS =
  'string normalizedString token anyURI QName NCName Name NMTOKEN ID IDREF language hexBinary anySimpleType ' +
  'date time duration gYear gYearMonth gMonth gMonthDay gDay'

/** Types of XML Schema that others write, as ours. Of numbers with any number of digits a double keeps what it can. */
const FOREIGN: Readonly<Record<string, Scalar>> = {
  ...Object.fromEntries(['double', 'float', 'decimal'].map((each) => [each, double])),
  ...Object.fromEntries(
    ['long', 'int', 'short', 'byte', 'unsignedInt', 'unsignedShort', 'unsignedByte', 'unsignedLong'].map((each) => [each, long]),
  ),
  ...Object.fromEntries(
    ['integer', 'positiveInteger', 'nonNegativeInteger', 'negativeInteger', 'nonPositiveInteger'].map((each) => [each, bigint]),
  ),
  boolean,
  base64Binary: bytes,
  dateTime: date,
  ...Object.fromEntries(TEXTS.split(' ').map((each) => [each, string])),
}

/** By its name in XML Schema. */
export const scalarOf = (type: string): Scalar | undefined => (Object.hasOwn(FOREIGN, type) ? FOREIGN[type] : undefined)

function finite(text: string): number {
  const number = Number(text)
  if (!Number.isFinite(number)) throw wrong(text, 'double')
  return number
}

/** The elements of a message, as children of its wrapper. Throws TypeError for what does not fit. */
export function writeMessage({ structure, bare: single }: Message, value: unknown): string {
  if (single === undefined) return writeFields(structure, value)
  const field = structure.fields.get(single)
  return field ? writeField(field, value) : ''
}

function writeFields({ fields, name }: Structure, value: unknown): string {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw unfit(value, name)
  let text = ''
  for (const key of Object.keys(value))
    if (!fields.has(key) && (value as Record<string, unknown>)[key] !== undefined)
      throw new TypeError(`"${key}" is no field of ${name}; the contract says what fits`)
  for (const field of fields.values()) {
    const own = memberOf(value, field)
    if (field.place === undefined) text += writeField(field, own)
    else if (field.place === 'text') text += (field.of as Scalar).write(own)
  }
  return text
}

const memberOf = (value: unknown, { name }: Field): unknown =>
  typeof value === 'object' && value !== null && Object.hasOwn(value, name) ? (value as Record<string, unknown>)[name] : undefined

/** What stands in the tag of an element with these fields. Throws TypeError for what does not fit. */
export function writeAttributes({ fields }: Structure, value: unknown): string {
  let text = ''
  for (const field of fields.values()) {
    if (typeof field.place !== 'object') continue
    const own = memberOf(value, field)
    if (own === undefined && field.optional) continue
    text += ` ${field.place.attribute}="${escapeBreaks((field.of as Scalar).write(own))}"`
  }
  return text
}

function writeField(field: Field, value: unknown): string {
  if (value === undefined && field.optional) return ''
  if (!field.list) return writeElement(field, value)
  if (!Array.isArray(value)) throw unfit(value, `list of ${field.name}`)
  // A list in a list: each inner one has an element of its own around it.
  return value.map((item: unknown) => writeElement(field, Array.isArray(item) ? { item } : item)).join('')
}

function writeElement({ name, of, nullable, uri }: Field, value: unknown): string {
  const [open, close] = uri === undefined ? [`t:${name}`, `t:${name}`] : [`${name} xmlns="${escapeAttribute(uri)}"`, name]
  if (value === null && nullable) return `<${open} xsi:nil="true"/>`
  const attributes = of.kind === 'structure' ? writeAttributes(of, value) : ''
  return `<${open}${attributes}>${of.kind === 'scalar' ? of.write(value) : writeFields(of, value)}</${close}>`
}

/** The value in a wrapper. Throws INVALID_INPUT. */
export function readMessage({ structure, bare: single }: Message, element: Element): unknown {
  const value = readFields(structure, element)
  return single === undefined ? value : value[single]
}

function readFields({ fields, name, open }: Structure, element: Element): Record<string, unknown> {
  const value: Record<string, unknown> = {}
  // Without these, text beside the elements would be lost unseen.
  const text = [...fields.values()].find(({ place }) => place === 'text')
  if (!text && element.text.trim() !== '')
    throw new TalkwireError('INVALID_INPUT', `<${element.name.slice(0, 80)}> holds elements, not text`)
  for (const child of element.children) {
    const named = fields.get(child.name)
    const field = named?.place === undefined ? named : undefined
    if (!field && open) continue
    if (!field) throw new TalkwireError('INVALID_INPUT', `<${child.name.slice(0, 80)}> is no element of ${name}; see the WSDL`)
    const item = readElement(field, child)
    if (!field.list) {
      if (Object.hasOwn(value, field.name)) throw new TalkwireError('INVALID_INPUT', `<${field.name}> comes twice`)
      value[field.name] = item
    } else if (Object.hasOwn(value, field.name)) (value[field.name] as unknown[]).push(item)
    else value[field.name] = [item]
  }
  if (text) value[text.name] = (text.of as Scalar).read(element.text)
  for (const { name: key, of, place } of fields.values()) {
    const said = typeof place === 'object' ? element.attributes.get(place.attribute) : undefined
    if (said !== undefined) value[key] = (of as Scalar).read(said)
  }
  for (const field of fields.values()) if (field.list && !field.optional && !Object.hasOwn(value, field.name)) value[field.name] = []
  return value
}

function readElement({ of, nullable }: Field, element: Element): unknown {
  if (nullable && isNil(element)) return null
  if (of.kind === 'structure') {
    const value = readFields(of, element)
    return of.row ? value['item'] : value
  }
  if (element.children.length > 0) throw new TalkwireError('INVALID_INPUT', `<${element.name.slice(0, 80)}> holds text only`)
  return of.read(element.text)
}

function isNil({ attributes, resolve }: Element): boolean {
  for (const [name, value] of attributes)
    if (name.endsWith(':nil') && resolve(name.slice(0, -4)) === XSI) return value.trim() === 'true' || value.trim() === '1'
  return false
}

/** Calls, answers and values of XML-RPC (xmlrpc.com/spec.md), with nil, i8 and fault codes as others extend it. Sans I/O. */
import { forbidden, forbiddenKey, tooDeep, unsendable } from '../codecs/codec.js'
import { mostNested, type DepthLimits } from '../codecs/depth.js'
import { TalkwireError } from '../error.js'
import type { Limits } from '../session/limits.js'
import { fromWireError, toWireError } from './message.js'
import { childOf, cleanText, DECLARATION, escapeText, type Element, type Xml } from './xml.js'

export type ValueLimits = Pick<Limits, 'depth' | 'values'> & DepthLimits

export interface XmlCall {
  readonly method: string
  readonly params: readonly unknown[]
}

// ── reading ──────────────────────────────────────────────────────────────────────────────────────

/** A value in a struct in an array: `value`, `struct`, `member`, `value`, `array`, `data`. Around them `methodCall`, `params`, `param`. */
const ELEMENTS_A_LEVEL = 3
const ELEMENTS_AROUND = 6

const invalid = (what: string): TalkwireError => new TalkwireError('INVALID_MESSAGE', `no XML-RPC: ${what}`)

const parse = (xml: Xml, text: string, { depth, around = 0, values }: ValueLimits): Element =>
  xml.parse(text, { depth, elements: (depth + around) * ELEMENTS_A_LEVEL + ELEMENTS_AROUND, values })

/** Throws INVALID_MESSAGE, TOO_DEEP, FORBIDDEN_KEY, LIMIT_EXCEEDED. */
export function readCall(xml: Xml, text: string, limits: ValueLimits): XmlCall {
  const root = parse(xml, text, limits)
  if (root.name !== 'methodCall') throw invalid(`a call is <methodCall>, this is <${root.name.slice(0, 40)}>`)
  const method = childOf(root, 'methodName')?.text.trim()
  if (!method) throw invalid('a call without <methodName>')
  return { method, params: paramsIn(root, limits) }
}

function paramsIn(root: Element, limits: ValueLimits): unknown[] {
  const params = childOf(root, 'params')
  return (params?.children ?? []).map((param) => {
    if (param.name !== 'param') throw invalid(`<params> holds <param>, not <${param.name.slice(0, 40)}>`)
    return readValue(valueIn(param), 1, limits)
  })
}

function valueIn(element: Element): Element {
  const value = childOf(element, 'value')
  if (!value || element.children.length > (element.name === 'member' ? 2 : 1)) throw invalid(`<${element.name}> holds one <value>`)
  return value
}

/** The result, or the error of a fault. Throws as `readCall`. */
export function readAnswer(xml: Xml, text: string, limits: ValueLimits): { value: unknown } | { error: TalkwireError } {
  const root = parse(xml, text, limits)
  if (root.name !== 'methodResponse') throw invalid(`an answer is <methodResponse>, this is <${root.name.slice(0, 40)}>`)
  const fault = childOf(root, 'fault')
  if (fault) return { error: fromFault(readValue(valueIn(fault), 1, limits)) }
  const params = paramsIn(root, limits)
  if (params.length !== 1) throw invalid('an answer holds one <param>')
  return { value: params[0] }
}

function readValue(value: Element, depth: number, limits: ValueLimits): unknown {
  const typed = value.children[0]
  if (!typed) return value.text
  if (value.children.length > 1) throw invalid('<value> holds one type')
  if (typed.name === 'struct') return readStruct(typed, depth, limits)
  if (typed.name === 'array') return readArray(typed, depth, limits)
  const read = scalars.get(typed.name)
  if (!read) throw invalid(`the type <${typed.name.slice(0, 40)}> is not known`)
  if (typed.children.length > 0) throw invalid(`<${typed.name}> holds text only`)
  return read(typed.text)
}

function readStruct(struct: Element, depth: number, limits: ValueLimits): Record<string, unknown> {
  if (depth > mostNested(limits)) throw tooDeep(limits.depth)
  const object: Record<string, unknown> = {}
  for (const member of struct.children) {
    const key = childOf(member, 'name')?.text
    if (member.name !== 'member' || key === undefined) throw invalid('<struct> holds <member>s with a <name> and a <value>')
    const value = readValue(valueIn(member), depth + 1, limits)
    if (forbidden(key, value)) throw forbiddenKey(key)
    object[key] = value
  }
  return object
}

function readArray(array: Element, depth: number, limits: ValueLimits): unknown[] {
  if (depth > mostNested(limits)) throw tooDeep(limits.depth)
  const data = array.children[0]
  if (data?.name !== 'data' || array.children.length > 1) throw invalid('<array> holds one <data>')
  return data.children.map((item) => {
    if (item.name !== 'value') throw invalid('<data> holds <value>s')
    return readValue(item, depth + 1, limits)
  })
}

function integer(text: string): number | bigint {
  if (!/^\s*[+-]?\d{1,20}\s*$/.test(text)) throw invalid(`${JSON.stringify(text.slice(0, 40))} is no integer`)
  const number = Number(text)
  if (Number.isSafeInteger(number)) return number + 0
  const exact = BigInt(text.trim().replace('+', ''))
  if (BigInt.asIntN(64, exact) !== exact) throw invalid(`${text.trim()} has more than 64 bits`)
  return exact
}

function double(text: string): number {
  const number = Number(text)
  if (!/^\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*$/i.test(text) || !Number.isFinite(number))
    throw invalid(`${JSON.stringify(text.slice(0, 40))} is no double`)
  return number
}

function boolean(text: string): boolean {
  const word = text.trim()
  if (word !== '0' && word !== '1') throw invalid('<boolean> is 0 or 1')
  return word === '1'
}

/** The specification leaves the time zone open; here it is UTC unless it is told. */
function date(text: string): Date {
  const match = /^\s*(\d{4})-?(\d\d)-?(\d\d)T(\d\d):?(\d\d):?(\d\d(?:\.\d{1,9})?)(Z|[+-]\d\d:?\d\d)?\s*$/.exec(text)
  const [, year, month, day, hour, minute, second, zone = 'Z'] = match ?? []
  const time = new Date(match ? `${year}-${month}-${day}T${hour}:${minute}:${second}${zone.replace(/^(...)(\d\d)$/, '$1:$2')}` : NaN)
  if (Number.isNaN(time.getTime())) throw invalid(`${JSON.stringify(text.slice(0, 40))} is no dateTime.iso8601`)
  return time
}

function base64(text: string): Uint8Array {
  const compact = text.replace(/\s+/g, '')
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(compact)) throw invalid('<base64> that is none')
  return new Uint8Array(Buffer.from(compact, 'base64'))
}

const scalars = new Map<string, (text: string) => unknown>([
  ['string', (text) => text],
  ...['int', 'i4', 'i8', 'i2', 'i1'].map((name) => [name, integer] as const),
  ['double', double],
  ['float', double],
  ['boolean', boolean],
  ['dateTime.iso8601', date],
  ['base64', base64],
  ['nil', () => null],
])

// ── writing ──────────────────────────────────────────────────────────────────────────────────────

/** Throws TypeError for what cannot be sent, TOO_DEEP, FORBIDDEN_KEY. */
export function writeCall(method: string, params: readonly unknown[], limits: ValueLimits): string {
  const written = params.map((param) => `<param>${writeValue(param, 1, limits)}</param>`).join('')
  return `${DECLARATION}<methodCall><methodName>${escapeText(method)}</methodName><params>${written}</params></methodCall>\n`
}

/** An answer whose value is written already. */
export const answerOf = (value: string): string =>
  `${DECLARATION}<methodResponse><params><param>${value}</param></params></methodResponse>\n`

export const writeFault = (error: TalkwireError, extended: boolean): string =>
  `${DECLARATION}<methodResponse><fault>${faultValue(error, extended)}</fault></methodResponse>\n`

/** `extended`: with a third member, which a fault of the specification has not. */
export function faultValue(error: TalkwireError, extended: boolean): string {
  const { code, data } = toWireError(error)
  const fault = { faultCode: code, faultString: cleanText(error.message) }
  try {
    return writeValue(extended ? { ...fault, error: data } : fault, 1, { depth: Infinity, values: Infinity })
  } catch {
    return writeValue(fault, 1, { depth: Infinity, values: Infinity })
  }
}

function fromFault(fault: unknown): TalkwireError {
  const { faultCode, faultString, error } = (typeof fault === 'object' && fault !== null ? fault : {}) as Record<string, unknown>
  const text = typeof faultString === 'string' ? faultString : 'the server sent a fault without a text'
  const ours = typeof error === 'object' && error !== null && 'code' in error && 'outcome' in error
  const message = ours && text.startsWith(`[${String(error.code)}] `) ? text.slice(String(error.code).length + 3) : text
  return fromWireError({ code: faultCode, message, data: ours ? error : { faultCode } })
}

/** One `<value>`. Throws as `writeCall`. */
export function writeValue(value: unknown, depth: number, limits: ValueLimits): string {
  switch (typeof value) {
    case 'string':
      return `<value><string>${escapeText(value)}</string></value>`
    case 'number':
      return `<value>${writeNumber(value)}</value>`
    case 'boolean':
      return `<value><boolean>${value ? 1 : 0}</boolean></value>`
    case 'bigint':
      return `<value>${writeBig(value)}</value>`
    case 'undefined':
      return '<value><nil/></value>'
    case 'object':
      return value === null ? '<value><nil/></value>' : `<value>${writeObject(value, depth, limits)}</value>`
    default:
      throw unsendable(value)
  }
}

function writeNumber(value: number): string {
  if (Number.isSafeInteger(value) && !Object.is(value, -0)) return value === (value | 0) ? `<int>${value}</int>` : `<i8>${value}</i8>`
  if (!Number.isFinite(value)) throw new TypeError(`XML-RPC has no ${value}; send null, or a text`)
  return `<double>${decimal(value)}</double>`
}

function writeBig(value: bigint): string {
  if (BigInt.asIntN(64, value) !== value) throw new TypeError('XML-RPC has integers of 64 bits at most; send a text')
  return BigInt.asIntN(32, value) === value ? `<int>${value}</int>` : `<i8>${value}</i8>`
}

/** Without an exponent, which the specification does not allow. */
function decimal(value: number): string {
  const text = Object.is(value, -0) ? '-0.0' : String(value)
  const match = /^(-?)(\d+)(?:\.(\d+))?e([+-]\d+)$/.exec(text)
  if (!match) return text
  const [, sign, whole, fraction = '', exponent] = match
  const digits = `${whole}${fraction}`
  const point = whole!.length + Number(exponent)
  if (point <= 0) return `${sign}0.${'0'.repeat(-point)}${digits}`
  return `${sign}${digits.padEnd(point, '0').slice(0, point)}.${digits.slice(point) || '0'}`
}

function writeObject(value: object, depth: number, limits: ValueLimits): string {
  if (value instanceof Date) return `<dateTime.iso8601>${compactDate(value)}</dateTime.iso8601>`
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return `<base64>${bytesOf(value).toString('base64')}</base64>`
  if (depth > mostNested(limits)) throw tooDeep(limits.depth)
  if (Array.isArray(value) || value instanceof Set)
    return `<array><data>${Array.from(value, (item) => writeValue(item, depth + 1, limits)).join('')}</data></array>`
  if (value instanceof Map) return writeStruct(value, depth, limits)
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype !== Object.prototype && prototype !== null) throw unsendable(value)
  return writeStruct(Object.entries(value), depth, limits)
}

function writeStruct(entries: Iterable<[unknown, unknown]>, depth: number, limits: ValueLimits): string {
  let members = ''
  for (const [key, item] of entries) {
    const name = String(key)
    if (forbidden(name, item)) throw forbiddenKey(name)
    if (item !== undefined) members += `<member><name>${escapeText(name)}</name>${writeValue(item, depth + 1, limits)}</member>`
  }
  return `<struct>${members}</struct>`
}

const bytesOf = (value: ArrayBufferView | ArrayBuffer): Buffer =>
  ArrayBuffer.isView(value) ? Buffer.from(value.buffer, value.byteOffset, value.byteLength) : Buffer.from(value)

/** UTC, whole seconds: others read nothing finer. */
function compactDate(value: Date): string {
  if (Number.isNaN(value.getTime())) throw new TypeError('an invalid Date cannot be sent; send null, or a date')
  const text = value.toISOString()
  if (text.length !== 24) throw new TypeError('XML-RPC has dates of the years 0 to 9999; send a text')
  return text.slice(0, 19).replaceAll('-', '')
}

/** A service as MCP shows it: methods as tools, reads and events as resources. docs/protocols/mcp.md. Sans I/O. */
import { LOOKED_AT, toJson } from '../codecs/plain-json.js'
import type { Rpc } from '../contract/contract.js'
import { describeMethod, type JsonSchema, type MethodDescription, type ValueDescription } from '../contract/json-schema.js'
import { parameterNames } from '../contract/parameters.js'
import { isObject, mapSubschemas, resolveRef, type Subschema } from '../contract/schema-walk.js'
import { TalkwireError, plainMessage } from '../error.js'
import { paramsOf, type Method, type Service } from '../session/service.js'
import { createFields, type Fields } from './http-fields.js'
import { isRecord, OURS, own } from './mcp-message.js'
import { toWireError } from './message.js'

/** What a result or an input that is no object is called. */
const RESULT = 'result'
const INPUT = 'input'
const ITEMS = 'items'

export interface Tool {
  readonly method: Method
  /** As `tools/list` has it. */
  readonly shown: Readonly<Record<string, unknown>>
  /** Params of the call, and the elements of its input stream. Throws INVALID_INPUT. */
  read(given: unknown): { readonly params: unknown; readonly items?: readonly unknown[] }
  /** As `tools/call` has it. */
  result(value: unknown): Readonly<Record<string, unknown>>
  failure(error: TalkwireError): Readonly<Record<string, unknown>>
}

export interface Resource {
  readonly name: string
  /** Undefined: an event. */
  readonly fields: Fields | undefined
  readonly shown: Readonly<Record<string, unknown>>
  readonly template: boolean
}

export interface Catalog {
  readonly tools: ReadonlyMap<string, Tool>
  /** By the part of their URI before the query. */
  readonly resources: ReadonlyMap<string, Resource>
}

export const uriOf = (service: string, name: string): string => `talkwire://${encodeURIComponent(service)}/${encodeURIComponent(name)}`

export async function createCatalog({ name, contract, methods }: Service): Promise<Catalog> {
  const tools = new Map<string, Tool>()
  const resources = new Map<string, Resource>()
  for (const method of methods.values()) {
    const member = contract?.members[method.name]
    if (member?.kind !== 'rpc') {
      tools.set(method.name, functionTool(name, method))
      continue
    }
    const described = await describeMethod(member)
    tools.set(method.name, contractTool(name, method, described))
    const resource = await resourceOf(name, method.name, member, described)
    if (resource) resources.set(uriOf(name, method.name), resource)
  }
  for (const [event, member] of Object.entries(contract?.members ?? {})) {
    if (member.kind !== 'event') continue
    const uri = uriOf(name, event)
    const shown = { uri, name: event, description: 'An event: subscribe to it. Its text is the latest one.', mimeType: 'application/json' }
    resources.set(uri, { name: event, fields: undefined, shown, template: false })
  }
  return { tools, resources }
}

// ── tools ────────────────────────────────────────────────────────────────────────────────────────

function contractTool(service: string, method: Method, { input, output, errors, idempotent }: MethodDescription): Tool {
  const form = inputForm(input)
  const shape = output && outputForm(output)
  const notes = [
    output?.stream ? 'Gives a list; "complete" is false when there was more.' : '',
    Object.keys(errors).length > 0 ? `May fail with ${Object.keys(errors).join(', ')}.` : '',
  ]
  const given = input && !input.stream ? input.schema['description'] : undefined
  const description = [typeof given === 'string' ? given : titleOf(service, method), ...notes].filter((note) => note !== '').join(' ')
  return {
    method,
    shown: {
      name: method.name,
      description,
      inputSchema: form.schema,
      ...(shape && { outputSchema: shape.schema }),
      annotations: { idempotentHint: idempotent },
    },
    read: form.read,
    result: (value) => resultOf(value, shape ? shape.structured(value) : undefined),
    failure: (error) => failureOf(error, shape !== null),
  }
}

const titleOf = (service: string, { name }: Method): string => `"${name}" of ${service}.`

function functionTool(service: string, method: Method): Tool {
  const names = (method.source && parameterNames(method.source)) ?? Array.from({ length: method.handler.length }, (_, at) => `arg${at + 1}`)
  const rest = names.at(-1)?.startsWith('...') ? names.at(-1)!.slice(3).trim() : undefined
  const plain = rest === undefined ? names : names.slice(0, -1)
  const properties = Object.fromEntries([...plain.map((name) => [name, {}]), ...(rest === undefined ? [] : [[rest, { type: 'array' }]])])
  return {
    method,
    shown: { name: method.name, description: titleOf(service, method), inputSchema: { type: 'object', properties } },
    read(given) {
      const params = plain.map((name) => own(given, name))
      const more = rest === undefined ? undefined : own(given, rest)
      if (Array.isArray(more)) return { params: [...params, ...(more as unknown[])] }
      while (params.length > 0 && params.at(-1) === undefined) params.pop()
      return { params }
    },
    result: (value) => resultOf(value, value === undefined ? undefined : isRecord(value) ? value : { [RESULT]: value }),
    failure: (error) => failureOf(error, false),
  }
}

interface InputForm {
  readonly schema: JsonSchema
  readonly read: Tool['read']
}

function inputForm(input: ValueDescription | null): InputForm {
  if (!input) return { schema: { type: 'object', properties: {} }, read: () => ({ params: undefined }) }
  const { schema, stream, optional } = input
  if (stream)
    return {
      schema: {
        type: 'object',
        properties: { [ITEMS]: { type: 'array', items: within(schema, `/properties/${ITEMS}/items`) } },
        required: [ITEMS],
      },
      read(given) {
        const items = own(given, ITEMS)
        if (!Array.isArray(items)) throw new TalkwireError('INVALID_INPUT', `"${ITEMS}" is a list: the elements of the stream`)
        return { params: [], items }
      },
    }
  if (isObjectSchema(schema, schema))
    return { schema: { type: 'object', ...schema }, read: (given) => ({ params: given === undefined && !optional ? {} : given }) }
  return {
    schema: { type: 'object', properties: { [INPUT]: within(schema, `/properties/${INPUT}`) }, ...(!optional && { required: [INPUT] }) },
    read: (given) => ({ params: paramsOf(own(given, INPUT)) }),
  }
}

interface OutputForm {
  readonly schema: JsonSchema
  readonly structured: (value: unknown) => unknown
}

function outputForm({ schema, stream, optional }: ValueDescription): OutputForm {
  if (stream)
    return {
      schema: {
        type: 'object',
        properties: { [ITEMS]: { type: 'array', items: within(schema, `/properties/${ITEMS}/items`) }, complete: { type: 'boolean' } },
        required: [ITEMS, 'complete'],
      },
      structured: (value) => value,
    }
  if (isObjectSchema(schema, schema) && !optional) return { schema: { type: 'object', ...schema }, structured: (value) => value }
  return {
    schema: { type: 'object', properties: { [RESULT]: within(schema, `/properties/${RESULT}`) }, ...(!optional && { required: [RESULT] }) },
    structured: (value) => (value === undefined ? {} : { [RESULT]: value }),
  }
}

/** Every value that fits is an object. */
function isObjectSchema(schema: Subschema, root: JsonSchema, depth = 0): boolean {
  if (!isObject(schema) || depth > 16) return false
  if (schema['type'] === 'object') return schema['x-talkwire'] === undefined
  if (typeof schema['$ref'] === 'string') return isObjectSchema(resolveRef(root, schema['$ref']) ?? true, root, depth + 1)
  const union = [schema['anyOf'], schema['oneOf']].find(Array.isArray)
  return union !== undefined && union.every((one) => isObjectSchema(one as Subschema, root, depth + 1))
}

/** A schema that no longer stands at the root: what refers to `#` refers to its place. */
function within(schema: Subschema, place: string): Subschema {
  if (!isObject(schema)) return schema
  const copy = mapSubschemas(schema, (inner) => within(inner, place))
  const ref = schema['$ref']
  return typeof ref === 'string' && ref.startsWith('#') ? { ...copy, $ref: `#${place}${ref.slice(1)}` } : copy
}

const textOf = (value: unknown): string => (typeof value === 'string' ? value : toJson(value, LOOKED_AT))

const resultOf = (value: unknown, structured: unknown): Readonly<Record<string, unknown>> => ({
  content: value === undefined ? [] : [{ type: 'text', text: textOf(value) }],
  ...(structured !== undefined && { structuredContent: structured }),
})

/** A client of the SDK holds `structuredContent` against the schema of results even when it tells of an error: where there is one, the details stand in `_meta`. */
function failureOf(error: TalkwireError, hasSchema: boolean): Readonly<Record<string, unknown>> {
  const { code, outcome, declared, details } = error
  const message = plainMessage(error)
  const text = `${code}: ${message}${details === undefined ? '' : `\n${toJson(details, LOOKED_AT)}`}`
  return {
    content: [{ type: 'text', text }],
    isError: true,
    ...(!hasSchema && { structuredContent: { code, message, outcome, declared, ...(details !== undefined && { details }) } }),
    _meta: { [OURS.error]: toWireError(error) },
  }
}

// ── resources ────────────────────────────────────────────────────────────────────────────────────

const SIMPLE = new Set<unknown>(['string', 'number', 'integer', 'boolean'])

/** A read: idempotent, one answer, and an input that fits into a URI. */
async function resourceOf(service: string, name: string, member: Rpc, described: MethodDescription): Promise<Resource | undefined> {
  const { input, output, idempotent, oneway } = described
  if (!idempotent || oneway || !output || output.stream || input?.stream) return undefined
  const names = input ? simpleFields(input.schema) : []
  if (!names) return undefined
  const uri = uriOf(service, name)
  const shown = { name, mimeType: 'application/json' }
  const fields = await createFields(member)
  if (names.length === 0) return { name, fields, shown: { uri, ...shown }, template: false }
  return { name, fields, shown: { uriTemplate: `${uri}{?${names.map(encodeURIComponent).join(',')}}`, ...shown }, template: true }
}

/** Names of the fields of an object of plain values; undefined for any other input. */
function simpleFields(schema: JsonSchema): string[] | undefined {
  const { properties } = schema
  if (schema['type'] !== 'object' || !isObject(properties)) return SIMPLE.has(schema['type']) ? [INPUT] : undefined
  const entries = Object.entries(properties)
  const simple = entries.every(([name, property]) => /^[\w.-]+$/.test(name) && isObject(property) && SIMPLE.has(property['type']))
  return simple ? entries.map(([name]) => name) : undefined
}

/** A service as an OpenAPI 3.1 document (spec.openapis.org/oas/v3.1.1), as docs/protocols/http.md serves it. */
import { placer, type Placer } from './components.js'
import type { ContractDescription, MethodDescription, ValueDescription } from './json-schema.js'
import type { FunctionsDescription } from './openrpc.js'
import { isObject, referred, type Subschema } from './schema-walk.js'

export interface OpenApiDocument {
  readonly openapi: '3.1.1'
  readonly info: { readonly title: string; readonly version: string }
  readonly paths: Readonly<Record<string, Readonly<Record<string, unknown>>>>
  readonly components: Readonly<Record<string, unknown>>
  readonly security: readonly Readonly<Record<string, readonly string[]>>[]
  readonly 'x-talkwire': { readonly name: string; readonly contract: string | null }
}

const PROBLEM = {
  type: 'object',
  properties: {
    type: { type: 'string' },
    title: { type: 'string' },
    status: { type: 'integer' },
    detail: { type: 'string' },
    code: { type: 'string' },
    outcome: { enum: ['not-sent', 'maybe-ran', 'ran'] },
  },
  required: ['type', 'title', 'status', 'detail', 'code', 'outcome'],
}
const PROBLEM_TYPE = 'application/problem+json'

export function openApi(service: ContractDescription | FunctionsDescription): OpenApiDocument {
  const place = placer()
  const paths: Record<string, Record<string, unknown>> = {}
  const at = (name: string): string => `/${service.name}/${encodeURIComponent(name)}`
  if ('methods' in service) {
    for (const [name, method] of Object.entries(service.methods)) paths[at(name)] = operations(name, method, place)
    for (const [name, { payload }] of Object.entries(service.events))
      paths[at(name)] = {
        get: { operationId: name, summary: 'an event', responses: { 200: events(place.schema(payload, `${name}.payload`)) } },
      }
  } else for (const { name, parameters } of service.functions) paths[at(name)] = { post: plainFunction(name, parameters) }
  return {
    openapi: '3.1.1',
    info: { title: service.name, version: 'methods' in service ? String(service.version) : '0' },
    paths,
    components: { schemas: { ...place.schemas, Problem: PROBLEM }, securitySchemes: { token: { type: 'http', scheme: 'bearer' } } },
    security: [{ token: [] }, {}],
    'x-talkwire': { name: service.name, contract: 'methods' in service ? service.id : null },
  }
}

const content = (type: string, schema: Subschema): unknown => ({ [type]: { schema } })
const events = (schema: Subschema): unknown => ({ description: 'server-sent events', content: content('text/event-stream', schema) })

function operations(name: string, method: MethodDescription, place: Placer): Record<string, unknown> {
  const schemaOf = (value: ValueDescription | null, what: string): Subschema | undefined =>
    value?.schema && place.schema(value.schema, `${name}.${what}`)
  const input = schemaOf(method.input, 'input')
  const responses = responsesOf(name, method, schemaOf(method.output, 'output'), place)
  const post = { operationId: name, ...(input !== undefined && { requestBody: bodyOf(method.input!, input) }), responses }
  if (!method.idempotent || method.input?.stream) return { post }
  return { post, get: { operationId: `get_${name}`, parameters: parametersOf(method.input, input, place), responses } }
}

const bodyOf = ({ stream, optional }: ValueDescription, schema: Subschema): unknown => ({
  required: !optional,
  content: stream ? content('application/x-ndjson', schema) : content('application/json', schema),
})

function responsesOf(
  name: string,
  { output, errors, oneway }: MethodDescription,
  schema: Subschema | undefined,
  place: Placer,
): Record<string, unknown> {
  const declared = Object.entries(errors).map(([code, details]) => ({
    allOf: [{ $ref: '#/components/schemas/Problem' }],
    properties: { code: { const: code }, details: place.schema(details, `${name}.errors.${code}`) },
    required: ['code', 'details'],
  }))
  return {
    ...success(output, schema, oneway),
    ...(declared.length > 0 && {
      422: {
        description: `declared error: ${Object.keys(errors).join(', ')}`,
        content: content(PROBLEM_TYPE, declared.length === 1 ? declared[0]! : { oneOf: declared }),
      },
    }),
    default: { description: 'any other error', content: content(PROBLEM_TYPE, { $ref: '#/components/schemas/Problem' }) },
  }
}

function success(output: ValueDescription | null, schema: Subschema | undefined, oneway: boolean): Record<string, unknown> {
  if (oneway) return { 202: { description: 'taken; nobody answers' } }
  if (!output) return { 204: { description: 'done' } }
  if (output.stream) return { 200: events(schema!) }
  return { 200: { description: 'the result', content: content('application/json', schema!) } }
}

/** As `http-fields.ts` reads them. `placed`: the input's schema within the document. */
function parametersOf(input: ValueDescription | null, placed: Subschema | undefined, place: Placer): unknown[] {
  if (!input || placed === undefined) return []
  const shape = referred(placed, (ref) => place.resolve(ref))
  const properties = isObject(shape) && isObject(shape['properties']) ? shape['properties'] : undefined
  if (!properties) return [{ name: 'input', in: 'query', required: !input.optional, schema: placed }]
  const required = isObject(shape) && Array.isArray(shape['required']) ? shape['required'] : []
  return Object.entries(properties).map(([name, property]) => ({ name, in: 'query', required: required.includes(name), schema: property }))
}

function plainFunction(name: string, parameters: number | readonly string[]): unknown {
  const names = typeof parameters === 'number' ? Array.from({ length: parameters }, (_, index) => `arg${index + 1}`) : parameters
  return {
    operationId: name,
    requestBody: { content: content('application/json', { type: 'array', description: `the arguments: ${names.join(', ') || 'none'}` }) },
    responses: {
      200: { description: 'the result', content: content('application/json', true) },
      default: { description: 'an error', content: content(PROBLEM_TYPE, { $ref: '#/components/schemas/Problem' }) },
    },
  }
}

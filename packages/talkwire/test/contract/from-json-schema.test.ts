import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as z from 'zod'
import { fromJsonSchema } from '../../src/contract/from-json-schema.js'
import { contract, rpc } from '../../src/contract/contract.js'
import { jsonSchema, type JsonSchema } from '../../src/contract/json-schema.js'
import { standalone } from '../../src/contract/standalone.js'
import { describeIssues, type StandardSchema } from '../../src/contract/standard-schema.js'

/** What a schema says to a value: the value, or why not. */
async function said(schema: StandardSchema<any, any>, value: unknown): Promise<unknown> {
  const result = await schema['~standard'].validate(value)
  return result.issues ? `no: ${describeIssues(result.issues)}` : result.value
}
const takes = async (schema: JsonSchema | boolean, value: unknown): Promise<boolean> =>
  !String(await said(await fromJsonSchema(schema), value)).startsWith('no: ')

test('values are checked, and what is wrong is told with its place', async () => {
  const schema = await fromJsonSchema({
    type: 'object',
    properties: {
      name: { type: 'string', minLength: 2 },
      tags: { type: 'array', items: { enum: ['a', 'b/c'] } },
      'x/y': { type: 'integer' },
    },
    required: ['name'],
    additionalProperties: false,
  })
  assert.deepEqual(await said(schema, { name: 'ab', tags: ['b/c'] }), { name: 'ab', tags: ['b/c'] })
  assert.match(String(await said(schema, { name: 'a' })), /^no: name: /)
  assert.match(String(await said(schema, { name: 'ab', tags: ['a', 'c'] })), /^no: tags\.1: /)
  assert.match(String(await said(schema, { name: 'ab', 'x/y': 0.5 })), /^no: x\/y: /)
  assert.match(String(await said(schema, { name: 'ab', more: 1 })), /^no: .*more/)
  assert.match(String(await said(schema, {})), /^no: .*name/)
  assert.equal(await said(schema, undefined), 'no: a value is missing')
})

test('fields that are undefined are no fields, and the caller keeps them', async () => {
  const schema = await fromJsonSchema({ type: 'object', properties: { limit: { type: 'integer' } }, additionalProperties: false })
  const given = { limit: undefined, other: undefined }
  const { value } = (await schema['~standard'].validate(given)) as { value: object }
  assert.deepEqual([Object.keys(value), Object.keys(given)], [[], ['limit', 'other']])
  const whole = { limit: 1 }
  assert.equal(await said(schema, whole), whole)
})

test('older drafts and OpenAPI 3.0 mean what they mean', async () => {
  for (const [schema, good, bad] of [
    [{ minimum: 5, exclusiveMinimum: true }, 6, 5],
    [{ minimum: 5, exclusiveMinimum: false }, 5, 4],
    [{ exclusiveMaximum: 0 }, -1, 0],
    [{ items: [{ type: 'string' }, { minimum: 5, exclusiveMinimum: true }], additionalItems: false }, ['a', 6], ['a', 5]],
    [{ items: [{ type: 'string' }], additionalItems: false }, ['a'], ['a', 1]],
    [{ type: 'string', nullable: true }, null, 1],
    [{ properties: { a: { type: 'string', nullable: true } } }, { a: null }, { a: 1 }],
    [{ dependencies: { a: ['b'] } }, { a: 1, b: 1 }, { a: 1 }],
    [{ dependencies: { a: { required: ['b'] } } }, { b: 1 }, { a: 1 }],
    [{ definitions: { n: { type: 'number' } }, $ref: '#/definitions/n' }, 1, 'a'],
    [{ $defs: { 'a b/c~d': { type: 'number' } }, items: { $ref: '#/$defs/a%20b~1c~0d' } }, [1], ['a']],
    [{ id: 'http://example.test/a', properties: { id: { type: 'string' } } }, { id: 'a' }, { id: 1 }],
    [{ properties: { constructor: { type: 'string' } }, required: ['constructor'] }, { constructor: 'a' }, {}],
  ] as [JsonSchema, unknown, unknown][])
    assert.deepEqual([await takes(schema, good), await takes(schema, bad)], [true, false], JSON.stringify(schema))
})

test('what cannot be read is not checked, and nothing throws', async () => {
  for (const schema of [
    true,
    {},
    { pattern: '(' },
    { patternProperties: { '(': false } },
    { format: 'date-time' },
    { $ref: 'other.json#/x' },
    { $ref: '#/nothing' },
    { examples: [{ $id: 5 }], 'x-more': { $ref: '#/nothing' } },
    { $id: 'http://[', default: { $ref: '#' } },
  ])
    assert.equal(await takes(schema, 'text'), true, JSON.stringify(schema))
  assert.equal(await takes(false, 1), false)
  assert.equal(await takes({ $ref: '#' }, 1), false)
  for (const schema of [1, null, 'text', []]) await assert.rejects(fromJsonSchema(schema as never), TypeError)
  let deep: JsonSchema = {}
  for (let depth = 0; depth < 300; depth++) deep = { items: deep }
  await assert.rejects(fromJsonSchema(deep), TypeError)
})

test('the marks of values beyond JSON are checked, and cannot be feigned', async () => {
  const described = async (schema: z.ZodType): Promise<JsonSchema> =>
    (await jsonSchema(contract('one/1', { call: rpc({ input: schema as never }) }))).methods['call']!.input!.schema
  for (const [of, good, bad] of [
    [z.bigint(), 5n, 5],
    [z.date(), new Date(0), '1970-01-01'],
    [z.map(z.string(), z.number()), new Map([['a', 1]]), new Map([['a', 'b']])],
    [z.set(z.string()), new Set(['a']), new Set([1])],
    [z.instanceof(Float32Array), new Float32Array(1), new Float64Array(1)],
    [z.object({ at: z.date() }), { at: new Date(0) }, { at: { 'x-talkwire': 'date' } }],
    [z.literal(5n), 5n, 6n],
    [z.nan(), NaN, 1],
    [z.string(), 'a', () => 1],
  ] as [z.ZodType, unknown, unknown][]) {
    const schema = await described(of)
    assert.deepEqual([await takes(schema, good), await takes(schema, bad)], [true, false], JSON.stringify(schema))
  }
})

test('what is wrong with a value beyond JSON is told in words, and never by what marks such values', async () => {
  const date = { 'x-talkwire': 'date' }
  const days = { 'x-talkwire': 'map', 'x-keys': { type: 'string' }, 'x-values': { $ref: '#/$defs/day' } }
  const schema = await fromJsonSchema({
    type: 'object',
    properties: {
      day: { $ref: '#/$defs/day' },
      big: { 'x-talkwire': 'bigint' },
      data: { 'x-talkwire': 'array', 'x-dtype': 'u1' },
      days,
      n: {},
    },
    additionalProperties: { type: 'integer' },
    $defs: { day: date },
  })
  const of = (value: unknown): Promise<unknown> => said(schema, value)
  for (const wrong of ['monday', {}, 5n, { day: 1 }]) assert.equal(await of({ day: wrong }), 'no: day: expected a date')
  assert.equal(await of({ big: 'x' }), 'no: big: expected a big integer')
  assert.equal(await of({ data: 'x' }), 'no: data: expected bytes or numbers in an array')
  assert.equal(await of({ data: new Float64Array(1) }), 'no: data: expected bytes or numbers in an array')
  assert.equal(await of({ days: {} }), 'no: days: expected a Map')
  assert.match(String(await of({ days: new Map([['a', 'x']]) })), /^no: days.*: expected a date$/)
  assert.match(String(await of({ days: new Map([[1, new Date(0)]]) })), /^no: days.*Expected "string"/)
  assert.equal(await said(await fromJsonSchema(date), 'x'), 'no: expected a date')
  for (const value of [new Date(0), 5n, { other: 5n }, new Map(), { day: { a: 1n } }]) {
    const text = JSON.stringify((await schema['~standard'].validate(value)).issues)
    assert.ok(text !== undefined && !text.includes('\\u0000') && !/[0-9a-f]{8}-[0-9a-f]{4}-/.test(text), text)
  }
})

test('a contract of such schemas describes them', async () => {
  const pet = { type: 'object', properties: { name: { type: 'string' } } }
  const { methods } = await jsonSchema(
    contract('shop/1', {
      add: rpc({ input: await fromJsonSchema(pet), output: await fromJsonSchema({ type: 'null' }, { optional: true }) }),
    }),
  )
  assert.deepEqual(methods['add']!.input, { schema: pet, stream: false, optional: false })
  assert.deepEqual(methods['add']!.output, { schema: { type: 'null' }, stream: false, optional: true })
})

test('a schema taken out of its document takes along what it refers to', async () => {
  const document = {
    components: {
      schemas: {
        Node: { type: 'object', properties: { next: { $ref: '#/components/schemas/Node' }, of: { $ref: '#/components/schemas/Kind' } } },
        Kind: { enum: ['a', 'b'] },
        Unused: { type: 'string' },
      },
    },
  }
  const schema = standalone({ items: { $ref: '#/components/schemas/Node' }, contains: { $ref: 'elsewhere#/x' } }, document)
  assert.deepEqual(Object.keys(schema['$defs'] as object), ['Node', 'Kind', 'x'])
  assert.equal(await takes(schema, [{ next: { next: { of: 'a' } } }]), true)
  assert.equal(await takes(schema, [{ next: { next: { of: 'c' } } }]), false)
})

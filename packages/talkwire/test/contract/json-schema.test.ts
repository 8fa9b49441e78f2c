import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'
import { toStandardJsonSchema } from '@valibot/to-json-schema'
import { type } from 'arktype'
import * as v from 'valibot'
import * as z from 'zod'
import { contract, event, rpc, stream } from '../../src/contract/contract.js'
import { jsonSchema, type JsonSchema } from '../../src/contract/json-schema.js'
import type { StandardSchema } from '../../src/contract/standard-schema.js'

async function described(input: StandardSchema<any, any>): Promise<JsonSchema> {
  const { methods } = await jsonSchema(contract('one/1', { call: rpc({ input }) }))
  return methods['call']!.input!.schema
}

test('a whole contract becomes plain data', async () => {
  const description = await jsonSchema(
    contract('bank/3', {
      deposit: rpc({
        input: z.object({ amount: z.number() }),
        output: v.string(),
        errors: { Closed: type({ since: 'string' }) },
        idempotent: true,
      }),
      watch: rpc({ input: stream(z.string()), output: stream(v.number()) }),
      reset: rpc({ oneway: true }),
      list: rpc({ input: z.string().optional() }),
      said: event(type('string')),
    }),
  )
  assert.deepEqual(description, {
    id: 'bank/3',
    name: 'bank',
    version: 3,
    methods: {
      deposit: {
        input: {
          schema: { type: 'object', properties: { amount: { type: 'number' } }, required: ['amount'] },
          stream: false,
          optional: false,
        },
        output: { schema: { type: 'string' }, stream: false, optional: false },
        errors: { Closed: { type: 'object', properties: { since: { type: 'string' } }, required: ['since'] } },
        idempotent: true,
        oneway: false,
      },
      watch: {
        input: { schema: { type: 'string' }, stream: true, optional: false },
        output: { schema: { type: 'number' }, stream: true, optional: false },
        errors: {},
        idempotent: false,
        oneway: false,
      },
      reset: { input: null, output: null, errors: {}, idempotent: false, oneway: true },
      list: {
        input: { schema: { type: 'string' }, stream: false, optional: true },
        output: null,
        errors: {},
        idempotent: false,
        oneway: false,
      },
    },
    events: { said: { payload: { type: 'string' } } },
    undescribed: [],
  })
  assert.deepEqual(JSON.parse(JSON.stringify(description)), description)
})

const Person = { type: 'object', properties: { name: { type: 'string' }, age: { type: 'number' } }, required: ['name'] }
const people: Record<string, StandardSchema<any, any>> = {
  zod: z.object({ name: z.string(), age: z.number().optional() }),
  valibot: v.object({ name: v.string(), age: v.optional(v.number()) }),
  'valibot, wrapped': toStandardJsonSchema(v.object({ name: v.string(), age: v.optional(v.number()) })),
  'valibot, asynchronous': v.objectAsync({ name: v.string(), age: v.optional(v.number()) }),
  arktype: type({ name: 'string', 'age?': 'number' }),
}
for (const [library, schema] of Object.entries(people))
  test(`an object of ${library}`, async () => assert.deepEqual(await described(schema), Person))

/** What JSON Schema cannot say, in each library. */
const beyond: Record<string, [expected: JsonSchema, ...schemas: StandardSchema<any, any>[]]> = {
  bigint: [{ 'x-talkwire': 'bigint' }, z.bigint(), z.bigint().min(3n), v.bigint(), toStandardJsonSchema(v.bigint()), type('bigint')],
  'one bigint': [{ 'x-talkwire': 'bigint', 'x-value': '7' }, v.literal(7n), type('7n')],
  date: [
    { 'x-talkwire': 'date' },
    z.date(),
    z.date().optional(),
    v.date(),
    v.pipe(v.date(), v.minValue(new Date(0))),
    type('Date'),
    type('Date>2020'),
  ],
  undefined: [{ 'x-talkwire': 'undefined' }, z.undefined(), z.void(), v.undefined(), v.void(), type('undefined')],
  NaN: [{ 'x-talkwire': 'nan' }, z.nan(), v.nan(), type('number.NaN')],
  map: [
    { 'x-talkwire': 'map', 'x-keys': { type: 'string' }, 'x-values': { 'x-talkwire': 'date' } },
    z.map(z.string(), z.date()),
    v.map(v.string(), v.date()),
    toStandardJsonSchema(v.map(v.string(), v.date())),
  ],
  'bare map': [{ 'x-talkwire': 'map' }, type('Map')],
  set: [{ 'x-talkwire': 'set', 'x-values': { type: 'string' } }, z.set(z.string()), v.set(v.string())],
  'bare set': [{ 'x-talkwire': 'set' }, type('Set')],
  bytes: [
    { 'x-talkwire': 'array', 'x-dtype': 'u1' },
    z.instanceof(Uint8Array),
    v.instance(Uint8Array),
    v.instance(Buffer),
    type.instanceOf(Uint8Array),
  ],
  floats: [{ 'x-talkwire': 'array', 'x-dtype': 'f8' }, z.instanceof(Float64Array), v.instance(Float64Array), type.instanceOf(Float64Array)],
  union: [{ anyOf: [{ type: 'string' }, { 'x-talkwire': 'undefined' }] }, z.union([z.string(), z.undefined()]), type('string|undefined')],
  values: [{ anyOf: [{ 'x-talkwire': 'bigint', 'x-value': '1' }, { const: 'a' }] }, z.literal([1n, 'a']), v.picklist([1n as never, 'a'])],
  anything: [{}, z.unknown(), z.any(), v.unknown(), type('unknown')],
  nothing: [{ not: {} }, z.never(), v.never()],
  'nothing, in arktype': [{ enum: [] }, type('never')],
  'what a transform takes': [
    { type: 'string' },
    z.string().transform(Number),
    v.pipe(v.string(), v.transform(Number)),
    type('string').pipe(Number),
  ],
}
for (const [what, [expected, ...schemas]] of Object.entries(beyond)) {
  for (const schema of schemas)
    test(`${what}: ${schema['~standard'].vendor}`, async () => assert.deepEqual(await described(schema), expected))
}

test('marks stand inside other schemas', async () => {
  for (const schema of [z.object({ at: z.date(), n: z.bigint().nullable() }), v.object({ at: v.date(), n: v.nullable(v.bigint()) })]) {
    assert.deepEqual(await described(schema), {
      type: 'object',
      properties: { at: { 'x-talkwire': 'date' }, n: { anyOf: [{ 'x-talkwire': 'bigint' }, { type: 'null' }] } },
      required: ['at', 'n'],
    })
  }
})

test('what cannot be described is listed, and says anything', async () => {
  class Engine {}
  const bare: StandardSchema<string> = { '~standard': { version: 1, vendor: 'homemade', validate: (value) => ({ value: String(value) }) } }
  const throwing: StandardSchema = {
    '~standard': {
      version: 1,
      vendor: 'zod',
      validate: () => {
        throw new Error('no')
      },
      jsonSchema: {
        input: () => {
          throw new Error('cannot')
        },
        output: () => ({}),
      },
    },
  }
  const { undescribed, methods } = await jsonSchema(
    contract('odd/1', {
      call: rpc({ input: bare, output: throwing, errors: { Bad: z.object({ 'a/b': z.custom() }) } }),
      drive: rpc({ input: v.object({ engine: v.instance(Engine), f: v.function() }), output: stream(type.instanceOf(Engine)) }),
      infinite: rpc({ input: type('number.Infinity') }),
      said: event(z.array(z.symbol())),
    }),
  )
  assert.deepEqual(undescribed, [
    { path: 'call.input', reason: 'homemade gives no JSON Schema' },
    { path: 'call.output', reason: 'cannot' },
    { path: 'call.errors.Bad/properties/a~1b', reason: 'a check of its own has no JSON Schema' },
    { path: 'drive.input/properties/engine', reason: 'an instance of Engine is not a value of the wire' },
    { path: 'drive.input/properties/f', reason: "valibot's function has no JSON Schema" },
    { path: 'drive.output', reason: 'an instance of Engine is not a value of the wire' },
    { path: 'infinite.input', reason: 'Infinity has no JSON Schema' },
    { path: 'said.payload/items', reason: "zod's symbol has no JSON Schema" },
  ])
  assert.equal(methods['call']!.input!.schema['x-talkwire'], 'undescribed')
})

test('no schema makes it fail', async () => {
  const Tree: z.ZodType = z.object({
    get children() {
      return z.array(Tree)
    },
  })
  const Deep: z.ZodType = z.map(
    z.string(),
    z.lazy(() => Deep),
  )
  const odd: StandardSchema<any, any>[] = [
    Tree,
    Deep,
    z.string().default('a'),
    z.bigint().default(3n),
    z.date().default(new Date(0)),
    z.preprocess(Number, z.bigint()),
    z.file(),
    z.promise(z.date()),
    z.transform(Number),
    z.number().min(-Infinity),
    z.codec(z.iso.datetime(), z.date(), { decode: (text) => new Date(text), encode: (date) => date.toISOString() }),
    z.json(),
    z.function() as never,
    v.optional(v.bigint(), 3n),
    v.optional(v.date(), () => new Date()),
    v.lazy(() => v.date()),
    v.promise(),
    v.pipe(
      v.string(),
      v.check(() => true),
    ),
    v.record(v.string(), v.symbol()),
    v.file(),
    type('string').narrow(() => true),
    type({ '[symbol]': 'string' }),
    type('string.date.iso.parse'),
    type({ a: 'bigint = 3n' }),
    type('Date[]'),
    type("'a' | 1n"),
  ]
  for (const schema of odd) {
    // Asked once: a default may be the time of the day.
    const description = await described(schema)
    assert.deepEqual(JSON.parse(JSON.stringify(description)), description)
  }
})

test('values that may be left out', async () => {
  const optional = async (input: StandardSchema<any, any>): Promise<boolean> =>
    (await jsonSchema(contract('one/1', { call: rpc({ input }) }))).methods['call']!.input!.optional
  for (const schema of [
    z.string().optional(),
    z.string().default('a'),
    z.string().nullish(),
    z.undefined(),
    z.union([z.string(), z.undefined()]),
    z.unknown(),
    z
      .string()
      .optional()
      .refine(() => true),
    v.optional(v.string()),
    v.optional(v.string(), 'a'),
    v.nullish(v.string()),
    v.undefinedable(v.string()),
    v.pipe(
      v.optional(v.string()),
      v.check(() => true),
    ),
    v.unknown(),
    type('string | undefined'),
    type('unknown'),
  ])
    assert.equal(await optional(schema), true, JSON.stringify(schema))
  for (const schema of [
    z.string(),
    z.string().nullable(),
    z.object({ a: z.undefined() }),
    v.string(),
    v.nullable(v.string()),
    type('string'),
    type('string | null'),
    z.custom(),
  ])
    assert.equal(await optional(schema), false)
})

test('describing runs no check of the application', async () => {
  const checked = z
    .string()
    .optional()
    .refine(() => assert.fail('a check ran'))
  const homemade: StandardSchema = { '~standard': { version: 1, vendor: 'homemade', validate: () => assert.fail('a check ran') } }
  for (const input of [
    checked,
    homemade,
    v.pipe(
      v.optional(v.string()),
      v.check(() => assert.fail('a check ran')),
    ),
    type('string').narrow(() => assert.fail('a check ran')),
  ])
    await described(input)
})

test('without its optional package a valibot schema says which one to install', () => {
  const hook = `export const resolve = (name, context, next) => { if (name.startsWith('@valibot/')) throw new Error('not there'); return next(name, context) }`
  const program = `
    import { register } from 'node:module'
    register('data:text/javascript,' + encodeURIComponent(${JSON.stringify(hook)}))
    const [v, { contract, rpc }, { jsonSchema }] = await Promise.all(${JSON.stringify([import.meta.resolve('valibot'), here('contract.js'), here('json-schema.js')])}.map((url) => import(url)))
    console.log(JSON.stringify((await jsonSchema(contract('one/1', { call: rpc({ input: v.string() }) }))).undescribed))`
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', program], { encoding: 'utf8' })
  assert.equal(stdout, '[{"path":"call.input","reason":"npm install @valibot/to-json-schema describes valibot schemas"}]\n', stderr)
})

const here = (file: string): string => new URL(`../../src/contract/${file}`, import.meta.url).href

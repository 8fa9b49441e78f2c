import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import * as v from 'valibot'
import * as z from 'zod'
import { contract, event, rpc, stream, type Members } from '../../src/contract/contract.js'
import { jsonSchema, type ContractDescription } from '../../src/contract/json-schema.js'
import { openRpc, type OpenRpcDocument, type OpenRpcMethod } from '../../src/contract/openrpc.js'
import { anySchema } from './schemas.js'

const discover = async (members: Members): Promise<OpenRpcDocument> => openRpc(await jsonSchema(contract('bank/3', members)))
const method = async (of: Parameters<typeof rpc<any, any, any, any>>[0]): Promise<OpenRpcMethod> =>
  (await discover({ call: rpc<any, any, any, any>(of) })).methods[0]!

test('a whole document', async () => {
  const description = await jsonSchema(
    contract('bank/3', {
      deposit: rpc({
        input: z.object({ note: z.string().optional(), amount: z.number() }),
        output: z.string(),
        errors: { Closed: z.object({ since: z.date() }) },
        idempotent: true,
      }),
      overdrawn: event(v.string()),
    }),
  )
  assert.deepEqual(openRpc(description, { hash: 'abc', addresses: ['unix:bank'] }), {
    openrpc: '1.3.2',
    info: { title: 'bank', version: '3' },
    servers: [{ name: 'bank', url: 'unix:bank' }],
    methods: [
      {
        name: 'deposit',
        paramStructure: 'by-name',
        params: [
          { name: 'amount', required: true, schema: { type: 'number' } },
          { name: 'note', required: false, schema: { type: 'string' } },
        ],
        result: { name: 'result', required: true, schema: { type: 'string' } },
        errors: [
          {
            code: -32010,
            message: 'declared error: Closed',
            data: {
              type: 'object',
              required: ['code', 'details'],
              properties: {
                code: { const: 'Closed' },
                outcome: { const: 'ran' },
                details: { type: 'object', properties: { since: { 'x-talkwire': 'date' } }, required: ['since'] },
              },
            },
          },
        ],
        'x-talkwire': {
          input: {
            stream: false,
            optional: false,
            schema: { type: 'object', properties: { note: { type: 'string' }, amount: { type: 'number' } }, required: ['amount'] },
          },
          output: { stream: false, optional: false, schema: { type: 'string' } },
          errors: { Closed: { type: 'object', properties: { since: { 'x-talkwire': 'date' } }, required: ['since'] } },
          idempotent: true,
          oneway: false,
        },
      },
    ],
    'x-talkwire': { wire: 1, contract: 'bank/3', hash: 'abc', events: { overdrawn: { payload: { type: 'string' } } } },
  })
})

test('how params travel', async () => {
  const shape = async (input: z.ZodType | v.GenericSchema | undefined): Promise<string> => {
    const { paramStructure, params } = await method({ input })
    return `${paramStructure} ${params.map((one) => one.name + (one.required ? '' : '?')).join(' ')}`
  }
  assert.equal(await shape(undefined), 'by-position ')
  assert.equal(await shape(z.string()), 'by-position input')
  assert.equal(await shape(z.string().optional()), 'by-position input?')
  assert.equal(await shape(z.array(z.object({ a: z.string() }))), 'by-position input')
  assert.equal(await shape(z.date()), 'by-position input')
  assert.equal(await shape(z.map(z.string(), z.string())), 'by-position input')
  assert.equal(await shape(z.object({ b: z.string().optional(), a: z.string() })), 'by-name a b?')
  assert.equal(await shape(z.object({ a: z.string() }).optional()), 'by-name a?')
  assert.equal(await shape(z.object({})), 'by-name ')
  assert.equal(await shape(z.record(z.string(), z.number())), 'by-name ')
  assert.equal(
    await shape(z.discriminatedUnion('kind', [z.object({ kind: z.literal('a'), x: z.string() }), z.object({ kind: z.literal('b') })])),
    'by-name kind x?',
  )
  assert.equal(await shape(z.union([z.object({ a: z.string() }), z.string()])), 'either input')
  assert.equal(await shape(z.object({ a: z.string() }).nullable()), 'either input')
  assert.equal(await shape(v.unknown()), 'either input?')
  assert.equal(await shape(z.custom()), 'either input')
})

test('streams, oneway, nothing', async () => {
  const chat = await method({ input: stream(z.string()), output: stream(z.number()) })
  assert.deepEqual(chat.params, [])
  assert.deepEqual(chat.result, { name: 'result', required: true, schema: { type: 'null' } })
  assert.deepEqual(chat['x-talkwire']!.input, { stream: true, optional: false, schema: { type: 'string' } })
  assert.deepEqual(chat['x-talkwire']!.output, { stream: true, optional: false, schema: { type: 'number' } })
  const log = await method({ input: z.string(), oneway: true })
  assert.equal(log.result, undefined)
  assert.equal(log['x-talkwire']!.oneway, true)
  assert.deepEqual((await method({})).result!.schema, { type: 'null' })
})

test('several declared errors share the one entry that their code may have', async () => {
  const { errors } = await method({ errors: { Closed: z.null(), Frozen: z.string() } })
  assert.deepEqual(
    errors!.map(({ code, message }) => [code, message]),
    [[-32010, 'declared error: Closed, Frozen']],
  )
  assert.equal((errors![0]!.data as { oneOf: unknown[] }).oneOf.length, 2)
})

test('references lead to where the schema is in the document', async () => {
  const Tree = z.object({
    name: z.string(),
    get children() {
      return z.array(Tree)
    },
  })
  const document = await discover({
    plant: rpc({ input: Tree, output: z.object({ tree: Tree }), errors: { Rotten: Tree } }),
    fell: rpc({ output: stream(Tree) }),
    grown: event(Tree),
  })
  assert.deepEqual(
    document.methods[0]!.params.map((one) => one.name),
    ['name', 'children'],
  )
  assert.equal(Object.keys(document.components!.schemas).length, 5)
  assertRefs(document)
})

/** Each reference in the document has a target. */
function assertRefs(document: OpenRpcDocument): void {
  const plain = JSON.parse(JSON.stringify(document)) as unknown
  JSON.stringify(plain, (key, value: unknown) => {
    if (key !== '$ref' || typeof value !== 'string') return value
    let at = plain
    for (const token of value.slice(2).split('/'))
      at = (at as Record<string, unknown>)[decodeURIComponent(token).replaceAll('~1', '/').replaceAll('~0', '~')]
    assert.equal(typeof at, 'object', value)
    return value
  })
}

test('odd names of methods make distinct components', async () => {
  const Tree = z.object({
    get children() {
      return z.array(Tree)
    },
  })
  const document = await discover({ 'a/b': rpc({ input: Tree }), a_b: rpc({ input: Tree }), 'ä~': rpc({ input: Tree }) })
  assert.deepEqual(Object.keys(document.components!.schemas), ['a_b.input', 'a_b.input_2', '__.input'])
  assertRefs(document)
})

test('plain functions', () => {
  assert.deepEqual(
    openRpc({
      name: 'calc',
      functions: [
        { name: 'add', parameters: 2 },
        { name: 'greet', parameters: ['name'] },
        { name: 'now', parameters: 0 },
      ],
    }),
    {
      openrpc: '1.3.2',
      info: { title: 'calc', version: '0' },
      methods: [
        {
          name: 'add',
          paramStructure: 'by-position',
          params: [
            { name: 'arg1', required: false, schema: true },
            { name: 'arg2', required: false, schema: true },
          ],
          result: { name: 'result', required: false, schema: true },
        },
        {
          name: 'greet',
          paramStructure: 'by-position',
          params: [{ name: 'name', required: false, schema: true }],
          result: { name: 'result', required: false, schema: true },
        },
        { name: 'now', paramStructure: 'by-position', params: [], result: { name: 'result', required: false, schema: true } },
      ],
      'x-talkwire': { wire: 1, contract: null, events: {} },
    },
  )
})

test('fuzz: every description makes a document that survives JSON', () => {
  fc.assert(
    fc.property(anySchema, anySchema, (schema, payload) => {
      const value = { schema, stream: false, optional: false }
      const description: ContractDescription = {
        id: 'a/1',
        name: 'a',
        version: 1,
        methods: { call: { input: value, output: value, errors: { Bad: schema }, idempotent: false, oneway: false } },
        events: { said: { payload } },
        undescribed: [],
      }
      const document = openRpc(description)
      assert.deepEqual(JSON.parse(JSON.stringify(document)), document)
      const names = document.methods[0]!.params.map((one) => one.name)
      assert.equal(new Set(names).size, names.length)
    }),
    { numRuns: 500 },
  )
})

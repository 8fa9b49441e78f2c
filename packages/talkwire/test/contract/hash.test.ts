import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type } from 'arktype'
import fc from 'fast-check'
import * as v from 'valibot'
import * as z from 'zod'
import { contract, event, rpc, type Members } from '../../src/contract/contract.js'
import { contractHash } from '../../src/contract/hash.js'
import { jsonSchema, type ContractDescription } from '../../src/contract/json-schema.js'
import { anySchema, shuffled } from './schemas.js'

const hash = (members: Members): Promise<string> => contractHash(contract('bank/1', members))
const same = async (a: Members, b: Members): Promise<void> => assert.equal(await hash(a), await hash(b))
const differ = async (a: Members, b: Members): Promise<void> => assert.notEqual(await hash(a), await hash(b))

test('64 hex digits, equal for a contract and its description', async () => {
  const bank = contract('bank/1', { reset: rpc(), said: event(z.string()) })
  assert.match(await contractHash(bank), /^[0-9a-f]{64}$/)
  assert.equal(await contractHash(bank), await contractHash(await jsonSchema(bank)))
})

test('a known value, so that it stays the same from release to release', async () => {
  assert.equal(await hash({ reset: rpc() }), '0a4ac66db44f1a42a8e909edbfb92308faf1393a3edf9d12381a1011958bb2c5')
})

test('the order of writing does not matter', async () => {
  await same({ a: rpc(), b: rpc() }, { b: rpc(), a: rpc() })
  await same(
    { a: rpc({ input: z.object({ x: z.string(), y: z.number() }) }) },
    { a: rpc({ input: z.object({ y: z.number(), x: z.string() }) }) },
  )
  await same({ a: rpc({ input: v.picklist(['x', 'y']) }) }, { a: rpc({ input: v.picklist(['y', 'x']) }) })
  await same(
    { a: rpc({ input: z.union([z.object({ x: z.string() }), z.bigint()]) }) },
    { a: rpc({ input: z.union([z.bigint(), z.object({ x: z.string() })]) }) },
  )
  await same({ a: rpc({ errors: { A: z.null(), B: z.null() } }) }, { a: rpc({ errors: { B: z.null(), A: z.null() } }) })
})

test('nor the order of recursive types', async () => {
  const List = z.object({
    v: z.string(),
    get next() {
      return List.nullable()
    },
  })
  const Tree = z.object({
    get children() {
      return z.array(Tree)
    },
  })
  await same({ a: rpc({ input: z.object({ list: List, tree: Tree }) }) }, { a: rpc({ input: z.object({ tree: Tree, list: List }) }) })
  await differ({ a: rpc({ input: z.object({ list: List, tree: Tree }) }) }, { a: rpc({ input: z.object({ list: Tree, tree: List }) }) })
})

test('nor documentation, nor defaults', async () => {
  await same(
    { a: rpc({ input: z.object({ x: z.string() }) }) },
    { a: rpc({ input: z.object({ x: z.string().describe('the x') }).meta({ title: 'X' }) }) },
  )
  await same(
    { a: rpc({ input: v.object({ x: v.optional(v.string(), 'a') }) }) },
    { a: rpc({ input: v.object({ x: v.optional(v.string(), 'b') }) }) },
  )
})

test('libraries agree where they mean the same', async () => {
  const input = [
    z.object({ x: z.string(), y: z.number().optional() }),
    v.object({ x: v.string(), y: v.optional(v.number()) }),
    type({ 'y?': 'number', x: 'string' }),
  ]
  for (const one of input) await same({ a: rpc({ input: one }) }, { a: rpc({ input: input[0]! }) })
})

test('whatever travels matters', async () => {
  const some = { a: rpc({ input: z.object({ x: z.string() }) }) }
  await differ(some, { a: rpc({ input: z.object({ x: z.number() }) }) })
  await differ(some, { a: rpc({ input: z.object({ x: z.string().optional() }) }) })
  await differ(some, { a: rpc({ input: z.object({ x: z.string() }), idempotent: true }) })
  await differ(some, { a: rpc({ input: z.object({ x: z.string() }), errors: { Bad: z.null() } }) })
  await differ(some, { b: some.a })
  await differ({ a: rpc({ input: z.date() }) }, { a: rpc({ input: z.bigint() }) })
  await differ({ a: rpc({ input: z.map(z.string(), z.date()) }) }, { a: rpc({ input: z.map(z.string(), z.bigint()) }) })
  await differ({ a: event(z.string()) }, { a: rpc({ input: z.string() }) })
  assert.notEqual(await contractHash(contract('bank/1', some)), await contractHash(contract('bank/2', some)))
})

test('property names are no keywords', async () => {
  const of = (required: unknown): ContractDescription => ({
    id: 'a/1',
    name: 'a',
    version: 1,
    methods: {},
    events: { e: { payload: { const: { required } } } },
    undescribed: [],
  })
  assert.notEqual(await contractHash(of(['x', 'y'])), await contractHash(of(['y', 'x'])))
  await differ({ a: rpc({ input: z.object({ title: z.string() }) }) }, { a: rpc({ input: z.object({ description: z.string() }) }) })
})

test('fuzz: stable under any order of keys', async () => {
  await fc.assert(
    fc.asyncProperty(anySchema, fc.infiniteStream(fc.boolean()), async (schema, coins) => {
      const one: ContractDescription = {
        id: 'a/1',
        name: 'a',
        version: 1,
        methods: {},
        events: { e: { payload: schema }, f: { payload: {} } },
        undescribed: [],
      }
      const other = shuffled(one, () => coins.next().value as boolean) as ContractDescription
      assert.equal(await contractHash(one), await contractHash(other))
    }),
    { numRuns: 500 },
  )
})

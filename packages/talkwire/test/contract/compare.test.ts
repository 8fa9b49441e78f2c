import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type } from 'arktype'
import fc from 'fast-check'
import * as v from 'valibot'
import * as z from 'zod'
import { compareContracts } from '../../src/contract/compare.js'
import { verdictOf, type Verdict } from '../../src/contract/verdict.js'
import { contract, event, rpc, stream, type Members, type Rpc } from '../../src/contract/contract.js'
import { jsonSchema, type ContractDescription } from '../../src/contract/json-schema.js'
import { anySchema, shuffled } from './schemas.js'

const describe = (members: Members): Promise<ContractDescription> => jsonSchema(contract('bank/1', members))

type Row = [what: string, older: Members, newer: Members, oldClient: Verdict, newClient: Verdict, changes: string[]]
const call = (options: Parameters<typeof rpc<any, any, any, any>>[0]): Members => ({ call: rpc<any, any, any, any>(options) as Rpc })
const A = z.object({ a: z.string() })
const AB = z.object({ a: z.string(), b: z.string() })
const MaybeB = z.object({ a: z.string(), b: z.string().optional() })

/** Each row is tested both ways round: exchanging the versions exchanges old and new clients. */
const rows: Row[] = [
  ['method added', {}, call({}), 'works', 'breaks', ['call method-added']],
  ['event added', {}, { said: event(A) }, 'works', 'breaks', ['said event-added']],
  ['method becomes event', call({}), { call: event(A) }, 'breaks', 'breaks', ['call method-removed', 'call event-added']],
  ['documentation', call({ input: A }), call({ input: A.describe('an a') }), 'works', 'works', []],
  // input: the old client sends, the new service receives
  ['input: required property added', call({ input: A }), call({ input: AB }), 'breaks', 'works', ['call.input.b property-added']],
  ['input: optional property added', call({ input: A }), call({ input: MaybeB }), 'works', 'works', ['call.input.b property-added']],
  ['input: optional → required', call({ input: MaybeB }), call({ input: AB }), 'breaks', 'works', ['call.input.b property-required']],
  [
    'input: optional property added, strict',
    call({ input: z.strictObject({}) }),
    call({ input: z.strictObject({ a: z.string().optional() }) }),
    'works',
    'breaks',
    ['call.input.a property-added'],
  ],
  [
    'input: value added',
    call({ input: v.picklist(['a']) }),
    call({ input: v.picklist(['a', 'b']) }),
    'works',
    'breaks',
    ['call.input values-added'],
  ],
  [
    'input: nullable',
    call({ input: type('string') }),
    call({ input: type('string | null') }),
    'works',
    'breaks',
    ['call.input values-added'],
  ],
  [
    'input: narrower',
    call({ input: v.number() }),
    call({ input: v.pipe(v.number(), v.minValue(1)) }),
    'breaks',
    'works',
    ['call.input limit-changed'],
  ],
  ['input: another type', call({ input: z.date() }), call({ input: z.bigint() }), 'breaks', 'breaks', ['call.input type-changed']],
  ['input added', call({}), call({ input: A }), 'breaks', 'works', ['call.input input-added']],
  ['input added, optional', call({}), call({ input: A.optional() }), 'works', 'works', ['call.input input-added']],
  ['input optional → required', call({ input: A.optional() }), call({ input: A }), 'breaks', 'works', ['call.input input-required']],
  // output: the new service sends, the old client receives
  ['output: property added', call({ output: A }), call({ output: AB }), 'works', 'breaks', ['call.output.b property-added']],
  ['output: required → optional', call({ output: AB }), call({ output: MaybeB }), 'breaks', 'works', ['call.output.b property-optional']],
  [
    'output: property added, strict',
    call({ output: z.strictObject({}) }),
    call({ output: z.strictObject({ a: z.string().optional() }) }),
    'breaks',
    'works',
    ['call.output.a property-added'],
  ],
  [
    'output: value added',
    call({ output: v.picklist(['a']) }),
    call({ output: v.picklist(['a', 'b']) }),
    'breaks',
    'works',
    ['call.output values-added'],
  ],
  [
    'output: nullable',
    call({ output: type('string') }),
    call({ output: type('string | null') }),
    'breaks',
    'works',
    ['call.output values-added'],
  ],
  [
    'output: narrower',
    call({ output: v.number() }),
    call({ output: v.pipe(v.number(), v.minValue(1)) }),
    'works',
    'breaks',
    ['call.output limit-changed'],
  ],
  [
    'output: a type widened',
    call({ output: z.int() }),
    call({ output: z.int().or(z.string()) }),
    'breaks',
    'works',
    ['call.output alternative-added'],
  ],
  ['output added', call({}), call({ output: A }), 'works', 'breaks', ['call.output output-added']],
  ['output may be missing', call({ output: A }), call({ output: A.optional() }), 'breaks', 'works', ['call.output property-optional']],
  // streams
  ['input becomes a stream', call({ input: A }), call({ input: stream(A) }), 'breaks', 'breaks', ['call.input stream-changed']],
  ['output becomes a stream', call({ output: A }), call({ output: stream(A) }), 'breaks', 'breaks', ['call.output stream-changed']],
  [
    'stream out of nothing',
    call({}),
    call({ output: stream(A), input: stream(A) }),
    'breaks',
    'breaks',
    ['call.input stream-changed', 'call.output stream-changed'],
  ],
  ['input stream: items', call({ input: stream(A) }), call({ input: stream(AB) }), 'breaks', 'works', ['call.input[].b property-added']],
  [
    'output stream: items',
    call({ output: stream(A) }),
    call({ output: stream(AB) }),
    'works',
    'breaks',
    ['call.output[].b property-added'],
  ],
  // errors and events travel like outputs
  ['error added', call({}), call({ errors: { Closed: A } }), 'works', 'works', ['call.errors.Closed error-added']],
  [
    'error details',
    call({ errors: { Closed: A } }),
    call({ errors: { Closed: AB } }),
    'works',
    'breaks',
    ['call.errors.Closed.b property-added'],
  ],
  ['event payload', { said: event(A) }, { said: event(AB) }, 'works', 'breaks', ['said.payload.b property-added']],
  ['event payload, optional', { said: event(AB) }, { said: event(MaybeB) }, 'breaks', 'works', ['said.payload.b property-optional']],
  // flags
  ['no longer idempotent', call({ idempotent: true }), call({}), 'breaks', 'works', ['call idempotent-changed']],
  ['now oneway', call({}), call({ oneway: true }), 'unknown', 'works', ['call oneway-changed']],
  // what the libraries cannot say
  ['undescribed', call({ input: z.custom() }), call({ input: z.string() }), 'unknown', 'unknown', ['call.input cannot-tell']],
  ['undescribed on both sides', call({ input: z.custom() }), call({ input: z.custom() }), 'works', 'works', []],
]

for (const [what, older, newer, oldClient, newClient, expected] of rows) {
  test(what, async () => {
    const changes = compareContracts(await describe(older), await describe(newer))
    assert.deepEqual(
      changes.map((one) => `${one.path} ${one.kind}`),
      expected,
    )
    assert.deepEqual(verdictOf(changes), { oldClient, newClient })
    assert.deepEqual(
      verdictOf(compareContracts(await describe(newer), await describe(older))),
      { oldClient: newClient, newClient: oldClient },
      'the other way round',
    )
    assert.ok(changes.every((one) => one.message !== ''))
  })
}

test('one whole change, as it reads', async () => {
  assert.deepEqual(compareContracts(await describe(call({ input: A })), await describe(call({ input: AB }))), [
    { path: 'call.input.b', kind: 'property-added', oldClient: 'breaks', newClient: 'works', message: 'required property added' },
  ])
})

test('another number or name: nobody connects', async () => {
  for (const id of ['bank/2', 'shop/1']) {
    const changes = compareContracts(await describe({}), await jsonSchema(contract(id, {})))
    assert.deepEqual(
      changes.map((one) => [one.path, one.kind, one.oldClient, one.newClient]),
      [['', 'id-changed', 'breaks', 'breaks']],
    )
  }
})

test('a contract rewritten with another library is the same contract', async () => {
  const inputs = [
    z.object({ a: z.string(), n: z.array(z.number()).optional() }),
    v.object({ a: v.string(), n: v.optional(v.array(v.number())) }),
    type({ a: 'string', 'n?': 'number[]' }),
  ]
  for (const older of inputs)
    for (const newer of inputs)
      assert.deepEqual(compareContracts(await describe(call({ input: older })), await describe(call({ input: newer }))), [])
})

test('recursive types', async () => {
  const of = (value: z.ZodType): z.ZodType => {
    const Node: z.ZodType = z.object({
      value,
      get children() {
        return z.array(Node)
      },
    })
    return Node
  }
  assert.deepEqual(compareContracts(await describe(call({ input: of(z.string()) })), await describe(call({ input: of(z.string()) }))), [])
  const changes = compareContracts(await describe(call({ input: of(z.string()) })), await describe(call({ input: of(z.number()) })))
  assert.deepEqual(
    changes.map((one) => one.path),
    ['call.input.value'],
  )
})

test('descriptions that were stored as JSON compare as well', async () => {
  const bank = await describe({
    call: rpc({ input: AB, output: stream(A), errors: { Closed: z.date() } }),
    said: event(v.map(v.string(), v.bigint())),
  })
  assert.deepEqual(compareContracts(JSON.parse(JSON.stringify(bank)) as ContractDescription, bank), [])
})

test('fuzz: nothing changed when nothing changed', () => {
  const value = fc.option(fc.record({ schema: anySchema, stream: fc.boolean(), optional: fc.boolean() }))
  const method = fc.record({
    input: value,
    output: value,
    errors: fc.dictionary(fc.constantFrom('Bad', 'Worse'), anySchema),
    idempotent: fc.boolean(),
    oneway: fc.boolean(),
  })
  const description: fc.Arbitrary<ContractDescription> = fc.record({
    id: fc.constant('a/1'),
    name: fc.constant('a'),
    version: fc.constant(1),
    undescribed: fc.constant([]),
    methods: fc.dictionary(fc.string(), method, { maxKeys: 2 }),
    events: fc.dictionary(fc.string(), fc.record({ payload: anySchema }), { maxKeys: 2 }),
  })
  fc.assert(
    fc.property(description, description, fc.infiniteStream(fc.boolean()), (one, other, coins) => {
      assert.deepEqual(compareContracts(one, shuffled(one, () => coins.next().value as boolean) as ContractDescription), [])
      const there = verdictOf(compareContracts(one, other))
      const back = verdictOf(compareContracts(other, one))
      assert.deepEqual(back, { oldClient: there.newClient, newClient: there.oldClient })
    }),
    { numRuns: 200 },
  )
})

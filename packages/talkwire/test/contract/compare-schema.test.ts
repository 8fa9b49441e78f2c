import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { compareSchemas } from '../../src/contract/compare-schema.js'
import type { JsonSchema } from '../../src/contract/json-schema.js'
import { worst, type Verdict } from '../../src/contract/verdict.js'
import { anySchema, shuffled } from './schemas.js'

const object = (properties: Record<string, unknown>, required: string[] = [], more: JsonSchema = {}): JsonSchema => ({
  type: 'object',
  properties,
  required,
  ...more,
})
const S = { type: 'string' }
const N = { type: 'number' }
const I = { type: 'integer' }
const Z = { type: 'null' }
const B = { type: 'boolean' }
const kind = (value: string, more: Record<string, unknown> = {}): JsonSchema =>
  object({ kind: { const: value }, ...more }, ['kind', ...Object.keys(more)])

type Row = [what: string, older: JsonSchema, newer: JsonSchema, forward: Verdict, backward: Verdict, changes?: string[]]

/** Each row is tested both ways round: exchanging the schemas exchanges the verdicts. */
const rows: Row[] = [
  // properties
  ['optional property added', object({}), object({ a: S }), 'works', 'works', ['.a property-added']],
  ['required property added', object({}), object({ a: S }, ['a']), 'breaks', 'works', ['.a property-added']],
  ['required without a schema', object({}), object({}, ['a']), 'breaks', 'works', ['.a property-added']],
  [
    'optional property added to a strict object',
    object({}, [], { additionalProperties: false }),
    object({ a: S }, [], { additionalProperties: false }),
    'works',
    'breaks',
    ['.a property-added'],
  ],
  [
    'required property added to a strict object',
    object({}, [], { additionalProperties: false }),
    object({ a: S }, ['a'], { additionalProperties: false }),
    'breaks',
    'breaks',
    ['.a property-added'],
  ],
  [
    'property added where others had its type',
    object({}, [], { additionalProperties: S }),
    object({ a: S }, [], { additionalProperties: S }),
    'works',
    'works',
    ['.a property-added'],
  ],
  [
    'property added where others had another type',
    object({}, [], { additionalProperties: N }),
    object({ a: S }, [], { additionalProperties: N }),
    'breaks',
    'breaks',
    ['.a property-added'],
  ],
  [
    'property added where a pattern may mean it',
    object({}, [], { patternProperties: { '^a': N } }),
    object({ a: S }, [], { patternProperties: { '^a': N } }),
    'unknown',
    'unknown',
    ['.a property-added'],
  ],
  ['optional → required', object({ a: S }), object({ a: S }, ['a']), 'breaks', 'works', ['.a property-required']],
  ['property of another type', object({ a: S }), object({ a: N }), 'breaks', 'breaks', ['.a type-changed']],
  [
    'deep below',
    object({ a: object({ 'b c': object({ d: N }) }) }),
    object({ a: object({ 'b c': object({ d: I }) }) }),
    'breaks',
    'works',
    ['.a["b c"].d type-changed'],
  ],
  ['extras refused', object({ a: S }), object({ a: S }, [], { additionalProperties: false }), 'breaks', 'works', ['{} type-changed']],
  ['extras constrained', object({}), object({}, [], { additionalProperties: N }), 'breaks', 'works', ['{} type-changed']],
  [
    'extras of another type',
    object({}, [], { additionalProperties: N }),
    object({}, [], { additionalProperties: I }),
    'breaks',
    'works',
    ['{} type-changed'],
  ],
  ['extras allowed in words', object({}), object({}, [], { additionalProperties: {} }), 'works', 'works', []],
  ['pattern properties', object({}), object({}, [], { patternProperties: { '^x': S } }), 'unknown', 'unknown', [' cannot-tell']],
  [
    'names of a record',
    object({}, [], { propertyNames: S }),
    object({}, [], { propertyNames: { enum: ['a'] } }),
    'breaks',
    'works',
    [' names type-changed'],
  ],
  ['names that are strings anyway', object({}), object({}, [], { propertyNames: S }), 'works', 'works', []],
  ['more properties wanted', object({}), object({}, [], { minProperties: 1 }), 'breaks', 'works', [' limit-changed']],
  ['fewer properties allowed', object({}), object({}, [], { maxProperties: 3 }), 'breaks', 'works', [' limit-changed']],
  // types
  ['string → number', S, N, 'breaks', 'breaks', [' type-changed']],
  ['boolean → string', B, S, 'breaks', 'breaks', [' type-changed']],
  ['number → integer', N, I, 'breaks', 'works', [' type-changed']],
  ['number → integer with a limit', N, { ...I, minimum: 0 }, 'breaks', 'works', [' type-changed', ' limit-changed']],
  ['object → array', object({}), { type: 'array' }, 'breaks', 'breaks', [' type-changed']],
  ['anything → string', {}, S, 'breaks', 'works', [' type-changed']],
  ['anything → nothing', {}, { not: {} }, 'breaks', 'works', [' type-changed']],
  ['string → nothing', S, { enum: [] }, 'breaks', 'works', [' type-changed']],
  ['undescribed → string', { 'x-talkwire': 'undescribed' }, S, 'unknown', 'unknown', [' cannot-tell']],
  ['undescribed → nullable string', { 'x-talkwire': 'undescribed' }, { type: ['string', 'null'] }, 'unknown', 'unknown'],
  ['date → string', { 'x-talkwire': 'date' }, S, 'breaks', 'breaks', [' type-changed']],
  ['date → bigint', { 'x-talkwire': 'date' }, { 'x-talkwire': 'bigint' }, 'breaks', 'breaks', [' type-changed']],
  ['bigint → one bigint', { 'x-talkwire': 'bigint' }, { 'x-talkwire': 'bigint', 'x-value': '1' }, 'breaks', 'works', [' limit-changed']],
  [
    'one bigint → another',
    { 'x-talkwire': 'bigint', 'x-value': '2' },
    { 'x-talkwire': 'bigint', 'x-value': '1' },
    'breaks',
    'breaks',
    [' limit-changed'],
  ],
  [
    'bytes → floats',
    { 'x-talkwire': 'array', 'x-dtype': 'u1' },
    { 'x-talkwire': 'array', 'x-dtype': 'f8' },
    'breaks',
    'breaks',
    [' limit-changed'],
  ],
  [
    'values of a map',
    { 'x-talkwire': 'map', 'x-keys': S, 'x-values': N },
    { 'x-talkwire': 'map', 'x-keys': S, 'x-values': I },
    'breaks',
    'works',
    ['[] type-changed'],
  ],
  [
    'keys of a map',
    { 'x-talkwire': 'map', 'x-keys': S, 'x-values': N },
    { 'x-talkwire': 'map', 'x-keys': { enum: ['a'] }, 'x-values': N },
    'breaks',
    'works',
    [' keys type-changed'],
  ],
  // values
  ['value added', { enum: ['a', 'b'] }, { enum: ['a', 'b', 'c'] }, 'works', 'breaks', [' values-added']],
  ['value replaced', { enum: ['a', 'b'] }, { enum: ['a', 'c'] }, 'breaks', 'breaks', [' values-removed', ' values-added']],
  ['constant replaced', { const: 1 }, { const: 2 }, 'breaks', 'breaks', [' values-removed', ' values-added']],
  ['constant = enumeration of one', { const: 'a' }, { type: 'string', enum: ['a'] }, 'works', 'works', []],
  ['values in another order', { enum: ['a', 'b'] }, { enum: ['b', 'a'] }, 'works', 'works', []],
  ['values named one by one', { enum: ['a', 'b'] }, { anyOf: [{ const: 'b' }, { const: 'a' }] }, 'works', 'works', []],
  ['enumeration → string', { enum: ['a', 'b'] }, S, 'works', 'breaks', [' type-changed']],
  ['enumeration → string that is too short', { enum: ['abc'] }, { ...S, maxLength: 2 }, 'breaks', 'breaks', [' type-changed']],
  ['enumeration → string that fits', { enum: ['abc'] }, { ...S, maxLength: 3 }, 'works', 'breaks', [' type-changed']],
  ['enumeration → pattern', { enum: ['abc'] }, { ...S, pattern: '^a' }, 'unknown', 'breaks', [' type-changed']],
  ['numbers → range', { enum: [1, 5] }, { ...N, minimum: 2 }, 'breaks', 'breaks', [' alternative-added', ' values-removed']],
  ['values at the limits', { enum: [1, 5] }, { ...N, minimum: 1, maximum: 5 }, 'works', 'breaks', [' type-changed']],
  [
    'values at limits that are not included',
    { enum: [1, 3, 5] },
    { ...N, exclusiveMinimum: 1, exclusiveMaximum: 5 },
    'breaks',
    'breaks',
    [' alternative-added', ' values-removed'],
  ],
  [
    'values beyond the limits',
    { enum: [0, 3, 6] },
    { ...N, minimum: 1, maximum: 5 },
    'breaks',
    'breaks',
    [' alternative-added', ' values-removed'],
  ],
  ['texts at the limits', { enum: ['a', 'abc'] }, { ...S, minLength: 1, maxLength: 3 }, 'works', 'breaks', [' type-changed']],
  [
    'limits of other types do not count',
    { enum: [1] },
    { minLength: 3, maximum: 1, exclusiveMinimum: 0 },
    'works',
    'breaks',
    [' type-changed'],
  ],
  [
    'text and a limit of numbers',
    { enum: ['a'] },
    { minimum: 3, maximum: 1, exclusiveMinimum: 3, exclusiveMaximum: 1 },
    'works',
    'breaks',
    [' type-changed'],
  ],
  [
    'value and date',
    { enum: ['a', 'b'] },
    { anyOf: [{ 'x-talkwire': 'date' }, { const: 'a' }] },
    'breaks',
    'breaks',
    [' alternative-added', ' values-removed'],
  ],
  ['value → date', { const: 'a' }, { 'x-talkwire': 'date' }, 'breaks', 'breaks', [' type-changed']],
  ['structured values', { const: { a: 1, b: 2 } }, { const: { b: 2, a: 1 } }, 'works', 'works', []],
  ['values of another type are none', { type: 'string', enum: ['a', 1] }, { enum: ['a'] }, 'works', 'works', []],
  // null and unions
  ['nullable', S, { type: ['string', 'null'] }, 'works', 'breaks', [' values-added']],
  ['nullable, as a union', S, { anyOf: [S, Z] }, 'works', 'breaks', [' values-added']],
  ['nullable either way', { type: ['string', 'null'] }, { anyOf: [Z, S] }, 'works', 'works', []],
  ['alternative added', { anyOf: [S, N] }, { anyOf: [S, N, { type: 'array' }] }, 'works', 'breaks', [' alternative-added']],
  ['alternatives in another order', { anyOf: [object({ a: S }, ['a']), N] }, { anyOf: [N, object({ a: S }, ['a'])] }, 'works', 'works', []],
  [
    'one alternative changed',
    { anyOf: [object({ a: S }), N] },
    { anyOf: [object({ a: S, b: S }, ['b']), N] },
    'breaks',
    'works',
    ['<object>.b property-added'],
  ],
  [
    'one tagged alternative changed',
    { oneOf: [kind('a'), kind('b')] },
    { oneOf: [kind('b', { x: S }), kind('a')] },
    'breaks',
    'works',
    ['<kind="b">.x property-added'],
  ],
  ['tagged alternative added', { oneOf: [kind('a')] }, { oneOf: [kind('a'), kind('b')] }, 'works', 'breaks', [' alternative-added']],
  [
    'tag replaced',
    { oneOf: [kind('a'), kind('b')] },
    { oneOf: [kind('a'), kind('c')] },
    'breaks',
    'breaks',
    [' alternative-removed', ' alternative-added'],
  ],
  [
    'oneOf that may overlap',
    { oneOf: [object({ a: S }), object({ b: S })] },
    { oneOf: [object({ a: S }), object({ c: S })] },
    'unknown',
    'unknown',
    [' cannot-tell'],
  ],
  ['integer beside number', { anyOf: [I, N] }, { anyOf: [N, S] }, 'works', 'breaks'],
  [
    'what all alternatives share',
    { type: 'object', properties: { a: S }, required: ['a'], anyOf: [{ description: 'x' }] },
    object({ a: S }, ['a']),
    'works',
    'works',
    [],
  ],
  [
    'two alike, one removed',
    { anyOf: [object({ a: S }, ['a']), object({ b: S }, ['b'])] },
    object({ a: S }, ['a']),
    'breaks',
    'works',
    [' alternative-removed'],
  ],
  [
    'two numbers become one',
    {
      anyOf: [
        { ...N, maximum: 0 },
        { ...N, minimum: 5 },
      ],
    },
    N,
    'works',
    'breaks',
    ['<number> limit-changed'],
  ],
  [
    'oneOf of other types',
    { oneOf: [S, object({ a: S })] },
    { oneOf: [S, object({ a: N })] },
    'breaks',
    'breaks',
    ['<object>.a type-changed'],
  ],
  ['oneOf of marks', { oneOf: [{ 'x-talkwire': 'date' }, S] }, { oneOf: [{ 'x-talkwire': 'date' }, N] }, 'breaks', 'breaks'],
  [
    'both parts',
    { allOf: [object({ a: S }), object({ b: S })] },
    { allOf: [object({ a: S }), object({ b: N })] },
    'breaks',
    'breaks',
    ['.b type-changed'],
  ],
  [
    'another number of parts',
    { allOf: [object({ a: S })] },
    { allOf: [object({ a: S }), object({ b: N })] },
    'unknown',
    'unknown',
    [' cannot-tell'],
  ],
  // arrays
  ['items', { type: 'array', items: N }, { type: 'array', items: I }, 'breaks', 'works', ['[] type-changed']],
  ['items constrained', { type: 'array' }, { type: 'array', items: I }, 'breaks', 'works', ['[] type-changed']],
  ['longer at least', { type: 'array' }, { type: 'array', minItems: 1 }, 'breaks', 'works', [' limit-changed']],
  ['shorter at most', { type: 'array', maxItems: 9 }, { type: 'array', maxItems: 5 }, 'breaks', 'works', [' limit-changed']],
  ['unique', { type: 'array' }, { type: 'array', uniqueItems: true }, 'breaks', 'works', [' limit-changed']],
  ['not unique, in words', { type: 'array' }, { type: 'array', uniqueItems: false }, 'works', 'works', []],
  [
    'element of a tuple',
    { type: 'array', prefixItems: [S, N] },
    { type: 'array', prefixItems: [S, I] },
    'breaks',
    'works',
    ['[1] type-changed'],
  ],
  ['element added', { type: 'array', prefixItems: [S] }, { type: 'array', prefixItems: [S, N] }, 'works', 'works', ['[1] property-added']],
  [
    'element added to a strict tuple',
    { type: 'array', prefixItems: [S], items: false, minItems: 1 },
    { type: 'array', prefixItems: [S, N], items: false, minItems: 2 },
    'breaks',
    'breaks',
    ['[1] property-added', ' limit-changed'],
  ],
  [
    'element of another type than the rest',
    { type: 'array', prefixItems: [S], items: N },
    { type: 'array', prefixItems: [S, I], items: N },
    'breaks',
    'works',
    ['[1] property-added'],
  ],
  ['list → tuple', { type: 'array', items: S }, { type: 'array', items: S, prefixItems: [N] }, 'breaks', 'breaks', ['[0] property-added']],
  // limits
  ['longer text wanted', S, { ...S, minLength: 3 }, 'breaks', 'works', [' limit-changed']],
  ['minLength 0 is none', S, { ...S, minLength: 0 }, 'works', 'works', []],
  ['shorter text wanted', { ...S, maxLength: 9 }, { ...S, maxLength: 3 }, 'breaks', 'works', [' limit-changed']],
  ['pattern wanted', S, { ...S, pattern: 'a' }, 'breaks', 'works', [' limit-changed']],
  ['another pattern', { ...S, pattern: 'b' }, { ...S, pattern: 'a' }, 'unknown', 'unknown', [' cannot-tell']],
  ['format wanted', S, { ...S, format: 'email' }, 'breaks', 'works', [' limit-changed']],
  ['another format', { ...S, format: 'uri' }, { ...S, format: 'email' }, 'unknown', 'unknown', [' cannot-tell']],
  ['greater minimum', { ...N, minimum: 1 }, { ...N, minimum: 2 }, 'breaks', 'works', [' limit-changed']],
  ['smaller maximum', N, { ...N, maximum: 2 }, 'breaks', 'works', [' limit-changed']],
  ['limit no longer included', { ...N, minimum: 1 }, { ...N, exclusiveMinimum: 1 }, 'breaks', 'works', [' limit-changed']],
  ['upper limit no longer included', { ...N, maximum: 1 }, { ...N, exclusiveMaximum: 1 }, 'breaks', 'works', [' limit-changed']],
  ['the stricter of two limits counts', { ...N, minimum: 0, exclusiveMinimum: 5 }, { ...N, exclusiveMinimum: 5 }, 'works', 'works', []],
  [
    'moved range',
    { ...N, minimum: 0, maximum: 5 },
    { ...N, minimum: 1, maximum: 6 },
    'breaks',
    'breaks',
    [' limit-changed', ' limit-changed'],
  ],
  ['multiples', N, { ...N, multipleOf: 2 }, 'breaks', 'works', [' limit-changed']],
  ['fewer multiples', { ...N, multipleOf: 2 }, { ...N, multipleOf: 4 }, 'breaks', 'works', [' limit-changed']],
  ['other multiples', { ...N, multipleOf: 2 }, { ...N, multipleOf: 3 }, 'breaks', 'breaks', [' limit-changed']],
  [
    'limit not included, then included far away',
    { ...N, exclusiveMinimum: 0 },
    { ...N, minimum: 5 },
    'breaks',
    'works',
    [' limit-changed'],
  ],
  ['half a multiple', { ...N, multipleOf: 1 }, { ...N, multipleOf: 0.5 }, 'unknown', 'unknown', [' cannot-tell']],
  ['fractional multiples', { ...N, multipleOf: 0.1 }, { ...N, multipleOf: 0.2 }, 'unknown', 'unknown', [' cannot-tell']],
  // what does not matter, and what nobody can tell
  ['documentation', { ...S, title: 'a', description: 'b', examples: ['c'], deprecated: true }, S, 'works', 'works', []],
  ['keywords of another type', { ...S, minimum: 3, required: ['a'] }, S, 'works', 'works', []],
  ['default', { ...S, default: 'a' }, { ...S, default: 'b' }, 'works', 'works', [' default-changed']],
  ['unknown keyword', S, { ...S, 'x-roman': true }, 'unknown', 'unknown', [' cannot-tell']],
  ['contains', { type: 'array' }, { type: 'array', contains: S }, 'unknown', 'unknown', [' cannot-tell']],
  ['not', S, { ...S, not: { const: 'a' } }, 'unknown', 'unknown', [' cannot-tell']],
  ['constraint without a type', { minLength: 3 }, S, 'breaks', 'unknown', [' type-changed']],
  // references
  ['through a reference', { $ref: '#/$defs/a', $defs: { a: S } }, S, 'works', 'works', []],
  [
    'reference with other words',
    { $ref: '#/$defs/a', description: 'x', $defs: { a: S } },
    { $ref: '#/$defs/b', $defs: { b: N } },
    'breaks',
    'breaks',
    [' type-changed'],
  ],
  [
    'recursive, unchanged',
    object({ next: { anyOf: [{ $ref: '#' }, Z] } }),
    object({ next: { anyOf: [{ $ref: '#' }, Z] } }),
    'works',
    'works',
    [],
  ],
  [
    'recursive, changed once',
    object({ v: N, next: { $ref: '#' } }),
    object({ v: I, next: { $ref: '#' } }),
    'breaks',
    'works',
    ['.v type-changed'],
  ],
  ['recursive, unrolled', object({ next: { $ref: '#' } }), object({ next: object({ next: { $ref: '#' } }) }), 'works', 'works', []],
  ['reference to nowhere', { $ref: '#/$defs/none' }, S, 'unknown', 'unknown', [' cannot-tell']],
  ['reference to itself', { $ref: '#' }, S, 'unknown', 'unknown', [' cannot-tell']],
  ['reference elsewhere', { $ref: 'https://example.com/a' }, { $ref: 'https://example.com/b' }, 'unknown', 'unknown'],
]

const verdicts = (older: JsonSchema, newer: JsonSchema): [Verdict, Verdict] => {
  const changes = compareSchemas(older, newer)
  return [worst(changes.map((one) => one.forward)), worst(changes.map((one) => one.backward))]
}

for (const [what, older, newer, forward, backward, expected] of rows) {
  test(what, () => {
    assert.deepEqual(verdicts(older, newer), [forward, backward], 'as it stands')
    assert.deepEqual(verdicts(newer, older), [backward, forward], 'the other way round')
    if (expected)
      assert.deepEqual(
        compareSchemas(older, newer).map((one) => `${one.path} ${one.kind}`),
        expected,
      )
    assert.deepEqual(compareSchemas(older, structuredClone(older)), [])
  })
  // Inside an object, an array and a union the same holds.
  test(`${what}, inside`, () => {
    if ([older, newer].some((one) => JSON.stringify(one).includes('$ref'))) return
    const wrap = (inner: JsonSchema): JsonSchema => ({ type: 'array', items: object({ in: inner }) })
    assert.deepEqual(verdicts(wrap(older), wrap(newer)), [forward, backward])
  })
}

test('property names that objects have anyway', () => {
  for (const name of ['constructor', 'toString', 'hasOwnProperty', '__proto__']) {
    const changes = compareSchemas(object({}), object(Object.fromEntries([[name, S]]), [name]))
    assert.deepEqual(
      changes.map((one) => [one.path, one.kind]),
      [[`.${name}`, 'property-added']],
    )
  }
})

test('schemas that explode or never end', () => {
  const $defs = Object.fromEntries(
    Array.from({ length: 40 }, (_, i) => [`d${i}`, { anyOf: [{ $ref: `#/$defs/d${i + 1}` }, { $ref: `#/$defs/d${i + 1}` }] }]),
  )
  const bomb = { $ref: '#/$defs/d0', $defs: { ...$defs, d40: S } }
  assert.deepEqual(verdicts(bomb, S), ['unknown', 'unknown'])
  let deep: JsonSchema = S
  let other: JsonSchema = N
  for (let i = 0; i < 5000; i++) {
    deep = { type: 'array', items: deep }
    other = { type: 'array', items: other }
  }
  assert.doesNotThrow(() => compareSchemas({ ...deep, $defs: {} }, { ...other, $defs: {} }))
})

test('messages name both sides', () => {
  assert.deepEqual(
    compareSchemas(S, { anyOf: [N, B] }).map((one) => one.message),
    ['string → number | boolean'],
  )
  assert.deepEqual(
    compareSchemas({ enum: ['a', 'b'] }, { enum: ['a'] }).map((one) => one.message),
    ['no longer "b"'],
  )
  assert.deepEqual(
    compareSchemas({ enum: Array.from({ length: 12 }, (_, i) => i) }, { enum: [0] }).map((one) => one.message),
    ['no longer 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 1 more'],
  )
  assert.deepEqual(
    compareSchemas({ enum: ['a', 'b', 'c'] }, N).map((one) => one.message),
    ['"a" | "b" | "c" → number'],
  )
  assert.deepEqual(
    compareSchemas(N, { ...N, minimum: 3 }).map((one) => one.message),
    ['minimum none → 3'],
  )
})

test('fuzz: nothing changed when nothing changed, in whatever order it is written', () => {
  fc.assert(
    fc.property(anySchema, fc.infiniteStream(fc.boolean()), (schema, coins) => {
      assert.deepEqual(compareSchemas(schema, schema), [])
      assert.deepEqual(compareSchemas(schema, shuffled(schema, () => coins.next().value as boolean) as JsonSchema), [])
    }),
    { numRuns: 1000 },
  )
})

test('fuzz: any two schemas compare without an exception, and the same seen from both sides', () => {
  fc.assert(
    fc.property(anySchema, anySchema, (older, newer) => {
      const [forward, backward] = verdicts(older, newer)
      assert.deepEqual(verdicts(newer, older), [backward, forward])
    }),
    { numRuns: 1000 },
  )
})

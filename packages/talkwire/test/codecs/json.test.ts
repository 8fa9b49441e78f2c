import assert from 'node:assert/strict'
import { test } from 'node:test'
import { contextOf, encode, decode } from '../../compliance/codec.js'
import { testCodec } from '../../compliance/index.js'
import { ndarray } from '../../src/codecs/codec.js'
import { hasMoreValues, json } from '../../src/codecs/json.js'
import { fails } from '../helpers/expect.js'
import { anyCodecProperty } from '../helpers/properties.js'

const text = (value: string): Buffer => Buffer.from(value)
const tagged = (tag: string, content: string): { name: string; bytes: Buffer } => ({
  name: `${tag} ${content}`,
  bytes: text(`[{"${tag}":${content}}]`),
})

testCodec({
  test,
  codec: json,
  loneSurrogates: true,
  raw: {
    nested: (containers, what) =>
      text(
        what === 'array'
          ? '['.repeat(containers) + '1' + ']'.repeat(containers)
          : '{"a":'.repeat(containers) + '1' + '}'.repeat(containers),
      ),
    array: (items) => text(`[${items.join()}]`),
    object: (entries) => text(`{${entries.map(([key, value]) => `${JSON.stringify(key)}:${value.toString()}`).join()}}`),
    one: text('1'),
    attachment: (index) => text(`{"$bin":[${index}]}`),
    reference: (id) => text(`{"$ref":[${id}]}`),
  },
  invalid: [
    ...[
      '',
      ' ',
      'nul',
      'NaN',
      'undefined',
      '{a:1}',
      "{'a':1}",
      '[1,]',
      '{"a":1,}',
      '01',
      '1.',
      '.5',
      '+1',
      '"\n"',
      '"\\x"',
      '[1',
      '{"a"',
      '\u00a0[]',
      '\ufeff{}',
      '// x\n1',
      '{"a":1}{"b":2}',
    ].map((each) => ({ name: JSON.stringify(each), bytes: text(each) })),
    tagged('$foo', '1'),
    tagged('$', '1'),
    tagged('$Number', '"NaN"'),
    tagged('$__proto__', '{"polluted":1}'),
    tagged('$number', '"1"'),
    tagged('$number', '5'),
    tagged('$number', '"0"'),
    tagged('$number', 'null'),
    tagged('$number', '["NaN"]'),
    tagged('$undefined', '1'),
    tagged('$undefined', 'null'),
    tagged('$undefined', '{"a":1}'),
    tagged('$bigint', '12'),
    tagged('$bigint', '""'),
    tagged('$bigint', '"-"'),
    tagged('$bigint', '"1.5"'),
    tagged('$bigint', '"0x10"'),
    tagged('$bigint', '" 1"'),
    tagged('$bigint', '"1n"'),
    tagged('$bigint', '["1"]'),
    tagged('$date', '"2020"'),
    tagged('$date', 'null'),
    tagged('$date', '1e300'),
    tagged('$date', '8640000000000001'),
    tagged('$date', '[1]'),
    tagged('$map', '{}'),
    tagged('$map', '[1]'),
    tagged('$map', '[[1]]'),
    tagged('$map', '[[1,2,3]]'),
    tagged('$map', 'null'),
    tagged('$map', '[{"0":1,"1":2,"length":2}]'),
    tagged('$set', '{}'),
    tagged('$set', '"abc"'),
    tagged('$set', 'null'),
    tagged('$ref', '1'),
    tagged('$ref', '["1"]'),
    tagged('$ref', '[1.5]'),
    tagged('$ref', '[1,"a"]'),
    tagged('$ref', '[1,[2]]'),
    tagged('$ref', '[]'),
    tagged('$own', '"1"'),
    tagged('$own', '[1]'),
    tagged('$own', 'null'),
    tagged('$own', '5'),
    ...[
      '0',
      '[]',
      '["0"]',
      '[-1]',
      '[0.5]',
      '[1]',
      '[0,"u3"]',
      '[0,"toString"]',
      '[0,"u1","3"]',
      '[0,"u1",[2]]',
      '[0,"u1",[-1,-3]]',
      '[0,"u1",[1.5,2]]',
      '[0,"u1",[1e308,1e308]]',
      '[0,"u1",{"length":0}]',
      '[0,"u2"]',
      '[0,"f8"]',
      '[0,5]',
      '[[0]]',
      '["length"]',
    ].map((content) => ({ ...tagged('$bin', content), attachments: [new Uint8Array(3)] })),
    { name: 'a shape of 33 dimensions', bytes: text(`{"$bin":[0,"u1",[${'1,'.repeat(32)}3]]}`), attachments: [new Uint8Array(3)] },
    {
      name: 'a deep shape',
      bytes: text(`{"$bin":[0,"u1",${'['.repeat(100_000)}${']'.repeat(100_000)}]}`),
      attachments: [new Uint8Array(3)],
    },
    { name: 'a deep Map', bytes: text('{"$map":[[1,'.repeat(100_000) + '1' + ']]}'.repeat(100_000)), code: 'TOO_DEEP' },
    { name: 'a deep escape', bytes: text('{"$$a":'.repeat(100_000) + '1' + '}'.repeat(100_000)), code: 'TOO_DEEP' },
    { name: 'a forbidden key under an escape', bytes: text('{"$$a":{"__proto__":{"polluted":1}}}'), code: 'FORBIDDEN_KEY' },
    { name: 'a forbidden key in a Map', bytes: text('{"$map":[[1,{"__proto__":{"polluted":1}}]]}'), code: 'FORBIDDEN_KEY' },
    { name: 'a key escaped for JSON', bytes: text('{"\\u005f_proto__":{"polluted":1}}'), code: 'FORBIDDEN_KEY' },
    { name: 'constructor that becomes an object', bytes: text('{"a":1,"constructor":{"$map":[]}}'), code: 'FORBIDDEN_KEY' },
    { name: 'a bigint of a million digits', bytes: text(`{"$bigint":"${'9'.repeat(1_000_000)}"}`) },
  ],
})

anyCodecProperty(json)

const plain = contextOf({ extended: false, binary: false })
const printed = (value: unknown, context = contextOf()): string => encode(json, value, context).bytes.toString()

test('json: the text is the one that the specification shows', () => {
  const cases: [unknown, string][] = [
    [NaN, '{"$number":"NaN"}'],
    [-0, '{"$number":"-0"}'],
    [Infinity, '{"$number":"Infinity"}'],
    [-Infinity, '{"$number":"-Infinity"}'],
    [undefined, '{"$undefined":0}'],
    [-12n, '{"$bigint":"-12"}'],
    [new Date(1_700_000_000_000), '{"$date":1700000000000}'],
    [new Map([[1, 2]]), '{"$map":[[1,2]]}'],
    [new Set([1]), '{"$set":[1]}'],
    [new Uint8Array(3), '{"$bin":[0]}'],
    [new Float64Array(3), '{"$bin":[0,"f8"]}'],
    [ndarray(new Uint8Array(6), [2, 3]), '{"$bin":[0,"u1",[2,3]]}'],
    [[new Uint8Array(1), new Uint8Array(1)], '[{"$bin":[0]},{"$bin":[1]}]'],
    [{ $a: 1 }, '{"$$a":1}'],
    [{ $a: 1, b: 2 }, '{"$a":1,"b":2}'],
  ]
  for (const [value, expected] of cases) assert.equal(printed(value), expected)
})

test('json: a plain peer gets what plain JSON can say', () => {
  const cases: [unknown, unknown][] = [
    [NaN, null],
    [-0, 0],
    [Infinity, null],
    [undefined, null],
    [[undefined], [null]],
    [{ a: undefined, b: 1 }, { b: 1 }],
    [-12n, '-12'],
    [new Date(0), '1970-01-01T00:00:00.000Z'],
    [
      new Map<unknown, unknown>([
        ['a', 1],
        [2, new Set([3n])],
      ]),
      { a: 1, 2: ['3'] },
    ],
    [new Set([1, 2]), [1, 2]],
    [new Uint8Array([1, 2, 3]), 'AQID'],
    [new Uint16Array([258]), 'AgE='],
    [{ $a: { $b: 1 } }, { $a: { $b: 1 } }],
  ]
  for (const [value, expected] of cases) {
    for (const [sent, arrives] of [
      [value, expected],
      [{ it: value, n: 1n }, value === undefined ? { n: '1' } : { it: expected, n: '1' }],
    ])
      assert.deepEqual(JSON.parse(printed(sent, plain)), arrives)
  }
  for (const value of [() => 1, Symbol('x'), { a: () => 1 }, new Date(NaN), [1, { b: /x/ }]])
    assert.throws(() => printed(value, plain), TypeError)
  assert.throws(() => printed(new Map([['__proto__', {}]]), plain), fails('FORBIDDEN_KEY'))
})

test("json: a plain peer's $ keys are its own business", () => {
  const value = { $number: 'NaN', deep: [{ $foo: 1 }, { $bin: [7] }] }
  assert.deepEqual(decode(json, { bytes: text(JSON.stringify(value)), attachments: [] }, plain), value)
  assert.throws(() => decode(json, { bytes: text('{"a":{"__proto__":{}}}'), attachments: [] }, plain), fails('FORBIDDEN_KEY'))
  assert.throws(() => decode(json, { bytes: text('['.repeat(64) + ']'.repeat(64)), attachments: [] }, plain), fails('TOO_DEEP'))
})

test('json: without binary, typed arrays are refused and say what helps', () => {
  assert.throws(() => encode(json, new Uint8Array(1), contextOf({ binary: false })), fails('UNSUPPORTED'))
})

test('json: more attachments than an envelope holds are refused', () => {
  const many = Array.from({ length: 65_536 }, () => new Uint8Array(1))
  assert.throws(() => encode(json, many), TypeError)
  assert.equal(encode(json, many.slice(1)).attachments.length, 65_535)
})

test('values are counted before they are parsed: at a limit, and past everything that looks like one in a string', () => {
  const more = (content: string, most: number): boolean => {
    const bytes = text(`xx${content}xx`)
    return hasMoreValues(bytes, 2, bytes.length - 2, most)
  }
  const list = (count: number): string => `[${Array.from({ length: count }, () => 100).join()}]`
  assert.deepEqual(
    [99, 100, 101].map((count) => more(list(count), 100)),
    [false, false, true],
  )
  assert.equal(more(`[${'{"a":1,"b":2},'.repeat(50)}1]`, 149), true)
  assert.equal(more(`[${'{"a":1,"b":2},'.repeat(50)}1]`, 151), false)
  // 1 value, whatever the string holds and however long it is.
  for (const inside of [
    '[{,'.repeat(500),
    '\\"[,'.repeat(500),
    '\\\\'.repeat(500),
    `${'x'.repeat(40)}\\\\\\",,,`,
    '"'.repeat(0),
    'é,'.repeat(300),
  ])
    for (const before of ['', 'y'.repeat(31), 'y'.repeat(33)]) assert.equal(more(`["${before}${inside}"]`, 2), false, inside.slice(0, 20))
  assert.equal(more('["' + 'x'.repeat(50) + '\\\\",1,2,3]', 3), true)
  // Unclosed: the parser will say so.
  assert.equal(more('["' + ','.repeat(500), 2), false)
})

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { contextOf, decode, encode } from '../../compliance/codec.js'
import { testCodec } from '../../compliance/index.js'
import { ndarray } from '../../src/codecs/codec.js'
import { msgpack } from '../../src/codecs/msgpack.js'
import { fails } from '../helpers/expect.js'
import { anyCodecProperty } from '../helpers/properties.js'

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex')

function head(small: number, smallMost: number, wide: number, length: number): Buffer {
  if (length <= smallMost) return Buffer.from([small | length])
  return Buffer.from([wide + 1, length >>> 24, length >>> 16, length >>> 8, length])
}
const key = (text: string): Buffer => {
  const bytes = Buffer.from(text)
  return Buffer.concat([head(0xa0, 31, 0xda, bytes.length), bytes])
}
const array = (items: readonly Buffer[]): Buffer => Buffer.concat([head(0x90, 15, 0xdc, items.length), ...items])
const ext = (type: number, body: Buffer): Buffer =>
  Buffer.concat([Buffer.from([0xc9, body.length >>> 24, body.length >>> 16, body.length >>> 8, body.length, type & 255]), body])

/** `levels` of something whose length is known at every level: built from the inside, in one buffer. */
function nestedExt(levels: number, type: number): Buffer {
  // ext 32, type, array of one: seven bytes a level.
  const bytes = Buffer.alloc(levels * 7 + 1, 1)
  for (let level = 0; level < levels; level++) {
    const at = level * 7
    bytes[at] = 0xc9
    bytes.writeUInt32BE(bytes.length - at - 6, at + 1)
    bytes[at + 5] = type
    bytes[at + 6] = 0x91
  }
  return bytes
}

const three = { attachments: [new Uint8Array(3)] }
testCodec({
  test,
  codec: msgpack,
  loneSurrogates: false,
  raw: {
    nested: (containers, what) =>
      Buffer.concat([what === 'array' ? Buffer.alloc(containers, 0x91) : Buffer.from('81a161'.repeat(containers), 'hex'), hex('01')]),
    array,
    object: (entries) =>
      Buffer.concat([head(0x80, 15, 0xde, entries.length), ...entries.map(([name, value]) => Buffer.concat([key(name), value]))]),
    one: hex('01'),
    attachment: (index) => ext(5, Buffer.concat([hex('92'), Buffer.from([index]), key('u1')])),
    reference: (id) => ext(6, Buffer.from([0x91, id])),
  },
  invalid: [
    ...['', 'c1', '91', 'd9', 'da00', 'a1', '81', '81a161', 'cb00', 'd4', 'd400', 'c7', 'c70100'].map((each) => ({
      name: each || 'nothing',
      bytes: hex(each),
    })),
    // Counts and lengths of 2^32 − 1, alone and inside others.
    ...['ddffffffff', 'dfffffffff', 'dbffffffff', 'c6ffffffff', 'c9ffffffff01', 'dcffff', 'deffff', 'daffff', 'c5ffff', 'c8ffff01'].flatMap(
      (each) =>
        [each, `${each}01`, `92 01 ${each}`, `81a161 ${each}`, `${each} ${'01'.repeat(1000)}`].map((bytes) => ({
          name: bytes.slice(0, 24),
          bytes: hex(bytes),
        })),
    ),
    { name: 'counts that multiply', bytes: hex(`${'dd000000ff'.repeat(50)}${'c0'.repeat(255)}`) },
    { name: 'a million map heads as keys', bytes: Buffer.alloc(1_000_000, 0x81), code: 'TOO_DEEP' },
    { name: 'maps as keys', bytes: Buffer.concat([Buffer.alloc(100_000, 0x81), Buffer.alloc(100_001, 1)]), code: 'TOO_DEEP' },
    { name: 'an array as a key', bytes: hex('81 90 01') },
    { name: 'a nil as a key', bytes: hex('81 c0 01') },
    { name: 'a deep Map', bytes: nestedExt(100_000, 2), code: 'TOO_DEEP' },
    { name: 'a deep Set', bytes: nestedExt(100_000, 3), code: 'TOO_DEEP' },
    ...[5, 6].map((type) => ({ name: `a deep ext ${type}`, bytes: nestedExt(100_000, type) })),
    { name: 'a deep ext 7', bytes: Buffer.concat([hex('c7 08 07'), Buffer.alloc(8, 0x91)]) },
    ...[8, 9, 100, 0x7f, 0x80, 0xfe].map((type) => ({ name: `ext ${type}`, bytes: ext(type, hex('00')) })),
    ...['', '01', '0000', 'c0'].map((each) => ({ name: `undefined as ${each || 'nothing'}`, bytes: ext(0, hex(each)) })),
    ...['', '2d', '31 2e 35', '20 31', '30 78 31', '31 6e', 'ff'].map((each) => ({
      name: `bigint as ${each || 'nothing'}`,
      bytes: ext(1, hex(each)),
    })),
    { name: 'a bigint of a million digits', bytes: ext(1, Buffer.alloc(1_000_000, 0x39)) },
    ...['', '91 01', '01', '92 01', '92 01 02 03', '80', '93 01 02 03'].map((each) => ({
      name: `Map as ${each || 'nothing'}`,
      bytes: ext(2, hex(each)),
    })),
    ...['', '01', '91', '91 01 02', 'a0'].map((each) => ({ name: `Set as ${each || 'nothing'}`, bytes: ext(3, hex(each)) })),
    ...[
      '',
      '00',
      '0b ff',
      'ff ff',
      '02 ff 01',
      '09 ff 01',
      '00 01 00 00 00 02 01',
      '00 01 00 00',
      '00 fe',
      '00 02 ff ff ff ff ff ff ff ff 01',
      `00 21 ${'00000001'.repeat(33)} 01`,
    ].map((each) => ({ name: `array as ${each.slice(0, 20) || 'nothing'}`, bytes: ext(4, hex(each)) })),
    ...[
      '',
      '00',
      '90',
      '91 01',
      '92 00 a2 75 33',
      '92 00 05',
      '93 00 a2 75 31 91 02',
      '93 00 a2 75 31 01',
      '92 00 a2 75 32',
      '91 a1 30',
      '91 ff',
      '91 cb 3f e0 00 00 00 00 00 00',
      '91 91 00',
      '93 00 a2 75 31 91 a1 33',
    ].map((each) => ({ name: `attachment as ${each || 'nothing'}`, bytes: ext(5, hex(each)), ...three })),
    ...['', '01', '90', '91 a1 31', '92 01 a1 61', '92 01 91 02', '91 c0'].map((each) => ({
      name: `reference as ${each || 'nothing'}`,
      bytes: ext(6, hex(each)),
    })),
    ...['', 'a1 31', 'c0', '05', '91 01'].map((each) => ({ name: `own as ${each || 'nothing'}`, bytes: ext(7, hex(each)) })),
    ...['', '00', '0000000000', '00000000 7fffffffffffffff', '00000000 8000000000000000'].map((each) => ({
      name: `timestamp of ${each || 'nothing'}`,
      bytes: ext(255, hex(each)),
    })),
    {
      name: 'a forbidden key in a Map',
      bytes: ext(2, Buffer.concat([hex('92 01'), hex('81'), key('__proto__'), hex('80')])),
      code: 'FORBIDDEN_KEY',
    },
    {
      name: 'constructor that becomes an object',
      bytes: Buffer.concat([hex('81'), key('constructor'), ext(2, hex('90'))]),
      code: 'FORBIDDEN_KEY',
    },
    {
      name: 'a forbidden key written as str 16',
      bytes: Buffer.concat([hex('81 da 0009'), Buffer.from('__proto__'), hex('80')]),
      code: 'FORBIDDEN_KEY',
    },
    {
      name: 'a forbidden key written as str 32',
      bytes: Buffer.concat([hex('81 db 00000009'), Buffer.from('__proto__'), hex('80')]),
      code: 'FORBIDDEN_KEY',
    },
  ],
})

anyCodecProperty(msgpack)

test('msgpack: the bytes are the shortest that MessagePack has', () => {
  const cases: [unknown, string][] = [
    [0, '00'],
    [127, '7f'],
    [128, 'cc80'],
    [255, 'ccff'],
    [256, 'cd0100'],
    [65_535, 'cdffff'],
    [65_536, 'ce00010000'],
    [-1, 'ff'],
    [-32, 'e0'],
    [2 ** 32, 'cf0000000100000000'],
    [2 ** 53 - 1, 'cf001fffffffffffff'],
    [-0, 'cb8000000000000000'],
    [1.5, 'cb3ff8000000000000'],
    [NaN, 'cb7ff8000000000000'],
    [2 ** 53, 'cb4340000000000000'],
    [null, 'c0'],
    [false, 'c2'],
    [true, 'c3'],
    ['a', 'a161'],
    ['x'.repeat(32), `d920${'78'.repeat(32)}`],
    ['ä', 'a2c3a4'],
    [undefined, 'd40000'],
    [-12n, 'c703012d3132'],
    [new Date(0), 'c70cff000000000000000000000000'],
    [[1, 2], '920102'],
    [{ a: 1 }, '81a16101'],
    [{ a: undefined }, '80'],
    [{ $a: 1 }, '81a2246101'],
    [new Uint8Array([1, 2]), 'c4020102'],
    [new Map([[1, 2]]), 'c70302920102'],
    [new Set([1]), 'c702039101'],
    [new Uint16Array([258]), 'c7040402ff0201'],
    [ndarray(new Uint8Array([7]), [1, 1]), 'c70b0400020000000100000001' + '07'],
  ]
  for (const [value, expected] of cases) assert.equal(encode(msgpack, value).bytes.toString('hex'), expected)
})

test('msgpack: every form of MessagePack that means a value is read', () => {
  const cases: [string, unknown][] = [
    ['ca3fc00000', 1.5],
    ['ccff', 255],
    ['cd0001', 1],
    ['ce00000001', 1],
    ['cf0000000000000001', 1],
    ['d0ff', -1],
    ['d1ffff', -1],
    ['d2ffffffff', -1],
    ['d3ffffffffffffffff', -1],
    ['cf0020000000000000', 2n ** 53n],
    ['cfffffffffffffffff', 2n ** 64n - 1n],
    ['d38000000000000000', -(2n ** 63n)],
    ['d3ffdfffffffffffff', -(2n ** 53n) - 1n],
    ['d3ffe0000000000001', -(2 ** 53) + 1],
    ['d90161', 'a'],
    ['da000161', 'a'],
    ['db0000000161', 'a'],
    ['c40101', new Uint8Array([1])],
    ['c5000101', new Uint8Array([1])],
    ['c60000000101', new Uint8Array([1])],
    ['dc000101', [1]],
    ['dd0000000101', [1]],
    ['de0001a16101', { a: 1 }],
    ['df00000001a16101', { a: 1 }],
    ['810102', { 1: 2 }],
    ['81c302', { true: 2 }],
    ['d6ff00000001', new Date(1000)],
    ['d7ff0000000000000001', new Date(1000)],
    ['c70cff000f424000000000000003e8', new Date(1_000_001)],
    ['d7ff003d090000000001', new Date(1001)],
  ]
  for (const [bytes, expected] of cases) assert.deepStrictEqual(decode(msgpack, { bytes: hex(bytes), attachments: [] }), expected, bytes)
})

test('msgpack: extensions need a hello, dates do not', () => {
  const plain = contextOf({ extended: false })
  for (const value of [undefined, 1n, new Map(), new Set()])
    assert.throws(() => decode(msgpack, encode(msgpack, value), plain), fails('INVALID_MESSAGE'))
  assert.deepEqual(decode(msgpack, encode(msgpack, new Date(5)), plain), new Date(5))
})

test('msgpack: what is above 4096 bytes travels beside the message, up to what an envelope holds', () => {
  assert.equal(encode(msgpack, new Uint8Array(4096)).attachments.length, 0)
  assert.equal(encode(msgpack, new Uint8Array(4097)).attachments.length, 1)
  assert.equal(encode(msgpack, new Float64Array(513)).attachments.length, 1)
  const many = Array.from({ length: 65_537 }, () => new Uint8Array(4097))
  const { bytes, attachments } = encode(msgpack, many)
  assert.equal(attachments.length, 65_535)
  assert.equal((decode(msgpack, { bytes, attachments }) as unknown[]).length, 65_537)
})

test('no more values than the limit are read, in arrays, maps, Maps and Sets', () => {
  const context = contextOf({ values: 100 })
  for (const value of [
    (count: number) => Array.from({ length: count }, () => 1),
    (count: number) => Array.from({ length: count }, () => []),
    (count: number) => Object.fromEntries(Array.from({ length: count }, (_, index) => [`k${index}`, 1])),
    (count: number) => new Set(Array.from({ length: count }, (_, index) => index)),
    (count: number) => new Map(Array.from({ length: count / 2 }, (_, index) => [index, 1])),
    (count: number) => [Array.from({ length: count / 2 - 1 }, () => 1), Array.from({ length: count / 2 - 1 }, () => 1)],
  ]) {
    decode(msgpack, encode(msgpack, value(100)), context)
    assert.throws(() => decode(msgpack, encode(msgpack, value(102)), context), fails('LIMIT_EXCEEDED'))
  }
  decode(msgpack, encode(msgpack, new Float64Array(1000)), context)
})

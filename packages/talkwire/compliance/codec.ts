/**
 * What every codec promises (src/codecs/codec.ts, spec/wire.md § 5), as tests:
 *
 *   testCodec({ test, codec: json, raw: { … }, invalid: [ … ] })
 *
 * `raw` writes by hand what an honest encoder never would; `invalid` lists payloads that are wrong in the codec's own ways.
 */
import assert from 'node:assert/strict'
import {
  DEPTH,
  ndarray,
  shapeOf,
  type Codec,
  type CodecContext,
  type ReferenceDescriptor,
  type References,
  type TypedArray,
} from '../src/codecs/codec.js'
import { Writer } from '../src/codecs/writer.js'
import { TalkwireError } from '../src/error.js'
import { Random } from './random.js'
import type { Test } from './transport.js'

export interface RawWriter {
  /** So many arrays, or objects, inside each other. */
  nested(containers: number, what: 'array' | 'object'): Buffer
  array(items: readonly Buffer[]): Buffer
  object(entries: readonly (readonly [key: string, value: Buffer])[]): Buffer
  readonly one: Buffer
  attachment(index: number): Buffer
  reference(id: number): Buffer
}

export interface InvalidPayload {
  readonly name: string
  readonly bytes: Uint8Array
  readonly attachments?: readonly Uint8Array[]
  /** Default INVALID_MESSAGE. */
  readonly code?: 'INVALID_MESSAGE' | 'TOO_DEEP' | 'FORBIDDEN_KEY'
}

export interface CodecSuite {
  readonly test: Test
  readonly codec: Codec
  readonly raw: RawWriter
  readonly invalid: readonly InvalidPayload[]
  /** Whether a lone surrogate survives; else it becomes U+FFFD. */
  readonly loneSurrogates: boolean
}

/** A stand-in for the session's references: functions have numbers, and come back as what `import` made of them. */
class Numbered implements References {
  readonly exported: unknown[] = []
  readonly imported: ReferenceDescriptor[] = []
  readonly home = (id: number): unknown => {
    if (!(id in this.exported)) throw new TalkwireError('INVALID_MESSAGE', 'not ours')
    return this.exported[id]
  }
  export(value: unknown): { ref: ReferenceDescriptor } | { own: number } | undefined {
    if (typeof value !== 'function') return undefined
    if ('own' in value) return { own: value.own as number }
    const id = this.exported.push(value) - 1
    return { ref: 'methods' in value ? [id, value.methods as string[]] : [id] }
  }
  import(descriptor: ReferenceDescriptor): unknown {
    this.imported.push(descriptor)
    return Object.assign(() => {}, { id: descriptor[0] })
  }
}

export const contextOf = (overrides: Partial<CodecContext> = {}): CodecContext => ({
  depth: DEPTH,
  extended: true,
  binary: true,
  references: undefined,
  ...overrides,
})

interface Encoded {
  readonly bytes: Buffer
  readonly attachments: readonly Uint8Array[]
}

/** Written behind other bytes, as in a turn of many messages. */
export function encode(codec: Codec, value: unknown, context = contextOf()): Encoded {
  const writer = new Writer(64)
  writer.bytes(Buffer.from('before'))
  codec.encode(writer, value, context)
  return {
    bytes: Buffer.from(writer.buffer.subarray(6, writer.position)),
    attachments: writer.attachments.map((each) => new Uint8Array(each)),
  }
}

/** Read from the middle of a buffer that is overwritten afterwards. */
export function decode(codec: Codec, { bytes, attachments }: Encoded, context = contextOf()): unknown {
  const shared = Buffer.concat([Buffer.from('xyz'), bytes, Buffer.from('xyz')])
  const value = codec.decode(shared, 3, 3 + bytes.length, attachments, context)
  shared.fill(0xee)
  return value
}

const hasCode =
  (...codes: string[]) =>
  (error: unknown): boolean =>
    error instanceof TalkwireError && codes.includes(error.code)

/** Every value of spec § 5, by name; what arrives where it is not the same. */
export function values(): [name: string, sent: unknown, arrives?: unknown][] {
  const text = (length: number): string => 'x'.repeat(length)
  const numbers = [
    0,
    -0,
    1,
    -1,
    31,
    32,
    -32,
    -33,
    127,
    128,
    -128,
    -129,
    255,
    256,
    32_767,
    32_768,
    -32_768,
    -32_769,
    65_535,
    65_536,
    2 ** 31 - 1,
    2 ** 31,
    -(2 ** 31),
    -(2 ** 31) - 1,
    2 ** 32 - 1,
    2 ** 32,
    2 ** 53 - 1,
    -(2 ** 53) + 1,
    2 ** 53,
    2 ** 64,
    1.5,
    -1.5,
    0.1,
    5e-324,
    Number.MAX_VALUE,
    NaN,
    Infinity,
    -Infinity,
  ]
  const lengths = [0, 1, 15, 16, 23, 24, 31, 32, 85, 86, 255, 256, 65_535, 65_536]
  const holes: unknown[] = [1]
  holes[3] = 2
  return [
    ...numbers.map((value): [string, unknown] => [`the number ${Object.is(value, -0) ? '-0' : value}`, value]),
    ...[null, true, false].map((value): [string, unknown] => [String(value), value]),
    ...lengths.map((length): [string, unknown] => [`text of ${length}`, text(length)]),
    ...lengths.map((length): [string, unknown] => [`text of ${length} umlauts`, 'ä'.repeat(length)]),
    ['text of all kinds', '\0\u0001"\\/\b\f\n\r\t\u007f\u2028\u2029ä€𝄞\u{10ffff}\ufeff'],
    ...lengths.map((length): [string, unknown] => [`array of ${length}`, Array.from({ length }, (_, index) => index)]),
    ...[0, 1, 15, 16, 255, 70_000].map((length): [string, unknown] => [
      `object of ${length}`,
      Object.fromEntries(Array.from({ length }, (_, index) => [`k${index}`, index])),
    ]),
    ['undefined', undefined],
    ['undefined in an array', [undefined, 1, undefined]],
    ['holes', holes, [1, undefined, undefined, 2]],
    ['undefined as a property', { a: undefined, b: 1 }, { b: 1 }],
    ['only undefined properties', { $a: undefined, b: undefined }, {}],
    ['undefined beside a $ key', { $number: 'NaN', b: undefined }, { $number: 'NaN' }],
    ['undefined in a Map and a Set', [new Map<unknown, unknown>([[undefined, undefined]]), new Set([undefined])]],
    ...[0n, 1n, -1n, 12n, 2n ** 63n, -(2n ** 63n), 2n ** 64n, 10n ** 100n, -(10n ** 300n)].map((value): [string, unknown] => [
      `the bigint ${String(value).slice(0, 24)}`,
      value,
    ]),
    ...[0, 1, -1, 999, -999, 1_700_000_000_123, -62_135_596_800_000, 8.64e15, -8.64e15].map((value): [string, unknown] => [
      `the date ${value}`,
      new Date(value),
    ]),
    [
      'Map',
      new Map<unknown, unknown>([
        ['a', 1],
        [2, 'b'],
        [{ deep: 1 }, [2]],
        [null, new Map([[1n, new Date(5)]])],
      ]),
    ],
    ['empty Map and Set', [new Map(), new Set()]],
    ['Set', new Set<unknown>([1, 'a', [2], { b: 3 }, new Set([4])])],
    [
      'Map with a forbidden key',
      new Map([
        ['__proto__', { a: 1 }],
        ['constructor', { b: 2 }],
      ]),
    ],
    [
      'keys that look like tags',
      [
        { $number: 'NaN' },
        { $bin: [0] },
        { $undefined: 0 },
        { $: 1 },
        { $$: 1 },
        { $$$a: [{ $b: 1 }] },
        { $a: 1, $b: 2 },
        { a: 1, $b: 2 },
        { $ref: [1] },
        { $map: [[1, 2]] },
        { $x: { $y: { $z: 1 } } },
      ],
    ],
    [
      'keys of all kinds',
      { '': 1, ' ': 2, 'ä€𝄞': 3, 'a.b': 4, '0': 5, toString: 6, hasOwnProperty: 7, length: 8, ['x'.repeat(300)]: 9, '\0': 10 } as Record<
        string,
        unknown
      >,
    ],
    [
      'names that only look forbidden',
      { constructor: 5, prototype: { a: 1 }, then: 'later', toString: 'x', valueOf: null, __proto: { b: 1 } },
    ],
    ['constructor that is null', { constructor: null }],
    ['an object without prototype', Object.assign(Object.create(null) as object, { a: 1 }), { a: 1 }],
    ['nested', { a: [{ b: new Map([['c', [{ d: new Set([1n]) }]]]) }], e: [[[[]]]], f: {} }],
    ...[0, 1, 15, 16, 17, 255, 256, 1024, 1025, 4096, 4097, 65_536].map((length): [string, unknown] => [`${length} bytes`, bytes(length)]),
    ['bytes among others', { a: bytes(5), b: [bytes(5000), bytes(3)], c: bytes(5000) }],
    ['part of a buffer', bytes(100).subarray(3, 50)],
    ['a Buffer', Buffer.from('text'), new Uint8Array(Buffer.from('text'))],
    ['an ArrayBuffer', bytes(9).buffer, bytes(9)],
    ['a DataView', new DataView(bytes(9).buffer, 1, 5), bytes(9).subarray(1, 6)],
    ...[0, 3, 2000].flatMap((length): [string, unknown][] =>
      typedArrays(length).map((array) => [`${array[Symbol.toStringTag]} of ${length}`, array]),
    ),
    ...[[], [0], [1], [6], [2, 3], [3, 2, 1], [0, 5], [2, 0, 3]].flatMap((shape): [string, unknown][] =>
      typedArrays(shape.reduce((a, b) => a * b, 1)).map((array) => [
        `${array[Symbol.toStringTag]} of shape [${shape.join()}]`,
        ndarray(array, shape),
      ]),
    ),
    ['a large array with a shape', ndarray(new Float64Array(2000), [2, 1000])],
  ]
}

const bytes = (length: number): Uint8Array => Uint8Array.from({ length }, (_, index) => (index * 37 + length) & 255)

function typedArrays(length: number): TypedArray[] {
  const whole = Array.from({ length }, (_, index) => (index * 7) & 127)
  return [
    Uint8Array.from(whole),
    Int8Array.from(whole, (n) => -n),
    Uint16Array.from(whole, (n) => n * 500),
    Int16Array.from(whole, (n) => -n * 200),
    Uint32Array.from(whole, (n) => n * 30_000_000),
    Int32Array.from(whole, (n) => -n * 16_000_000),
    BigUint64Array.from(whole, (n) => BigInt(n) << 56n),
    BigInt64Array.from(whole, (n) => -(BigInt(n) << 55n)),
    Float32Array.from(whole, (n) => n / 3),
    Float64Array.from(whole, (n) => n / 7),
    Uint8ClampedArray.from(whole),
  ]
}

/** Equal in value, class and shape. */
export function same(actual: unknown, expected: unknown): void {
  assert.deepStrictEqual(actual, expected)
  shapes(actual, expected)
}

function shapes(actual: unknown, expected: unknown): void {
  if (ArrayBuffer.isView(expected)) return assert.deepEqual(shapeOf(actual as TypedArray), shapeOf(expected as TypedArray))
  if (Array.isArray(expected)) expected.forEach((item, index) => shapes((actual as unknown[])[index], item))
}

/** Containers of one kind inside each other. */
function nest(containers: number, wrap: (inner: unknown) => unknown): unknown {
  let value: unknown = 1
  for (let count = 0; count < containers; count++) value = wrap(value)
  return value
}
const wraps: [name: string, wrap: (inner: unknown) => unknown][] = [
  ['arrays', (inner) => [inner]],
  ['objects', (inner) => ({ a: inner })],
  ['escaped objects', (inner) => ({ $a: inner })],
  ['Maps', (inner) => new Map([[1, inner]])],
  ['Map keys', (inner) => new Map([[inner, 1]])],
  ['Sets', (inner) => new Set([inner])],
]

export function testCodec(suite: CodecSuite): void {
  const { codec } = suite
  const test = (name: string, body: () => void | Promise<void>): unknown => suite.test(`${codec.name}: ${name}`, async () => body())
  testValues(suite, test)
  testDepth(suite, test)
  testKeys(suite, test)
  testHostile(suite, test)
  testAtRandom(suite, test)
}

type Define = (name: string, body: () => void | Promise<void>) => unknown

function testValues({ codec, loneSurrogates }: CodecSuite, test: Define): void {
  test('every value of the specification survives', () => {
    for (const [name, sent, ...arrives] of values()) {
      const expected = arrives.length > 0 ? arrives[0] : sent
      for (const [where, wrap] of [
        ['alone', (value: unknown) => value],
        ['in an array', (value: unknown) => [1, value, 2]],
        ['in an object', (value: unknown) => ({ before: 1, it: value, after: 2 })],
      ] as const) {
        if (where === 'in an object' && expected === undefined) continue
        try {
          same(decode(codec, encode(codec, wrap(sent))), wrap(expected))
        } catch (reason) {
          throw new Error(`${name}, ${where}`, { cause: reason })
        }
      }
    }
  })

  test('what was sent is not changed by sending it', () => {
    for (const [, sent] of values()) {
      const before = structuredClone(sent)
      encode(codec, sent)
      assert.deepStrictEqual(
        sent instanceof Buffer ? new Uint8Array(sent) : sent,
        Object.getPrototypeOf(sent ?? 0) === null ? Object.assign(Object.create(null) as object, before) : before,
      )
    }
  })

  test("typed arrays that arrive are aligned and nobody else's", () => {
    for (const [, sent] of values()) {
      if (!ArrayBuffer.isView(sent)) continue
      const arrived = decode(codec, encode(codec, sent)) as TypedArray
      assert.equal(arrived.byteOffset % arrived.BYTES_PER_ELEMENT, 0)
    }
  })

  test('a lone surrogate', () => {
    for (const text of ['\ud800', 'a\udc00b', '\udc00'.repeat(20)]) {
      const expected = loneSurrogates ? text : Buffer.from(text).toString()
      same(decode(codec, encode(codec, { [text]: text })), { [expected]: expected })
    }
  })

  test('what cannot be sent is a TypeError', () => {
    class Account {
      balance = 1
    }
    const bad: unknown[] = [
      Symbol('x'),
      () => 1,
      new Account(),
      new Date(NaN),
      new (class extends Array {})(),
      /x/,
      new Error('x'),
      Promise.resolve(1),
      new WeakMap(),
      Object(5),
      Object('x'),
      new URL('a:b'),
      new SharedArrayBuffer(8),
    ]
    for (const value of bad.filter((each) => !Array.isArray(each))) {
      for (const sent of [value, [value], { a: value }, new Map([[1, value]]), new Map([[value, 1]]), new Set([value])])
        assert.throws(() => encode(codec, sent), TypeError)
    }
  })

  test('a cycle is refused', () => {
    const array: unknown[] = []
    array.push(array)
    const object: Record<string, unknown> = {}
    object['a'] = { b: object }
    const map = new Map<unknown, unknown>()
    map.set(1, map)
    for (const cycle of [array, object, map])
      assert.throws(
        () => encode(codec, cycle),
        (reason) => hasCode('TOO_DEEP')(reason) || reason instanceof TypeError,
      )
  })

  test('functions travel as references, and home again', () => {
    const references = new Numbered()
    const context = contextOf({ references })
    const object = Object.assign(() => {}, { methods: ['a', 'b'] })
    const arrived = decode(codec, encode(codec, [() => 1, object], context), context) as { id: number }[]
    assert.deepEqual(references.imported, [[0], [1, ['a', 'b']]])
    assert.deepEqual(
      arrived.map(({ id }) => id),
      [0, 1],
    )
    assert.equal(
      decode(
        codec,
        encode(
          codec,
          Object.assign(() => {}, { own: 1 }),
          context,
        ),
        context,
      ),
      object,
    )
    assert.throws(
      () =>
        decode(
          codec,
          encode(
            codec,
            Object.assign(() => {}, { own: 7 }),
            context,
          ),
          context,
        ),
      hasCode('INVALID_MESSAGE'),
    )
    const sent = encode(codec, () => 1, context)
    assert.throws(() => decode(codec, sent), hasCode('INVALID_MESSAGE'), 'a reference to who has no table')
  })

  test('two messages in a row know nothing of each other', () => {
    const first = encode(codec, { a: bytes(5000), b: 1n })
    const second = encode(codec, [new Map([[1, 2]])])
    assert.throws(() => decode(codec, { ...first, attachments: [] }))
    same(decode(codec, second), [new Map([[1, 2]])])
    assert.throws(() => decode(codec, { bytes: first.bytes.subarray(0, 10), attachments: first.attachments }))
    same(decode(codec, first), { a: bytes(5000), b: 1n })
  })
}

function testDepth({ codec, raw }: CodecSuite, test: Define): void {
  test('as deep as the limit, and not deeper (threat 16)', () => {
    for (const [name, wrap] of wraps) {
      for (const depth of [3, DEPTH]) {
        const context = contextOf({ depth })
        for (const containers of [depth - 2, depth - 1])
          same(decode(codec, encode(codec, nest(containers, wrap), context), context), nest(containers, wrap))
        for (const containers of [depth, depth + 1, 1000]) {
          assert.throws(() => encode(codec, nest(containers, wrap), context), hasCode('TOO_DEEP'), `${containers} ${name} were sent`)
        }
        const honest = encode(codec, nest(depth, wrap), contextOf({ depth: 5000 }))
        assert.throws(() => decode(codec, honest, context), hasCode('TOO_DEEP'), `${depth} ${name} were read`)
      }
    }
    // An empty container is one more than a scalar.
    const context = contextOf({ depth: 2 })
    same(decode(codec, encode(codec, [], context), context), [])
    assert.throws(() => encode(codec, [[]], context), hasCode('TOO_DEEP'))
  })

  test('a thousand and a million levels are refused, not recursed into', () => {
    for (const what of ['array', 'object'] as const) {
      same(
        decode(codec, { bytes: raw.nested(DEPTH - 1, what), attachments: [] }),
        nest(DEPTH - 1, what === 'array' ? (inner) => [inner] : (inner) => ({ a: inner })),
      )
      for (const containers of [DEPTH, DEPTH + 1, 1000, 1_000_000])
        assert.throws(
          () => decode(codec, { bytes: raw.nested(containers, what), attachments: [] }),
          hasCode('TOO_DEEP'),
          `${containers} of ${what}`,
        )
    }
  })

  test('a million levels are not sent either', () => {
    for (const [, wrap] of wraps.slice(0, 2)) assert.throws(() => encode(codec, nest(1_000_000, wrap)), hasCode('TOO_DEEP'))
  })
}

function testKeys({ codec, raw }: CodecSuite, test: Define): void {
  const poison = (): Buffer => raw.object([['polluted', raw.one]])
  const bad: [name: string, payload: () => Buffer][] = [
    ['__proto__', () => raw.object([['__proto__', poison()]])],
    ['__proto__ with a number', () => raw.object([['__proto__', raw.one]])],
    ['constructor', () => raw.object([['constructor', raw.object([['prototype', poison()]])]])],
    ['constructor with an array', () => raw.object([['constructor', raw.array([])]])],
    [
      '__proto__ behind others',
      () =>
        raw.object([
          ['a', raw.one],
          ['b', raw.one],
          ['__proto__', poison()],
        ]),
    ],
  ]
  test('forbidden keys are refused at every depth (threat 11)', () => {
    for (const [name, payload] of bad) {
      let wrapped = payload()
      for (let depth = 0; depth <= 5; depth++) {
        assert.throws(() => decode(codec, { bytes: wrapped, attachments: [] }), hasCode('FORBIDDEN_KEY'), `${name} at depth ${depth}`)
        wrapped =
          depth % 2
            ? raw.array([raw.one, wrapped])
            : raw.object([
                ['a', raw.one],
                ['it', wrapped],
              ])
      }
    }
    assert.equal(({} as { polluted?: unknown }).polluted, undefined)
  })

  test('forbidden keys are not sent either', () => {
    const own = JSON.parse('{"__proto__":{"polluted":1}}') as object
    for (const value of [own, { constructor: { prototype: {} } }, { constructor: [] }]) {
      for (let depth = 0, wrapped: unknown = value; depth <= 5; depth++, wrapped = depth % 2 ? [wrapped] : { it: wrapped, n: 1n }) {
        assert.throws(() => encode(codec, wrapped), hasCode('FORBIDDEN_KEY'), `depth ${depth}`)
      }
    }
  })

  test('`then` is data, and never a function (threat 13)', () => {
    const references = new Numbered()
    const context = contextOf({ references })
    same(decode(codec, encode(codec, { then: 1 })), { then: 1 })
    assert.throws(() => encode(codec, { then: () => {} }, context), hasCode('FORBIDDEN_KEY'))
    for (const payload of [
      raw.object([['then', raw.reference(1)]]),
      raw.array([
        raw.object([
          ['a', raw.one],
          ['then', raw.reference(1)],
        ]),
      ]),
    ]) {
      assert.throws(() => decode(codec, { bytes: payload, attachments: [] }, context), hasCode('FORBIDDEN_KEY'))
    }
  })
}

function testHostile({ codec, raw, invalid }: CodecSuite, test: Define): void {
  const rich = (): Encoded =>
    encode(codec, {
      a: [1, 'text', 300, -5, 1.5, null, true],
      m: new Map([[1, new Date(5)]]),
      s: new Set(['ä€']),
      n: 12n,
      u: [undefined, NaN],
      x: bytes(5),
      y: new Float64Array(3),
      big: bytes(5000),
    })

  test('a payload cut at any byte is refused', () => {
    const { bytes: whole, attachments } = rich()
    for (let end = 0; end < whole.length; end++)
      assert.throws(() => decode(codec, { bytes: whole.subarray(0, end), attachments }), hasCode('INVALID_MESSAGE'), `cut at ${end}`)
  })

  test('bytes after the value are refused', () => {
    const { bytes: whole, attachments } = rich()
    for (const tail of [whole, raw.one, Buffer.from([0]), Buffer.from([0xc0])])
      assert.throws(() => decode(codec, { bytes: Buffer.concat([whole, tail]), attachments }), hasCode('INVALID_MESSAGE'))
  })

  test('text that is not UTF-8 is refused', () => {
    for (const length of [1, 10, 100, 1000]) {
      const text = 'x'.repeat(length)
      for (const value of [text, { [text]: 1 }]) {
        const { bytes: whole } = encode(codec, [value])
        const at = whole.indexOf('x')
        for (const wrong of [[0xff], [0xc3], [0xed, 0xa0, 0x80], [0xc0, 0x80], [0xf5, 0x80, 0x80, 0x80], [0x80]].filter(
          (each) => each.length <= length,
        )) {
          const broken = Buffer.from(whole)
          broken.set(wrong, at + length - wrong.length)
          assert.throws(() => decode(codec, { bytes: broken, attachments: [] }), hasCode('INVALID_MESSAGE'), `${wrong.join()} in ${length}`)
        }
      }
    }
  })

  test('every attachment is used exactly once', () => {
    const [a, b] = [new Uint8Array([1]), new Uint8Array([2])]
    same(decode(codec, { bytes: raw.array([raw.attachment(1), raw.attachment(0)]), attachments: [a, b] }), [b, a])
    for (const [indexes, attachments] of [
      [[], [a]],
      [[0], [a, b]],
      [[1], [a, b]],
      [[0, 0], [a]],
      [
        [0, 0],
        [a, b],
      ],
      [
        [1, 1],
        [a, b],
      ],
      [
        [0, 1, 1],
        [a, b],
      ],
      [[0], []],
      [[2], [a, b]],
      [
        [0, 1, 2],
        [a, b],
      ],
    ] as const) {
      assert.throws(
        () => decode(codec, { bytes: raw.array(indexes.map((index) => raw.attachment(index))), attachments }),
        hasCode('INVALID_MESSAGE'),
        `${indexes.join()} of ${attachments.length}`,
      )
    }
  })

  test('payloads that are wrong in their own ways', () => {
    for (const { name, bytes: payload, attachments = [], code = 'INVALID_MESSAGE' } of invalid) {
      const before = memory()
      assert.throws(
        () => decode(codec, { bytes: Buffer.from(payload), attachments }, contextOf({ references: new Numbered() })),
        (reason) => {
          if (hasCode(code)(reason)) return true
          throw new Error(`${name}: expected ${code}, got ${String(reason)}`, { cause: reason })
        },
        name,
      )
      const grown = memory() - before
      assert.ok(grown < 32 * 1024 * 1024, `${name}: ${grown} bytes for ${payload.length}`)
    }
  })
}

function memory(): number {
  const { arrayBuffers, heapUsed } = process.memoryUsage()
  return arrayBuffers + heapUsed
}

function testAtRandom({ codec }: CodecSuite, test: Define): void {
  test('any value survives', () => {
    for (let seed = 1; seed <= 800; seed++) {
      const sent = new Random(seed).value(5)
      try {
        same(decode(codec, encode(codec, sent)), sent)
      } catch (reason) {
        throw new Error(`the value of seed ${seed}`, { cause: reason })
      }
    }
  })

  test('any bytes give a value or a typed error', () => {
    const references = new Numbered()
    const context = contextOf({ references })
    for (let seed = 1; seed <= 3000; seed++) {
      const random = new Random(seed)
      const honest = encode(codec, random.value(4), contextOf())
      const payload = seed % 3 === 0 ? random.bytes(60) : random.damage(honest.bytes)
      try {
        decode(codec, { bytes: payload, attachments: seed % 2 ? honest.attachments : [] }, context)
      } catch (reason) {
        if (!hasCode('INVALID_MESSAGE', 'TOO_DEEP', 'FORBIDDEN_KEY')(reason))
          throw new Error(`the payload of seed ${seed}: ${payload.toString('hex').slice(0, 200)}`, { cause: reason })
      }
    }
    assert.equal(({} as { polluted?: unknown }).polluted, undefined)
  })
}

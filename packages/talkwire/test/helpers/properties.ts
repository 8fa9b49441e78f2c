import { test } from 'node:test'
import fc from 'fast-check'
import { contextOf, decode, encode, same } from '../../compliance/codec.js'
import { ndarray, type Codec } from '../../src/codecs/codec.js'
import { TalkwireError } from '../../src/error.js'

const typed = fc.oneof(
  fc.uint8Array({ maxLength: 40 }),
  fc.int8Array({ maxLength: 20 }),
  fc.uint16Array({ maxLength: 20 }),
  fc.int32Array({ maxLength: 20 }),
  fc.float32Array({ maxLength: 20 }),
  fc.float64Array({ maxLength: 20 }),
  fc.uint8ClampedArray({ maxLength: 20 }),
  fc.bigInt64Array({ maxLength: 10 }),
  fc.bigUint64Array({ maxLength: 10 }),
  fc.uint8Array({ minLength: 4090, maxLength: 4100 }),
  fc.float64Array({ minLength: 6, maxLength: 6 }).map((data) => ndarray(data, [2, 3])),
)
const key = fc
  .oneof(fc.string(), fc.string({ unit: 'grapheme' }), fc.constantFrom('$', '$$', '$number', '$bin', 'then', 'a'))
  .filter((name) => name !== '__proto__' && name !== 'constructor')

/** Any value of the specification. */
const anyValue = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 5, depthSize: 'small' },
    fc.constantFrom(null, true, false, undefined),
    fc.integer(),
    fc.double(),
    fc.maxSafeInteger(),
    fc.bigInt(),
    fc.string(),
    fc.string({ unit: 'binary' }).filter((text) => !/[\ud800-\udfff]/u.test(text)),
    fc.date({ noInvalidDate: true }),
    typed,
    fc.array(tie('value'), { maxLength: 6 }),
    fc.dictionary(
      key,
      tie('value').filter((value) => value !== undefined),
      { maxKeys: 6, noNullPrototype: true },
    ),
    fc.array(fc.tuple(tie('value'), tie('value')), { maxLength: 4 }).map((pairs) => new Map(pairs)),
    fc.array(tie('value'), { maxLength: 4 }).map((items) => new Set(items)),
  ),
})).value

/** Round trips and random bytes, with values that shrink when they fail. */
export function anyCodecProperty(codec: Codec): void {
  test(`${codec.name}: any value survives, shrunk`, () => {
    fc.assert(
      fc.property(anyValue, (value) => same(decode(codec, encode(codec, value)), value)),
      { numRuns: 500 },
    )
  })

  test(`${codec.name}: any bytes are a value or a typed error, shrunk`, () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), fc.array(fc.uint8Array({ maxLength: 9 }), { maxLength: 2 }), (bytes, attachments) => {
        try {
          decode(codec, { bytes: Buffer.from(bytes), attachments }, contextOf())
        } catch (reason) {
          if (!(reason instanceof TalkwireError && ['INVALID_MESSAGE', 'TOO_DEEP', 'FORBIDDEN_KEY'].includes(reason.code))) throw reason
        }
      }),
      { numRuns: 3000 },
    )
  })
}

// node scripts/make-vectors.mjs: writes spec/vectors/*.json from the built package. Run it when the wire gains something, and look at
// the difference: a vector that changed is a wire that changed.
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { envelopeOf } from '../packages/talkwire/dist/compliance/ends.js'
import { fromMessage, fromNotation, payloadOf } from '../packages/talkwire/dist/test/helpers/notation.js'
import { root } from './lib/repository.mjs'

/** @param {string} name @param {object} content */
function write(name, content) {
  writeFileSync(path.join(root, 'spec/vectors', `${name}.json`), `${JSON.stringify(content, undefined, 1)}\n`)
}

/** @param {string | Uint8Array} bytes */
const hex = (bytes) => Buffer.from(bytes).toString('hex')
/** @param {number} length */
const head = (length) => Buffer.from([length >>> 24, length >>> 16, length >>> 8, length])
/** @param {...(string | Uint8Array)} parts */
const join = (...parts) => hex(Buffer.concat(parts.map((part) => Buffer.from(part))))

// ── framing ──────────────────────────────────────────────────────────────────────────────────────

const two = ['{"a":1}', '[2]'].map(hex)
write('framing', {
  description:
    'Byte streams and the messages in them (wire.md § 1). `bytes` and `messages` are hex. The same comes out however the bytes are cut into chunks. With `error`, the messages before it are delivered.',
  framings: [
    { name: 'length', framing: 'length', bytes: join(head(7), '{"a":1}', head(3), '[2]'), messages: two },
    { name: 'length, an empty message', framing: 'length', bytes: join(head(0), head(3), '[2]'), messages: ['', two[1]] },
    { name: 'length, any bytes', framing: 'length', bytes: join(head(4), Buffer.from([0, 255, 10, 13])), messages: ['00ff0a0d'] },
    { name: 'header', framing: 'header', bytes: join('Content-Length: 7\r\n\r\n{"a":1}Content-Length: 3\r\n\r\n[2]'), messages: two },
    {
      name: 'header, other headers, any case',
      framing: 'header',
      bytes: join('content-type: x\r\nCONTENT-LENGTH:7\r\n\r\n{"a":1}Content-Length: 3\r\nX: y\r\n\r\n[2]'),
      messages: two,
    },
    { name: 'line', framing: 'line', bytes: join('{"a":1}\n[2]\n'), messages: two },
    { name: 'line, CR LF and empty lines', framing: 'line', bytes: join('\r\n{"a":1}\r\n\n\r\n[2]\r\n'), messages: two },
    { name: 'line, the last one without LF', framing: 'line', bytes: join('{"a":1}\n[2]'), messages: two },
    {
      name: 'length over the limit',
      framing: 'length',
      maxMessage: 7,
      bytes: join(head(7), '{"a":1}', head(8)),
      messages: two.slice(0, 1),
      error: 'MESSAGE_TOO_LARGE',
    },
    {
      name: 'length of 4 GiB',
      framing: 'length',
      bytes: join(head(7), '{"a":1}', head(0xffffffff)),
      messages: two.slice(0, 1),
      error: 'MESSAGE_TOO_LARGE',
    },
    {
      name: 'header over the limit',
      framing: 'header',
      maxMessage: 7,
      bytes: join('Content-Length: 8\r\n\r\n'),
      messages: [],
      error: 'MESSAGE_TOO_LARGE',
    },
    {
      name: 'line over the limit',
      framing: 'line',
      maxMessage: 7,
      bytes: join('{"a":1}\n{"b":12}\n'),
      messages: two.slice(0, 1),
      error: 'MESSAGE_TOO_LARGE',
    },
    { name: 'header without a length', framing: 'header', bytes: join('Content-Type: x\r\n\r\n'), messages: [], error: 'INVALID_MESSAGE' },
    {
      name: 'header with a length that is no number',
      framing: 'header',
      bytes: join('Content-Length: 1e3\r\n\r\n'),
      messages: [],
      error: 'INVALID_MESSAGE',
    },
    { name: 'a first byte of no framing', framing: null, bytes: join('GET / HTTP/1.1\r\n\r\n'), messages: [], error: 'INVALID_MESSAGE' },
  ],
})

// ── messages and values, in both codecs ──────────────────────────────────────────────────────────

/** @param {unknown} params @param {object} [more] */
const request = (params, more = {}) => ({ jsonrpc: '2.0', id: 1, method: 'f', ...(params === undefined ? {} : { params }), ...more })
/** @param {string} method @param {object} params */
const control = (method, params) => ({ jsonrpc: '2.0', method, params })
/** @param {unknown} value */
const value = (value) => request([value])
const bytes = Buffer.from(Array.from({ length: 5000 }, (_, index) => index & 255))
const numbers = Buffer.from(new Float64Array([1.5, -2, 0]).buffer)
const grid = Buffer.from(new Int32Array([1, 2, 3, 4, 5, 6]).buffer)
const failure = { code: -32010, message: 'closed', data: { code: 'AccountClosed', outcome: 'ran', details: { since: 5 } } }

/** @type {[name: string, message: object][]} */
const messages = [
  ['a request by position', request([2, 5], { method: 'add' })],
  ['a request by name', request({ account: 'a', amount: 5 }, { method: 'deposit', id: 2 })],
  ['a request without arguments', request([], { method: 'ping' })],
  ['a request with meta', request([1], { meta: { timeout: 1500, metadata: { traceparent: '00-a' }, credit: 524_288 } })],
  ['a request whose input is a stream', request([], { meta: { input: true } })],
  ['a large id', request([], { id: 9_007_199_254_740_991 })],
  ['a result', { jsonrpc: '2.0', id: 1, result: { ok: true } }],
  ['a result of null', { jsonrpc: '2.0', id: 1, result: null }],
  ['a declared error', { jsonrpc: '2.0', id: 1, error: failure }],
  ['an error without an id', { jsonrpc: '2.0', id: null, error: { code: -32700, message: 'not JSON' } }],
  ['a notification', control('note', { text: 'x' })],
  ['an element of the output', control('$/item', { id: 3, value: [1] })],
  ['an element of the input', control('$/input', { id: 3, value: 'x' })],
  ['the end of the input', control('$/end', { id: 3 })],
  ['the input failed', control('$/end', { id: 3, error: failure })],
  ['credit', control('$/credit', { id: 3, bytes: 1000 })],
  ['credit for the input', control('$/inputCredit', { id: 3, bytes: 1000 })],
  ['cancelling', control('$/cancelRequest', { id: 3 })],
  ['progress', control('$/progress', { token: 3, value: 0.5 })],
  ['references given back', control('$/release', { refs: [[1, 2]] })],
  [
    'scalars',
    value([null, true, false, 0, 1, -1, 127, 128, -32, -33, 255, 256, 65_535, 65_536, 2_147_483_648, -2_147_483_649, 1.5, 1e300]),
  ],
  ['texts', value(['', 'a', 'ä€𝄞', '\0\n"\\', 'x'.repeat(31), 'x'.repeat(32), 'x'.repeat(300)])],
  ['nested containers', value({ a: [{ b: [[]] }], c: {} })],
  ['numbers that JSON lacks', value([{ $number: 'NaN' }, { $number: 'Infinity' }, { $number: '-Infinity' }, { $number: '-0' }])],
  ['dates', value([{ $date: 0 }, { $date: 1_700_000_000_123 }, { $date: -1 }])],
  [
    'a Map',
    value({
      $map: [
        ['a', 1],
        [2, { $map: [] }],
      ],
    }),
  ],
  ['a Set', value({ $set: [1] })],
  ['keys that look like tags', value([{ $$number: 'NaN' }, { $$$: 1 }, { $a: 1, $b: 2 }, { a: 1, $b: 2 }])],
  ['a reference to a function', value({ $ref: [7] })],
  ['a reference to an object', value({ $ref: [8, ['get', 'set']] })],
  ['a reference that goes home', value({ $own: 3 })],
  ['a few bytes', value({ $bin: ['010203'] })],
  ['no bytes', value({ $bin: [''] })],
  ['many bytes', value({ $bin: [hex(bytes)] })],
  ['an array of numbers', value({ $bin: [hex(numbers), 'f8', [3]] })],
  ['a grid', value({ $bin: [hex(grid), 'i4', [2, 3]] })],
  ['several arrays', value([{ $bin: [hex(grid), 'i4', [3, 2]] }, { $bin: ['0102'] }, { $bin: [hex(numbers), 'f8', [3]] }])],
  ['an array in a result', { jsonrpc: '2.0', id: 1, result: { data: { $bin: [hex(numbers), 'f8', [3]] } } }],
]
/** Not every language tells these apart. @type {[name: string, message: object][]} */
const exact = [
  ['bigints', value([{ $bigint: '12' }, { $bigint: '-1' }, { $bigint: '18446744073709551616' }])],
  ['undefined', value([{ $undefined: 0 }, 1, { $map: [[1, { $undefined: 0 }]] }])],
  ['clamped bytes', value({ $bin: ['0102', 'c1', [2]] })],
]

/** @param {'json' | 'msgpack'} codec @returns {(row: [name: string, message: object]) => object} */
const vector =
  (codec) =>
  ([name, message]) => {
    const payload = payloadOf(codec, fromMessage(fromNotation(message)))
    const text = codec === 'json' && payload[0] !== 0xc1
    return { name, codec, ...(text ? { payload_text: payload.toString() } : { payload_hex: hex(payload) }), message }
  }

/** @param {string} name @param {string} params @param {string} error */
const wrongJson = (name, params, error = 'INVALID_MESSAGE') => ({
  name,
  codec: 'json',
  payload_text: `{"jsonrpc":"2.0","id":1,"method":"f","params":${params}}`,
  error,
})
/** @param {number} depth */
const deep = (depth) => '['.repeat(depth) + ']'.repeat(depth)
const withTag = Buffer.from('{"jsonrpc":"2.0","id":1,"method":"f","params":[{"$bin":[0]}]}')
const plainHead = Buffer.from('{"jsonrpc":"2.0","id":1,"method":"f","params":[]}')

write('json', {
  description: 'JSON payloads and what they mean (wire.md §§ 2, 3, 5), between peers that said hello. See README.md.',
  vectors: [
    ...messages.map(vector('json')),
    {
      name: 'blanks, and members in another order',
      codec: 'json',
      read_only: true,
      payload_text: ' \n{"params":[1],"id":1,"method":"f","jsonrpc":"2.0"}\t',
      message: request([1]),
    },
    wrongJson('an unknown tag', '[{"$foo":1}]'),
    wrongJson('a tag with the wrong content', '[{"$date":"today"}]'),
    wrongJson('a number that is none', '[{"$number":"1"}]'),
    wrongJson('half a pair', '[{"$map":[[1]]}]'),
    wrongJson('an attachment that is not there', '[{"$bin":[0]}]'),
    wrongJson('too deep', deep(64), 'TOO_DEEP'),
    wrongJson('__proto__', '[{"__proto__":{"a":1}}]', 'FORBIDDEN_KEY'),
    wrongJson('constructor', '{"constructor":{"prototype":{}}}', 'FORBIDDEN_KEY'),
    { name: 'cut short', codec: 'json', payload_text: '{"jsonrpc":"2.0","id":1,"meth', error: 'INVALID_MESSAGE' },
    {
      name: 'not UTF-8',
      codec: 'json',
      payload_hex: hex(Buffer.from('{"jsonrpc":"2.0","id":1,"method":"f","params":["#"]}')).replace('23', 'ff'),
      error: 'INVALID_MESSAGE',
    },
    {
      name: 'an attachment that nothing refers to',
      codec: 'json',
      payload_hex: hex(envelopeOf(plainHead, [Buffer.from([1])])),
      error: 'INVALID_MESSAGE',
    },
    {
      name: 'an envelope with bytes behind',
      codec: 'json',
      payload_hex: `${hex(envelopeOf(withTag, [Buffer.from([1])]))}00`,
      error: 'INVALID_MESSAGE',
    },
    {
      name: 'an envelope cut short',
      codec: 'json',
      payload_hex: hex(envelopeOf(withTag, [Buffer.from([1, 2])]).subarray(0, -1)),
      error: 'INVALID_MESSAGE',
    },
    {
      name: 'an envelope without attachments',
      codec: 'json',
      payload_hex: join(Buffer.from([0xc1, 0, 0, 0, 0, 0, 0, plainHead.length]), plainHead),
      error: 'INVALID_MESSAGE',
    },
  ],
  exact: exact.map(vector('json')),
})

/** @param {string} name @param {string} bytes @param {string} error */
const wrongPacked = (name, bytes, error = 'INVALID_MESSAGE') => ({ name, codec: 'msgpack', payload_hex: bytes.replaceAll(' ', ''), error })
/** @param {string} name @param {string} bytes @param {object} message */
const read = (name, bytes, message) => ({ name, codec: 'msgpack', read_only: true, payload_hex: bytes.replaceAll(' ', ''), message })
write('msgpack', {
  description:
    'MessagePack payloads and what they mean (wire.md §§ 2, 3.2, 5), between peers that said hello. `message` is the same message as JSON has it. See README.md.',
  vectors: [
    ...messages.map(vector('msgpack')),
    read('an array with a count of 16 bits', 'dc 0004 00 01 a1 66 90', request([])),
    read('integers in any width', '94 00 cf0000000000000001 a1 66 94 cc01 cd0001 d0ff d3ffffffffffffffff', request([1, 1, -1, -1])),
    read('float 32', '94 00 01 a1 66 91 ca3fc00000', request([1.5])),
    read('texts in any width', '94 00 01 d90166 92 da000161 db0000000161', request(['a', 'a'])),
    read('a name in any width', '94 00 01 db00000001 66 90', request([])),
    read('timestamps in any width', '94 00 01 a1 66 92 d6ff00000001 d7ff0000000000000001', request([{ $date: 1000 }, { $date: 1000 }])),
    wrongPacked('an unknown kind', '92 0a 01'),
    wrongPacked('too short', '93 00 01 a1 66'),
    wrongPacked('too long', '96 00 01 a1 66 90 80 c0'),
    wrongPacked('cut short', '94 00 01 a1 66 92 01'),
    wrongPacked('bytes behind', '94 00 01 a1 66 90 00'),
    wrongPacked('a count that lies', '94 00 01 a1 66 ddffffffff'),
    wrongPacked('an unknown extension', '94 00 01 a1 66 91 d4 64 00'),
    wrongPacked('a byte that means nothing', '94 00 01 a1 66 91 c1'),
    wrongPacked('text that is not UTF-8', '94 00 01 a1 66 91 a1 ff'),
    wrongPacked('params that are none', '94 00 01 a1 66 05', 'INVALID_REQUEST'),
    wrongPacked('too deep', `94 00 01 a1 66 ${'91'.repeat(63)} 90`, 'TOO_DEEP'),
    wrongPacked('__proto__', '94 00 01 a1 66 91 81 a95f5f70726f746f5f5f 80', 'FORBIDDEN_KEY'),
  ],
  exact: [
    ...exact.map(vector('msgpack')),
    read(
      'integers beyond 2^53',
      '94 00 01 a1 66 92 cf0020000000000000 d38000000000000000',
      request([{ $bigint: '9007199254740992' }, { $bigint: '-9223372036854775808' }]),
    ),
  ],
})

// ── requests that a server must refuse ───────────────────────────────────────────────────────────

/** @param {string} name @param {string} payload @param {number} code @param {unknown} id */
const refused = (name, payload, code, id = null) => ({ name, payload_text: payload, code, id })
write('refused', {
  description: 'Payloads of a plain JSON-RPC peer that a server refuses: the `code` and the `id` of its answer (wire.md § 6).',
  refused: [
    refused('not JSON', '{"jsonrpc":"2.0","method":"f', -32700),
    refused('nothing', '', -32700),
    refused('a number', '5', -32600),
    refused('an empty object', '{}', -32600),
    refused('another version', '{"jsonrpc":"1.0","id":1,"method":"f"}', -32600, 1),
    refused('no version', '{"id":1,"method":"f"}', -32600, 1),
    refused('a method that is no text', '{"jsonrpc":"2.0","id":1,"method":5}', -32600, 1),
    refused('params that are no structure', '{"jsonrpc":"2.0","id":"a","method":"f","params":"x"}', -32600, 'a'),
    refused('an id that is an object', '{"jsonrpc":"2.0","id":{},"method":"f"}', -32600),
    refused('an id that is true', '{"jsonrpc":"2.0","id":true,"method":"f"}', -32600),
    refused('meta that is none', '{"jsonrpc":"2.0","id":1,"method":"f","meta":{"timeout":"5"}}', -32600, 1),
    refused('an empty batch', '[]', -32600),
    refused(
      'a batch over the limit of 100',
      `[${Array.from({ length: 101 }, (_, id) => `{"jsonrpc":"2.0","id":${id},"method":"f"}`).join()}]`,
      -32002,
    ),
    refused('too deep', `{"jsonrpc":"2.0","id":1,"method":"f","params":${deep(64)}}`, -32007, 1),
    refused('__proto__', '{"jsonrpc":"2.0","id":1,"method":"f","params":{"__proto__":{}}}', -32008, 1),
    refused('constructor', '{"jsonrpc":"2.0","id":1,"method":"f","params":[{"constructor":{}}]}', -32008, 1),
  ],
})

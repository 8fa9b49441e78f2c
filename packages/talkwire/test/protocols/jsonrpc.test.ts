import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import fc from 'fast-check'
import { envelopeOf } from '../../compliance/ends.js'
import { testErrors, testProtocol } from '../../compliance/index.js'
import { noReferences, Received } from '../../compliance/protocol.js'
import { TalkwireError } from '../../src/error.js'
import { JsonRpc } from '../../src/protocols/jsonrpc.js'
import { Kind, type Id, type Receiver } from '../../src/protocols/message.js'
import { fails } from '../helpers/expect.js'
import { captured, type Captured } from '../helpers/captured.js'

for (const codec of ['json', 'msgpack'] as const) {
  testProtocol({
    test,
    name: `jsonrpc, ${codec}`,
    async open(here, there) {
      const [a, b] = [captured(), captured()]
      const [near, far] = [new JsonRpc(a, here), new JsonRpc(b, there)]
      for (const wire of [near, far]) wire.extend(codec, true, noReferences)
      a.deliver = (payload) => far.read(payload, 0, payload.length, true)
      b.deliver = (payload) => near.read(payload, 0, payload.length, true)
      return { near, far, settle: async () => {} }
    },
  })
}
testErrors({ test })

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex')

interface End {
  readonly wire: JsonRpc
  readonly received: Received
  readonly connection: Captured
  /** Reads from the middle of a larger buffer. */
  read(payload: Buffer | string): void
  /** Everything sent, parsed, in one list. */
  sent(): unknown[]
}

function end(
  receiver: (received: Received, wire: () => JsonRpc) => Receiver = (received) => received,
  extended?: 'json' | 'msgpack',
  options: { batch?: number; depth?: number; values?: number; maxMessage?: number } = {},
): End {
  const received = new Received()
  const connection = captured(options)
  const wire: JsonRpc = new JsonRpc(
    connection,
    receiver(received, () => wire),
    options,
  )
  if (extended) wire.extend(extended, true, noReferences)
  return {
    wire,
    received,
    connection,
    read(payload) {
      const bytes = Buffer.from(payload as string)
      wire.read(Buffer.concat([Buffer.from('[{'), bytes, Buffer.from(']}')]), 2, 2 + bytes.length, false)
    },
    sent: () => connection.payloads.map((payload) => JSON.parse(payload.toString()) as unknown),
  }
}

/** What one payload is taken for. */
function taken(payload: Buffer | string, extended?: 'json' | 'msgpack', options?: { batch?: number; depth?: number }): Received {
  const { read, received } = end(undefined, extended, options)
  read(payload)
  return received
}

test("jsonrpc: a plain peer's messages, as JSON-RPC 2.0 has them", () => {
  const cases: [text: string, kind: Kind, id: Id, method: string, value: unknown][] = [
    ['{"jsonrpc":"2.0","method":"subtract","params":[42,23],"id":1}', Kind.call, 1, 'subtract', [42, 23]],
    [' \t\r\n{"id":"x","params":{"a":1},"method":"f","jsonrpc":"2.0"} \n', Kind.call, 'x', 'f', { a: 1 }],
    ['{"jsonrpc":"2.0","method":"f","id":null}', Kind.call, null, 'f', undefined],
    ['{"jsonrpc":"2.0","method":"f","id":1.5,"more":{"unknown":[1]}}', Kind.call, 1.5, 'f', undefined],
    ['{"jsonrpc":"2.0","method":"f"}', Kind.notify, null, 'f', undefined],
    ['{"jsonrpc":"2.0","method":"$/item","params":{"id":4,"value":null}}', Kind.item, 4, '$/item', null],
    ['{"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":"x"}}', Kind.cancel, 'x', '$/cancelRequest', undefined],
    ['{"jsonrpc":"2.0","method":"$/unknown","params":{"id":"x"}}', Kind.notify, null, '$/unknown', { id: 'x' }],
    ['{"jsonrpc":"2.0","method":"$/item","id":9,"params":[]}', Kind.call, 9, '$/item', []],
    ['{"jsonrpc":"2.0","result":19,"id":1}', Kind.result, 1, '', 19],
    ['{"jsonrpc":"2.0","result":null,"id":"a"}', Kind.result, 'a', '', null],
    ['{"jsonrpc":"2.0","error":{"code":-32601,"message":"no"},"id":null}', Kind.error, null, '', { code: -32601, message: 'no' }],
  ]
  for (const [text, kind, id, method, value] of cases) {
    const { messages, refused } = taken(text)
    assert.deepEqual(refused, [], text)
    assert.deepEqual(
      messages.map((told) => [told.kind, told.id, told.method, told.value]),
      [[kind, id, method, value]],
      text,
    )
    assert.equal(messages[0]!.size, Buffer.byteLength(text))
  }
})

test('jsonrpc: what is no message is refused with its code, and its id where it has one', () => {
  const deep = '['.repeat(70) + ']'.repeat(70)
  const cases: [text: string, code: string, id?: Id][] = [
    ['', 'INVALID_MESSAGE'],
    ['{', 'INVALID_MESSAGE'],
    ['{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]', 'INVALID_MESSAGE'],
    ['\u00a0{}', 'INVALID_MESSAGE'],
    ['5', 'INVALID_REQUEST'],
    ['null', 'INVALID_REQUEST'],
    ['"x"', 'INVALID_REQUEST'],
    ['{}', 'INVALID_REQUEST'],
    ['{"jsonrpc":"2.0"}', 'INVALID_REQUEST'],
    ['{"jsonrpc":"2.0","id":3}', 'INVALID_REQUEST', 3],
    ['{"jsonrpc":"1.0","id":3,"method":"f"}', 'INVALID_REQUEST', 3],
    ['{"id":3,"method":"f"}', 'INVALID_REQUEST', 3],
    ['{"jsonrpc":2.0,"id":3,"method":"f"}', 'INVALID_REQUEST', 3],
    ['{"jsonrpc":"2.0","id":3,"method":1}', 'INVALID_REQUEST', 3],
    ['{"jsonrpc":"2.0","id":3,"method":null}', 'INVALID_REQUEST', 3],
    ['{"jsonrpc":"2.0","id":3,"method":"f","params":"bar"}', 'INVALID_REQUEST', 3],
    ['{"jsonrpc":"2.0","id":3,"method":"f","params":5}', 'INVALID_REQUEST', 3],
    ['{"jsonrpc":"2.0","id":3,"method":"f","params":null}', 'INVALID_REQUEST', 3],
    ['{"jsonrpc":"2.0","id":{},"method":"f"}', 'INVALID_REQUEST'],
    ['{"jsonrpc":"2.0","id":[1],"method":"f"}', 'INVALID_REQUEST'],
    ['{"jsonrpc":"2.0","id":true,"method":"f"}', 'INVALID_REQUEST'],
    [`{"jsonrpc":"2.0","id":"${'x'.repeat(257)}","method":"f"}`, 'INVALID_REQUEST'],
    [`{"jsonrpc":"2.0","id":3,"method":"f","params":${deep}}`, 'TOO_DEEP', 3],
    ['{"jsonrpc":"2.0","id":3,"method":"f","params":{"__proto__":{"polluted":1}}}', 'FORBIDDEN_KEY', 3],
    ['{"jsonrpc":"2.0","id":3,"method":"f","params":[{"constructor":{"prototype":{}}}]}', 'FORBIDDEN_KEY', 3],
    ['{"jsonrpc":"2.0","id":3,"result":{"__proto__":{"polluted":1}}}', 'FORBIDDEN_KEY', 3],
    [`{"jsonrpc":"2.0","id":3,"result":${deep}}`, 'TOO_DEEP', 3],
    [`{"jsonrpc":"2.0","id":3,"error":${deep}}`, 'TOO_DEEP', 3],
    ...[
      'null',
      '5',
      '[]',
      '{"timeout":"5"}',
      '{"timeout":-1}',
      '{"timeout":null}',
      '{"credit":1.5}',
      '{"credit":-1}',
      '{"credit":"1"}',
      '{"input":1}',
      '{"input":false}',
      '{"metadata":[]}',
      '{"metadata":{"a":1}}',
      '{"metadata":null}',
      '{"metadata":{"__proto__":"x"}}',
      '{"metadata":{"a":{"b":"c"}}}',
    ].map((meta): [string, string, Id] => [
      `{"jsonrpc":"2.0","id":3,"method":"f","meta":${meta}}`,
      meta === '[]' ? 'none' : 'INVALID_REQUEST',
      3,
    ]),
    ...['null', '[]', '{}', '{"id":{}}', '{"id":true}', '5'].map((params): [string, string] => [
      `{"jsonrpc":"2.0","method":"$/item","params":${params}}`,
      'INVALID_REQUEST',
    ]),
    ['{"jsonrpc":"2.0","method":"$/progress","params":{"id":1,"value":2}}', 'INVALID_REQUEST'],
  ]
  for (const [text, code, id = null] of cases) {
    const { messages, refused } = taken(text)
    if (code === 'none') assert.equal(messages.length, 1, text)
    else {
      const ofResponse = /"(result|error)":/.test(text)
      assert.deepEqual([messages, refused], [[], [{ code, id, ...(ofResponse && { ofResponse }) }]], text.slice(0, 120))
    }
  }
  assert.equal(({} as { polluted?: unknown }).polluted, undefined)
  assert.deepEqual(taken('{"jsonrpc":"2.0","id":3,"method":"f","__proto__":{"params":[1]}}').messages[0]!.value, undefined)
})

test('jsonrpc: not UTF-8 is refused in every place', () => {
  for (const text of [
    '{"jsonrpc":"2.0","id":1,"method":"f#"}',
    '{"jsonrpc":"2.0","id":"#","method":"f"}',
    '{"#":1}',
    '{"jsonrpc":"2.0","id":1,"method":"f","params":["#"]}',
  ]) {
    const bytes = Buffer.from(text)
    bytes[bytes.indexOf('#')] = 0xff
    assert.deepEqual(taken(bytes).refused, [{ code: 'INVALID_MESSAGE', id: null }])
  }
})

test('jsonrpc: before a hello, tags are plain data and binary payloads are refused', () => {
  assert.deepEqual(taken('{"jsonrpc":"2.0","id":1,"method":"f","params":[{"$number":"NaN"}]}').messages[0]!.value, [{ $number: 'NaN' }])
  assert.deepEqual(taken('{"jsonrpc":"2.0","id":1,"method":"f","params":[{"$nonsense":1}]}').messages[0]!.value, [{ $nonsense: 1 }])
  for (const payload of [
    hex('94 00 01 a1 66 90'),
    envelopeOf(Buffer.from('{"jsonrpc":"2.0","id":1,"method":"f","params":[{"$bin":[0]}]}'), [Buffer.alloc(3)]),
  ]) {
    const { messages, refused } = taken(payload)
    assert.deepEqual([messages.length, refused[0]!.code], [0, 'INVALID_MESSAGE'])
  }
})

test('jsonrpc: a hello without attachments means no attachments', () => {
  const { wire, read, received } = end()
  wire.extend('json', false, noReferences)
  read(envelopeOf(Buffer.from('{"jsonrpc":"2.0","id":1,"method":"f","params":[{"$bin":[0]}]}'), [Buffer.alloc(3)]))
  assert.deepEqual([received.messages, received.refused], [[], [{ code: 'INVALID_MESSAGE', id: null }]])
  assert.throws(() => wire.send(Kind.result, 1, '', new Uint8Array(9)), fails('UNSUPPORTED'))
})

test('jsonrpc: before a hello, answers are plain JSON', () => {
  const { wire, sent } = end()
  wire.send(Kind.result, 1, '', [1n, undefined, new Map([['a', new Uint8Array([1])]]), NaN])
  assert.deepEqual(sent(), [{ jsonrpc: '2.0', id: 1, result: ['1', null, { a: 'AQ==' }, null] }])
})

test('jsonrpc: after a hello, either codec is read whichever is written', () => {
  for (const codec of ['json', 'msgpack'] as const) {
    assert.deepEqual(taken('{"jsonrpc":"2.0","id":1,"method":"f","params":[{"$number":"NaN"}]}', codec).messages[0]!.value, [NaN])
    assert.deepEqual(taken(hex('94 00 01 a1 66 91 c3'), codec).messages[0]!.value, [true])
    const head = Buffer.from('{"jsonrpc":"2.0","id":1,"method":"f","params":[{"$bin":[0]}]}')
    assert.deepEqual(taken(envelopeOf(head, [Buffer.from([1, 2])]), codec).messages[0]!.value, [new Uint8Array([1, 2])])
    const packed = hex('94 00 01 a1 66 91 c7 05 05 92 00 a2 75 31')
    assert.deepEqual(taken(envelopeOf(packed, [Buffer.from([1, 2])]), codec).messages[0]!.value, [new Uint8Array([1, 2])])
  }
})

test('jsonrpc: MessagePack arrays of any form are messages, and nothing else is', () => {
  for (const text of ['94 00 01 a1 66 90', 'dc 0004 00 01 a1 66 90', '94 cc 00 ce 00000001 d9 01 66 dc 0000'])
    assert.deepEqual(
      taken(hex(text), 'msgpack').messages.map(({ kind, id, method, value }) => [kind, id, method, value]),
      [[Kind.call, 1, 'f', []]],
      text,
    )
  const cases: [text: string, code: string, id?: Id][] = [
    ['90', 'INVALID_MESSAGE'],
    ['91 00', 'INVALID_MESSAGE'],
    ['93 00 01 a1 66', 'INVALID_MESSAGE'],
    ['96 00 01 a1 66 90 80 c0', 'INVALID_MESSAGE'],
    ['92 0a 01', 'INVALID_MESSAGE'],
    ['92 ff 01', 'INVALID_MESSAGE'],
    ['92 a1 30 01', 'INVALID_MESSAGE'],
    ['9f', 'INVALID_MESSAGE'],
    ['94 00 01 05 90', 'INVALID_MESSAGE', 1],
    ['94 00 90 a1 66 90', 'INVALID_MESSAGE'],
    ['94 00 c3 a1 66 90', 'INVALID_MESSAGE'],
    ['94 00 01 a1 66 05', 'INVALID_REQUEST', 1],
    ['94 00 01 a1 66 c0', 'INVALID_REQUEST', 1],
    ['95 00 01 a1 66 90 05', 'INVALID_REQUEST', 1],
    ['95 00 01 a1 66 90 81 a7 74696d656f7574 ff', 'INVALID_REQUEST', 1],
    ['94 00 01 a1 66 90 00', 'INVALID_MESSAGE', 1],
    ['94 00 01 a1 66 92 01', 'INVALID_MESSAGE', 1],
    ['94 00 01 a1 66 91 c1', 'INVALID_MESSAGE', 1],
    ['94 00 01 a1 66 91 81 a9 5f5f70726f746f5f5f 80', 'FORBIDDEN_KEY', 1],
    [`94 00 01 a1 66 ${'91'.repeat(80)} 01`, 'TOO_DEEP', 1],
    ['94 01 01 c0', 'INVALID_MESSAGE', 1],
    ['93 03 01', 'INVALID_MESSAGE'],
    ['92 08', 'INVALID_MESSAGE'],
  ]
  for (const [text, code, id = null] of cases) {
    const { messages, refused } = taken(hex(text), 'msgpack')
    assert.deepEqual([messages, refused.map((each) => [each.code, each.id])], [[], [[code, id]]], text)
  }
})

test('jsonrpc: a response that cannot be read names its call', () => {
  assert.deepEqual(taken(hex('94 01 05 c0 c1'), 'msgpack').refused, [{ code: 'INVALID_MESSAGE', id: 5, ofResponse: true }])
  assert.deepEqual(taken(`{"jsonrpc":"2.0","id":5,"result":{"$nonsense":1}}`, 'json').refused, [
    { code: 'INVALID_MESSAGE', id: 5, ofResponse: true },
  ])
})

test('jsonrpc: attachments of an envelope are all used, in either codec', () => {
  const json = (text: string): Buffer => Buffer.from(`{"jsonrpc":"2.0","id":1,"method":"f","params":${text}}`)
  for (const [head, count] of [
    [json('[]'), 1],
    [json('[{"$bin":[0]}]'), 2],
    [json('[{"$bin":[0]},{"$bin":[0]}]'), 2],
    [json('[{"$bin":[1]}]'), 1],
    [hex('94 00 01 a1 66 90'), 1],
  ] as const) {
    const { messages, refused } = taken(
      envelopeOf(
        head,
        Array.from({ length: count }, () => Buffer.alloc(3)),
      ),
      'msgpack',
    )
    assert.deepEqual([messages.length, refused.length, refused[0]!.code], [0, 1, 'INVALID_MESSAGE'])
  }
  assert.equal(taken(Buffer.concat([envelopeOf(json('[{"$bin":[0]}]'), [Buffer.alloc(3)]), Buffer.from([0])]), 'json').refused.length, 1)
})

// ── batches ──────────────────────────────────────────────────────────────────────────────────────

/** Answers each call at once, or later: `slow` ones when `release` is called. */
function answering(received: Received, wire: () => JsonRpc, later: (() => void)[] = []): Receiver {
  const answer = (id: Id, method: string, value: unknown): void => {
    if (method === 'fail') wire().send(Kind.error, id, '', { code: -32601, message: 'no' })
    else wire().send(Kind.result, id, '', value)
  }
  return {
    receive(kind, id, method, value, meta, size) {
      received.receive(kind, id, method, value, meta, size)
      if (kind !== Kind.call) return
      if (method === 'slow') later.push(() => answer(id, method, value))
      else answer(id, method, value)
    },
    misunderstood(error, id) {
      received.misunderstood(error, id)
      wire().send(Kind.error, id, '', { code: -1, message: error.code })
    },
  }
}

const call = (id: unknown, method = 'echo', params: unknown = [id]): object => ({ jsonrpc: '2.0', id, method, params })
const batch = (...entries: unknown[]): string => JSON.stringify(entries)

test('jsonrpc: a batch is answered by one array, calls at once or later', () => {
  const later: (() => void)[] = []
  const { read, sent, received } = end((told, wire) => answering(told, wire, later))
  read(
    batch(
      call(1),
      { jsonrpc: '2.0', method: 'note', params: [1] },
      call('b', 'slow'),
      { foo: 'boo' },
      call(3, 'fail'),
      call(4, 'echo', 'bad'),
      { jsonrpc: '2.0', id: 9, result: 5 },
    ),
  )
  assert.deepEqual(sent(), [])
  later.forEach((answer) => answer())
  assert.equal(sent().length, 1)
  const answers = sent()[0] as { id: Id; result?: unknown; error?: { code: number; message: string } }[]
  assert.deepEqual(
    new Map(answers.map(({ id, result, error }) => [id, result ?? error!.code])),
    new Map<Id, unknown>([
      [1, [1]],
      [3, -32601],
      [4, -1],
      ['b', ['b']],
      [null, -32600],
    ]),
  )
  assert.equal(answers.length, 5)
  assert.deepEqual(
    received.messages.map(({ kind, id }) => [kind, id]),
    [
      [Kind.call, 1],
      [Kind.notify, null],
      [Kind.call, 'b'],
      [Kind.call, 3],
      [Kind.result, 9],
    ],
  )
})

test('jsonrpc: batches of nothing, of nonsense, and of notifications only', () => {
  const answers = (text: string): unknown => {
    const { read, sent } = end(answering)
    read(text)
    return sent()
  }
  const invalid = {
    jsonrpc: '2.0',
    id: null,
    error: { code: -32600, message: 'a batch entry is an object', data: { code: 'INVALID_REQUEST', outcome: 'not-sent' } },
  }
  assert.deepEqual(answers('[]'), [{ jsonrpc: '2.0', id: null, error: { code: -1, message: 'INVALID_REQUEST' } }])
  assert.deepEqual(answers('[1]'), [[invalid]])
  assert.deepEqual(answers('[1,"a",null]'), [[invalid, invalid, invalid]])
  assert.deepEqual(answers('[[1],[]]'), [[invalid, invalid]])
  assert.deepEqual(answers(batch({ jsonrpc: '2.0', method: 'a' }, { jsonrpc: '2.0', method: 'b' })), [])
  assert.deepEqual(answers('[{"jsonrpc":"2.0","id":1,"method":"a"'), [
    { jsonrpc: '2.0', id: null, error: { code: -1, message: 'INVALID_MESSAGE' } },
  ])
})

test('jsonrpc: a batch over the limit is one error, and nothing of it runs (threat 14)', () => {
  const { read, sent, received } = end(answering, undefined, { batch: 3 })
  read(batch(call(1), call(2), call(3)))
  assert.equal((sent()[0] as unknown[]).length, 3)
  read(batch(call(1), call(2), call(3), call(4)))
  assert.deepEqual(received.refused, [{ code: 'LIMIT_EXCEEDED', id: null }])
  assert.equal(received.messages.length, 3)
  read(`[${'1,'.repeat(1_000_000)}1]`)
  assert.equal(sent().length, 3)
})

test('jsonrpc: the same id twice in a batch, and a batch while another is open', () => {
  const later: (() => void)[] = []
  const { read, sent } = end((told, wire) => answering(told, wire, later))
  read(batch(call(1, 'slow'), call(2)))
  read(batch(call(3), call(4)))
  assert.deepEqual(
    (sent()[0] as { id: Id }[]).map(({ id }) => id),
    [3, 4],
  )
  read(batch(call(5), call(5)))
  const ids = sent()
    .slice(1)
    .flat()
    .map((answer) => (answer as { id: Id }).id)
  assert.deepEqual(ids, [5, 5])
  later.forEach((answer) => answer())
  assert.deepEqual(
    (sent().at(-1) as { id: Id }[]).map(({ id }) => id),
    [2, 1],
  )
  read(JSON.stringify(call(1)))
  assert.deepEqual(sent().at(-1), { jsonrpc: '2.0', id: 1, result: [1] })
})

test('jsonrpc: a batch whose answers are too large together is answered one by one', () => {
  const { read, sent } = end(answering, undefined, { maxMessage: 1000 })
  const long = 'x'.repeat(600)
  read(batch(call(1, 'echo', [long]), call(2, 'echo', [long]), call(3)))
  assert.deepEqual(
    sent()
      .flat()
      .map((answer) => (answer as { id: Id }).id)
      .sort(),
    [1, 2, 3],
  )
})

test('jsonrpc: a typed array in the answer to a batch is an error, not lost bytes', () => {
  const { read, wire, connection } = end(
    (_, current) => ({
      receive: (_kind, id) =>
        assert.throws(
          () => current().send(Kind.result, id, '', new Uint8Array(5)),
          (reason) => reason instanceof TalkwireError,
        ) ?? current().send(Kind.error, id, '', { code: -1, message: 'no' }),
      misunderstood: () => {},
    }),
    'json',
  )
  read(batch(call(1)))
  assert.ok(wire.extended)
  assert.deepEqual(
    connection.payloads.map((payload) => JSON.parse(payload.toString()) as unknown),
    [[{ jsonrpc: '2.0', id: 1, error: { code: -1, message: 'no' } }]],
  )
})

test('jsonrpc: an answer that cannot be sent in a batch leaves the batch open for its error', () => {
  const { read, sent } = end((_, wire) => ({
    receive(_kind, id) {
      if (id === 1) assert.throws(() => wire().send(Kind.result, id, '', Symbol('x')), TypeError)
      wire().send(Kind.result, id, '', 'second')
    },
    misunderstood: () => {},
  }))
  read(batch(call(1), call(2)))
  assert.deepEqual(sent(), [
    [
      { jsonrpc: '2.0', id: 1, result: 'second' },
      { jsonrpc: '2.0', id: 2, result: 'second' },
    ],
  ])
})

// ── at random ────────────────────────────────────────────────────────────────────────────────────

test('jsonrpc: any payload is a message or a refusal, never an exception', () => {
  const member = fc.oneof(fc.jsonValue({ maxDepth: 3 }), fc.constantFrom('2.0', 'f', '$/item', '$/end', 'rpc.hello', 1, null, [], {}))
  const message = fc.record(
    {
      jsonrpc: fc.oneof({ weight: 5, arbitrary: fc.constant('2.0') }, member),
      id: member,
      method: member,
      params: member,
      meta: member,
      result: member,
      error: member,
    },
    { requiredKeys: [] },
  )
  const text = fc.oneof(message, fc.array(fc.oneof(message, member), { maxLength: 5 })).map((value) => Buffer.from(JSON.stringify(value)))
  const packed = fc
    .tuple(fc.integer({ min: 0x90, max: 0x96 }), fc.uint8Array({ maxLength: 20 }))
    .map(([head, rest]) => Buffer.from([head, ...rest]))
  const damaged = fc
    .tuple(text, fc.nat(), fc.nat(255))
    .map(([bytes, at, byte]) => Buffer.from(bytes).fill(byte, at % bytes.length, (at % bytes.length) + 1))
  fc.assert(
    fc.property(
      fc.oneof(
        text,
        packed,
        damaged,
        fc.uint8Array({ maxLength: 40 }).map((array) => Buffer.from(array)),
      ),
      fc.constantFrom(undefined, 'json', 'msgpack'),
      (payload, codec) => {
        const { messages, refused } = taken(payload, codec as 'json' | undefined)
        for (const { id } of refused) assert.ok(id === null || typeof id === 'number' || typeof id === 'string')
        for (const { kind, value } of messages) if (kind === Kind.call) assert.ok(value === undefined || typeof value === 'object')
      },
    ),
    { numRuns: 4000 },
  )
})

test('jsonrpc: readValue is for values', () => {
  assert.throws(() => end().wire.readValue(), TypeError)
  assert.throws(() => {
    throw new TalkwireError('TOO_DEEP', 'x')
  }, fails('TOO_DEEP'))
})

test('jsonrpc: more values than the limit fail their call or their answer, in both forms, and are not parsed', () => {
  const list = (count: number): string => `[${Array.from({ length: count }, () => 1).join()}]`
  const refused = (payload: Buffer | string): unknown => {
    const { received, read } = end(undefined, 'msgpack', { values: 100 })
    read(payload)
    assert.deepEqual(received.messages, [])
    return received.refused
  }
  const many = list(200)
  assert.deepEqual(refused(`{"jsonrpc":"2.0","id":7,"method":"f","params":[${many}]}`), [{ code: 'LIMIT_EXCEEDED', id: 7 }])
  assert.deepEqual(refused(`{"jsonrpc":"2.0","id":7,"result":${many}}`), [{ code: 'LIMIT_EXCEEDED', id: 7, ofResponse: true }])
  assert.deepEqual(refused(`{"id":7,"jsonrpc":"2.0","method":"f","params":[${many}]}`), [{ code: 'LIMIT_EXCEEDED', id: null }])
  assert.deepEqual(refused(`{"jsonrpc":"2.0","method":"f","params":[${many}] nonsense`), [{ code: 'LIMIT_EXCEEDED', id: null }])
  const packed = Buffer.concat([hex('dc 00c8'), Buffer.alloc(200, 1)])
  assert.deepEqual(refused(Buffer.concat([hex('94 00 07 a1 66 91'), packed])), [{ code: 'LIMIT_EXCEEDED', id: 7 }])
  assert.deepEqual(refused(Buffer.concat([hex('94 01 07 c0'), packed])), [{ code: 'LIMIT_EXCEEDED', id: 7, ofResponse: true }])
  const { received, read } = end(undefined, 'msgpack', { values: 100 })
  read(`{"jsonrpc":"2.0","id":7,"method":"f","params":${list(95)}}`)
  assert.equal(received.messages.length, 1)
})

test('jsonrpc: the reader keeps no large message, whether it could be read or not', async () => {
  setFlagsFromString('--expose-gc')
  const gc = runInNewContext('gc') as () => void
  const { wire } = end(undefined, 'msgpack')
  const read = (begin: Buffer): WeakRef<object> => {
    const payload = Buffer.concat([begin, hex('91 c6 000f4240'), Buffer.alloc(1_000_000)])
    wire.read(payload, 0, payload.length, false)
    return new WeakRef(payload)
  }
  for (const begin of [hex('94 00 07 a1 66'), hex('94 0f')]) {
    const kept = read(begin)
    await new Promise((resolve) => setImmediate(resolve))
    gc()
    assert.equal(kept.deref(), undefined)
  }
})

/**
 * What every protocol between two Talkwire sessions promises (`Wire` of src/protocols/message.ts), as tests:
 *
 *   testProtocol({ test, name: 'jsonrpc, msgpack', open })
 */
import assert from 'node:assert/strict'
import type { References } from '../src/codecs/codec.js'
import { TalkwireError } from '../src/error.js'
import { fromWireError, Kind, toWireError, type Id, type Meta, type Receiver, type Wire } from '../src/protocols/message.js'
import { same, values } from './codec.js'
import type { Test } from './transport.js'

/** What a receiver was told. */
export interface Told {
  readonly kind: Kind
  readonly id: Id
  readonly method: string
  readonly value: unknown
  readonly meta: Meta | undefined
  readonly size: number
}

export class Received implements Receiver {
  readonly messages: Told[] = []
  readonly refused: { code: string; id: Id; ofResponse?: true }[] = []

  receive(kind: Kind, id: Id, method: string, value: unknown, meta: Meta | undefined, size: number): void {
    this.messages.push({ kind, id, method, value, meta, size })
  }

  misunderstood({ code }: TalkwireError, id: Id, ofResponse = false): void {
    this.refused.push({ code, id, ...(ofResponse && { ofResponse }) })
  }
}

export interface ProtocolSuite {
  readonly test: Test
  readonly name: string
  /** Two ends of one wire that have agreed on everything; `settle` resolves when what was sent has arrived. */
  readonly open: (near: Receiver, far: Receiver) => Promise<{ readonly near: Wire; readonly far: Wire; settle(): Promise<void> }>
}

/** A table of references for who has none. */
export const noReferences: References = {
  export: () => undefined,
  import: () => undefined,
  home: (id) => {
    throw new TalkwireError('INVALID_MESSAGE', `the reference ${id} is not ours`)
  },
}

const ids: readonly Id[] = [1, 127, 128, 65_536, 2 ** 31, 2 ** 32, 2 ** 53 - 1]
/** What only a peer that is not ours would choose. */
const foreignIds: readonly Id[] = [0, -1, 'a', '', 'ä€', '1', 'x'.repeat(200), null, 1.5]

type Message = readonly [kind: Kind, id: Id, method: string, value: unknown, meta?: Meta]

function messages(): Message[] {
  const metas: Meta[] = [
    { timeout: 1500 },
    { timeout: 0 },
    { timeout: 0.5 },
    { metadata: { traceparent: '00-a', ä: '' } },
    { input: true },
    { credit: 524_288 },
    { timeout: 1, metadata: { a: 'b' }, input: true, credit: 0 },
  ]
  const error = toWireError(new TalkwireError('AccountClosed', 'closed', { declared: true, details: { since: new Date(5), n: 1n } }))
  return [
    ...ids.map((id): Message => [Kind.call, id, 'add', [2, 5]]),
    [Kind.call, 2, 'named', { a: 1, b: [2] }],
    [Kind.call, 3, 'nothing', []],
    [Kind.call, 4, '', []],
    [Kind.call, 5, 'ä"\\\n€', [1]],
    [Kind.call, 6, 'm'.repeat(128), [1]],
    [Kind.call, 7, '#12.name', [1]],
    ...metas.map((meta): Message => [Kind.call, 8, 'add', [1], meta]),
    ...[...ids, ...foreignIds].flatMap((id): Message[] => [
      [Kind.result, id, '', { ok: true }],
      [Kind.error, id, '', error],
      [Kind.item, id, '', [1]],
      [Kind.input, id, '', 'x'],
      [Kind.cancel, id, '', undefined],
      [Kind.progress, id, '', 0.5],
      [Kind.credit, id, '', 100],
      [Kind.inputCredit, id, '', 0],
      [Kind.end, id, '', undefined],
      [Kind.end, id, '', error],
    ]),
    [Kind.result, 1, '', null],
    [Kind.result, 1, '', undefined],
    [Kind.result, 1, '', false],
    [Kind.item, 1, '', null],
    [Kind.item, 1, '', undefined],
    [Kind.input, 1, '', undefined],
    [Kind.progress, 1, '', null],
    [Kind.notify, null, 'note', ['x']],
    [Kind.notify, null, 'note', { a: 1 }],
    [Kind.notify, null, '$/ping', {}],
    [Kind.notify, null, '$/release', { refs: [[1, 2]] }],
  ]
}

export function testProtocol({ test, name, open }: ProtocolSuite): void {
  const withPair = (
    what: string,
    body: (pair: { near: Wire; far: Wire; here: Received; there: Received; settle(): Promise<void> }) => Promise<void>,
  ): unknown =>
    test(`${name}: ${what}`, async () => {
      const [here, there] = [new Received(), new Received()]
      await body({ ...(await open(here, there)), here, there })
      assert.deepEqual([here.refused, there.refused], [[], []])
    })

  withPair('every kind of message arrives as it was sent, both ways', async ({ near, far, here, there, settle }) => {
    const all = messages()
    for (const [kind, id, method, value, meta] of all) {
      near.send(kind, id, method, value, meta)
      far.send(kind, id, method, value, meta)
    }
    await settle()
    for (const end of [here, there]) {
      assert.equal(end.messages.length, all.length)
      end.messages.forEach((told, index) => compare(told, all[index]!))
    }
  })

  withPair('`sent` is what the receiver counts', async ({ near, there, settle }) => {
    const sent: number[] = []
    for (const [kind, id, method, value, meta] of messages()) {
      near.send(kind, id, method, value, meta)
      sent.push(near.sent)
    }
    near.send(Kind.item, 1, '', { a: new Float64Array(5000), b: new Uint8Array(20_000) })
    sent.push(near.sent)
    await settle()
    assert.deepEqual(
      there.messages.map(({ size }) => size),
      sent,
    )
    assert.ok(sent.at(-1)! >= 60_000)
  })

  withPair('every value survives, as argument, result and element', async ({ near, there, settle }) => {
    const all = values()
    for (const [, value] of all) {
      near.send(Kind.call, 1, 'f', [value])
      near.send(Kind.result, 1, '', value)
      near.send(Kind.item, 1, '', value)
    }
    await settle()
    all.forEach(([what, sent, ...arrives], index) => {
      const expected = arrives.length > 0 ? arrives[0] : sent
      try {
        same((there.messages[3 * index]!.value as unknown[])[0], expected)
        same(there.messages[3 * index + 1]!.value, expected)
        same(there.messages[3 * index + 2]!.value, expected)
      } catch (reason) {
        throw new Error(what, { cause: reason })
      }
    })
  })

  withPair('a message that cannot be sent leaves nothing behind', async ({ near, there, settle }) => {
    let deep: unknown = 1
    for (let level = 0; level < 100; level++) deep = { deep }
    for (const [value, error] of [
      [[Symbol('x')], TypeError],
      [[new Uint8Array(9000), () => {}], TypeError],
      [[deep], TalkwireError],
      [{ constructor: { a: 1 } }, TalkwireError],
    ] as const) {
      assert.throws(() => near.send(Kind.call, 1, 'f', value), error)
      near.send(Kind.call, 2, 'f', [1])
    }
    await settle()
    assert.deepEqual(
      there.messages.map(({ id, value }) => [id, value]),
      Array.from({ length: 4 }, () => [2, [1]]),
    )
  })

  withPair('`sent` of one message does not depend on the one before', async ({ near, there, settle }) => {
    near.send(Kind.item, 1, '', new Uint8Array(100_000))
    near.send(Kind.item, 1, '', 1)
    assert.ok(near.sent < 10_000)
    await settle()
    assert.ok(there.messages[1]!.size < 10_000)
  })
}

function compare(told: Told, [kind, id, method, value, meta]: Message): void {
  const what = JSON.stringify({ kind, id, method })
  assert.deepEqual([told.kind, told.id], [kind, id], what)
  if (kind === Kind.call || kind === Kind.notify) assert.equal(told.method, method, what)
  if (kind !== Kind.cancel && !(kind === Kind.end && value === undefined)) assert.deepStrictEqual(told.value, value, what)
  else assert.ok(told.value === undefined || told.value === null, what)
  assert.deepEqual(told.meta, meta, what)
}

/** What errors are on the wire and become of it: spec/wire.md § 6. */
export function testErrors({ test }: { readonly test: Test }): void {
  test('errors: each of ours travels with its number, name, outcome and text', async () => {
    const rows: [code: string, number: number][] = [
      ['INVALID_MESSAGE', -32700],
      ['INVALID_REQUEST', -32600],
      ['METHOD_NOT_FOUND', -32601],
      ['INVALID_INPUT', -32602],
      ['INTERNAL', -32603],
      ['INVALID_OUTPUT', -32603],
      ['CANCELLED', -32800],
      ['DEADLINE_EXCEEDED', -32001],
      ['LIMIT_EXCEEDED', -32002],
      ['UNAUTHENTICATED', -32003],
      ['CONTRACT_MISMATCH', -32004],
      ['UNAVAILABLE', -32005],
      ['MESSAGE_TOO_LARGE', -32006],
      ['TOO_DEEP', -32007],
      ['FORBIDDEN_KEY', -32008],
    ]
    for (const [code, number] of rows) {
      for (const outcome of ['not-sent', 'maybe-ran', 'ran'] as const) {
        const wire = toWireError(new TalkwireError(code, 'the text', { outcome, details: [1] }))
        assert.deepEqual(wire, { code: number, message: 'the text', data: { code, outcome, details: [1] } })
        const back = fromWireError(JSON.parse(JSON.stringify(wire)))
        assert.deepEqual(
          [back.code, back.outcome, back.message, back.details, back.declared],
          [code, outcome, `[${code}] the text`, [1], false],
        )
      }
    }
    const declared = toWireError(new TalkwireError('AccountClosed', 'closed', { declared: true, outcome: 'ran', details: { since: 1 } }))
    assert.deepEqual(declared, { code: -32010, message: 'closed', data: { code: 'AccountClosed', outcome: 'ran', details: { since: 1 } } })
    const back = fromWireError(declared)
    assert.deepEqual([back.code, back.declared, back.outcome, back.details], ['AccountClosed', true, 'ran', { since: 1 }])
  })

  test('errors: what a foreign peer sends has a code and an outcome, whatever it is', async () => {
    const rows: [wire: unknown, code: string, outcome: string][] = [
      [{ code: -32700, message: 'x' }, 'INVALID_MESSAGE', 'not-sent'],
      [{ code: -32600, message: 'x' }, 'INVALID_REQUEST', 'not-sent'],
      [{ code: -32601, message: 'x' }, 'METHOD_NOT_FOUND', 'not-sent'],
      [{ code: -32602, message: 'x' }, 'INVALID_INPUT', 'not-sent'],
      [{ code: -32603, message: 'x' }, 'INTERNAL', 'ran'],
      [{ code: -32800, message: 'x' }, 'CANCELLED', 'maybe-ran'],
      [{ code: -32001, message: 'x' }, 'DEADLINE_EXCEEDED', 'maybe-ran'],
      [{ code: -32000, message: 'x' }, 'UNKNOWN', 'ran'],
      [{ code: 7, message: 'x' }, 'UNKNOWN', 'ran'],
      [{ code: -32601, message: 'x', data: { outcome: 'ran' } }, 'METHOD_NOT_FOUND', 'not-sent'],
      [{ code: -32601, message: 'x', data: { code: 5, outcome: 'never' } }, 'METHOD_NOT_FOUND', 'not-sent'],
      [{}, 'UNKNOWN', 'ran'],
      [null, 'UNKNOWN', 'ran'],
      ['text', 'UNKNOWN', 'ran'],
      [5, 'UNKNOWN', 'ran'],
      [[], 'UNKNOWN', 'ran'],
      [{ code: '1', message: 5, data: null }, 'UNKNOWN', 'ran'],
      [{ code: -32010, message: 'x' }, 'UNKNOWN', 'ran'],
    ]
    for (const [wire, code, outcome] of rows) {
      const error = fromWireError(wire)
      assert.ok(error instanceof TalkwireError)
      assert.deepEqual([error.code, error.outcome, error.declared], [code, outcome, false], JSON.stringify(wire))
      assert.ok(error.message.startsWith(`[${code}] `))
    }
    assert.deepEqual(fromWireError({ code: -32000, message: 'x', data: { why: 1 } }).details, { why: 1 })
  })
}

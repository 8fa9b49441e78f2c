import assert from 'node:assert/strict'
import { test } from 'node:test'
import { testProtocol } from '../../compliance/index.js'
import { noReferences, Received } from '../../compliance/protocol.js'
import { Kind } from '../../src/protocols/message.js'
import { ValueProtocol } from '../../src/protocols/values.js'
import { capturedValues } from '../helpers/captured.js'

testProtocol({
  test,
  name: 'values',
  async open(here, there) {
    const [a, b] = [capturedValues(), capturedValues()]
    const [near, far] = [new ValueProtocol(a, here), new ValueProtocol(b, there)]
    for (const wire of [near, far]) wire.extend('values', true, noReferences)
    a.deliver = (value) => far.readValue(value)
    b.deliver = (value) => near.readValue(value)
    return { near, far, settle: async () => {} }
  },
})

test('values: what is no message is refused, whatever it is', () => {
  const cases: [value: unknown, id: number | null][] = [
    [null, null],
    [5, null],
    ['x', null],
    [{}, null],
    [[], null],
    [[0], null],
    [[0, 1], 1],
    [[11, 1, 'f', [], undefined], null],
    [[-1, 1, 'f', []], null],
    [[0.5, 1, 'f', []], null],
    [['0', 1, 'f', []], null],
    [[0, {}, 'f', []], null],
    [[0, true, 'f', []], null],
    [[0, 1, 5, []], 1],
    [[0, 1, 'f', [{ $nonsense: 1 }]], 1],
    [[0, 1, 'f', [{ $nd: [1, 2] }]], 1],
    [[0, 1, 'f', [{ $nd: [new Uint8Array(2), [3]] }]], 1],
    [[0, 1, 'f', [/x/]], 1],
    [[0, 1, 'f', [new Error('x')]], 1],
    [[0, 1, 'f', JSON.parse('[{"__proto__":{"polluted":1}}]')], 1],
    [[0, 1, 'f', 5], 1],
    [[0, 1, 'f', [], 5], 1],
    [[0, 1, 'f', [], { timeout: -1 }], 1],
    [[0, 1, 'f', [], { timeout: '5' }], 1],
    [[0, 1, 'f', [], { metadata: { a: 1 } }], 1],
  ]
  for (const [value, id] of cases) {
    const received = new Received()
    new ValueProtocol(capturedValues(), received).readValue(value)
    assert.deepEqual([received.messages.length, received.refused.map((each) => each.id)], [0, [id]], JSON.stringify(value) ?? String(value))
  }
  assert.equal(({} as { polluted?: unknown }).polluted, undefined)
})

test('values: depth and shared memory', () => {
  const received = new Received()
  const wire = new ValueProtocol(capturedValues(), received)
  let deep: unknown = 1
  for (let level = 0; level < 100_000; level++) deep = [deep]
  wire.readValue([Kind.call, 1, 'f', deep])
  assert.deepEqual(received.refused, [{ code: 'TOO_DEEP', id: 1 }])
  const shared = new SharedArrayBuffer(8)
  wire.readValue([Kind.call, 1, 'f', [shared]])
  assert.equal((received.messages[0]!.value as unknown[])[0], shared)
})

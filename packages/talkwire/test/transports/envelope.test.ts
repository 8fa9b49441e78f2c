import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { envelopeOf } from '../../compliance/ends.js'
import { ENVELOPE, open, seal, takeAttachments } from '../../src/codecs/envelope.js'
import { Writer } from '../../src/codecs/writer.js'
import { TalkwireError } from '../../src/error.js'
import { fails } from '../helpers/expect.js'

/** As a connection would write it. */
function write(head: Uint8Array, attachments: readonly Uint8Array[], before = 0): Buffer {
  const writer = new Writer(16)
  writer.bytes(Buffer.alloc(before, 0xaa))
  writer.bytes(head)
  writer.attachments = [...attachments]
  const length = seal(writer, before)
  for (const part of takeAttachments(writer, before)) writer.bytes(part)
  assert.deepEqual(writer.attachments, [])
  assert.equal(writer.position - before, length)
  assert.ok(writer.buffer.subarray(0, before).every((byte) => byte === 0xaa))
  return Buffer.from(writer.buffer.subarray(before, writer.position))
}

const parts = fc.tuple(
  fc.uint8Array({ minLength: 0, maxLength: 40 }),
  fc.array(fc.uint8Array({ maxLength: 30 }), { minLength: 1, maxLength: 6 }),
)

test('what is sealed is as the specification draws it', () => {
  fc.assert(
    fc.property(parts, fc.nat(20), ([head, attachments], before) => {
      assert.deepEqual(write(head, attachments, before), envelopeOf(head, attachments))
    }),
  )
  assert.deepEqual(write(Buffer.from('{}'), []), Buffer.from('{}'))
})

test("what is opened is what was sealed, aligned and the receiver's own", () => {
  fc.assert(
    fc.property(parts, fc.nat(9), fc.boolean(), ([head, attachments], shift, owned) => {
      const payload = envelopeOf(head, attachments)
      const bytes = Buffer.concat([Buffer.alloc(shift), payload, Buffer.alloc(3)])
      const opened = open(bytes, shift, shift + payload.length, owned)
      assert.deepEqual(bytes.subarray(opened.headStart, opened.headEnd), Buffer.from(head))
      assert.deepEqual(opened.attachments, attachments)
      for (const each of opened.attachments) assert.equal(each.byteOffset % 8, 0)
      if (owned) return
      bytes.fill(0xee)
      assert.deepEqual(opened.attachments, attachments)
    }),
  )
})

test('what the receiver owns, and is aligned, is not copied', () => {
  const payload = envelopeOf(Buffer.from('{}'), [Buffer.alloc(100, 7), Buffer.alloc(9, 8)])
  const slow = Buffer.allocUnsafeSlow(payload.length)
  payload.copy(slow)
  for (const each of open(slow, 0, slow.length, true).attachments) assert.equal(each.buffer, slow.buffer)
  for (const each of open(slow, 0, slow.length, false).attachments) assert.notEqual(each.buffer, slow.buffer)
})

test('cut anywhere, or with a byte too many, it is refused', () => {
  const payload = envelopeOf(Buffer.from('{"a":1}'), [Buffer.alloc(5, 1), Buffer.alloc(0), Buffer.alloc(17, 2)])
  for (let end = 1; end < payload.length; end++)
    assert.throws(() => open(payload, 0, end, false), fails('INVALID_MESSAGE'), `cut at ${end}`)
  assert.throws(() => open(Buffer.concat([payload, Buffer.from([0])]), 0, payload.length + 1, false), fails('INVALID_MESSAGE'))
})

test('lengths that lie are refused, and nothing is reserved for them', () => {
  const payload = envelopeOf(Buffer.from('{}'), [Buffer.alloc(5)])
  const lies: [offset: number, bytes: number[]][] = [
    [1, [1]],
    [2, [0, 0]],
    [2, [0xff, 0xff]],
    [4, [0xff, 0xff, 0xff, 0xff]],
    [4, [0x7f, 0xff, 0xff, 0xff]],
    [4, [0, 0, 0, 20]],
    [8, [0xff, 0xff, 0xff, 0xff]],
    [8, [0, 0, 0, 4]],
    [8, [0, 0, 0, 6]],
  ]
  const before = process.memoryUsage().arrayBuffers
  for (const [offset, bytes] of lies) {
    const lie = Buffer.from(payload)
    lie.set(bytes, offset)
    assert.throws(() => open(lie, 0, lie.length, false), fails('INVALID_MESSAGE'), `${bytes.join()} at ${offset}`)
  }
  assert.ok(process.memoryUsage().arrayBuffers - before < 1 << 20)
})

test('random bytes are an envelope or a typed error', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 80 }), fc.boolean(), (array, owned) => {
      const bytes = Buffer.from([ENVELOPE, 0, 0, ...array])
      try {
        const { headStart, headEnd } = open(bytes, 0, bytes.length, owned)
        assert.ok(headStart <= headEnd && headEnd <= bytes.length)
      } catch (reason) {
        assert.ok(reason instanceof TalkwireError && reason.code === 'INVALID_MESSAGE', String(reason))
      }
    }),
    { numRuns: 3000 },
  )
})

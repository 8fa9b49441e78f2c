import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Received } from '../../compliance/protocol.js'
import { TalkwireError } from '../../src/error.js'
import { JsonRpc } from '../../src/protocols/jsonrpc.js'
import { toWireError, type Id } from '../../src/protocols/message.js'
import { FrameReader, type Framing } from '../../src/transports/framing.js'
import { captured } from '../helpers/captured.js'
import { asWritten, fromMessage, fromNotation, payloadOf, toMessage } from '../helpers/notation.js'

function folder(): string {
  for (let at = dirname(fileURLToPath(import.meta.url)); ; at = dirname(at)) {
    const vectors = join(at, 'spec/vectors')
    if (existsSync(vectors)) return vectors
    if (at === dirname(at)) throw new Error('spec/vectors is not above this file')
  }
}
const read = (name: string): Record<string, any> => JSON.parse(readFileSync(join(folder(), `${name}.json`), 'utf8')) as Record<string, any>

interface Vector {
  readonly name: string
  readonly payload_text?: string
  readonly payload_hex?: string
  readonly read_only?: boolean
  readonly message?: Record<string, unknown>
  readonly error?: string
}
const payload = ({ payload_text: text, payload_hex: hex }: Vector): Buffer =>
  text === undefined ? Buffer.from(hex!, 'hex') : Buffer.from(text)

for (const codec of ['json', 'msgpack'] as const) {
  const content = read(codec)
  const vectors = [...(content['vectors'] as Vector[]), ...(content['exact'] as Vector[])]

  test(`vectors: ${codec} payloads mean what they say`, () => {
    assert.ok(vectors.length > 40)
    for (const vector of vectors) {
      const received = new Received()
      const wire = new JsonRpc(captured(), received)
      wire.extend(codec, true, asWritten)
      const bytes = payload(vector)
      wire.read(bytes, 0, bytes.length, false)
      if (vector.error) assert.deepEqual([received.messages, received.refused.map(({ code }) => code)], [[], [vector.error]], vector.name)
      else assert.deepEqual([received.messages.map(toMessage), received.refused], [[vector.message], []], vector.name)
    }
  })

  test(`vectors: messages become ${codec} payloads, byte for byte`, () => {
    for (const vector of vectors) {
      if (vector.error || vector.read_only) continue
      assert.equal(
        payloadOf(codec, fromMessage(fromNotation(vector.message))).toString('hex'),
        payload(vector).toString('hex'),
        vector.name,
      )
    }
  })
}

test('vectors: framings, cut at every place', () => {
  const all = read('framing')['framings'] as {
    name: string
    framing: Framing | null
    maxMessage?: number
    bytes: string
    messages: string[]
    error?: string
  }[]
  assert.ok(all.length > 10)
  for (const { name, framing, maxMessage = 1 << 26, bytes: hex, messages, error } of all) {
    const bytes = Buffer.from(hex, 'hex')
    for (let place = 0; place <= bytes.length; place++) {
      const seen: string[] = []
      const reader = new FrameReader(maxMessage, (chunk, start, end) => void seen.push(chunk.toString('hex', start, end)))
      const push = (): void => {
        reader.push(bytes.subarray(0, place))
        reader.push(bytes.subarray(place))
        reader.finish()
      }
      if (error) assert.throws(push, (reason) => reason instanceof TalkwireError && reason.code === error, name)
      else push()
      assert.deepEqual(seen, messages, `${name}, cut at ${place}`)
      if (framing) assert.equal(reader.framing, framing)
    }
  }
})

test('vectors: what a server refuses', () => {
  const all = read('refused')['refused'] as { name: string; payload_text: string; code: number; id: Id }[]
  assert.ok(all.length > 10)
  for (const { name, payload_text: text, code, id } of all) {
    const refused: [number, Id][] = []
    const wire = new JsonRpc(captured(), {
      receive: () => refused.push([0, null]),
      misunderstood: (error, of) => refused.push([toWireError(error).code, of]),
    })
    wire.read(Buffer.from(text), 0, Buffer.byteLength(text), false)
    assert.deepEqual(refused, [[code, id]], name)
  }
})

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encodeFrame, frameReader, type Frame } from '../../../src/hub/drivers/stomp/frames.js'
import { fails } from '../../helpers/expect.js'

const HEADERS = { plain: 'yes', empty: '', 'a:b': ' C:\\new\r\n ', größe: '世界 🎈', spaces: '  two  ' }
const EVERY = Buffer.from(Uint8Array.from({ length: 256 }, (_, index) => index))

const read = (chunks: readonly Buffer[]): Frame[] => {
  const frames: Frame[] = []
  const take = frameReader((frame) => frames.push(frame))
  for (const chunk of chunks) take(chunk)
  return frames
}

test('frames come back as they were, wherever they are cut, with heartbeats between them', () => {
  const bytes = Buffer.concat([
    encodeFrame('SEND', HEADERS, EVERY),
    Buffer.from('\n\r\n'),
    encodeFrame('SEND', HEADERS, Buffer.alloc(0)),
    encodeFrame('ACK', { id: '1' }, undefined),
  ])
  const cuts = [
    [bytes],
    [...bytes].map((byte) => Buffer.from([byte])),
    ...[...bytes.keys()].map((at) => [bytes.subarray(0, at), bytes.subarray(at)]),
  ]
  for (const chunks of cuts) {
    const [first, second, third, ...more] = read(chunks)
    assert.deepEqual(Object.fromEntries(first!.headers), { ...HEADERS, 'content-length': '256' })
    assert.ok(EVERY.equals(first!.body))
    assert.deepEqual(Object.fromEntries(second!.headers), { ...HEADERS, 'content-length': '0' })
    assert.deepEqual([third!.command, [...third!.headers], third!.body.length, more.length], ['ACK', [['id', '1']], 0, 0])
  }
})

test('the first header of a name counts; lines may end with both; a body without a length ends at the zero', () => {
  const [frame] = read([Buffer.from('MESSAGE\r\na:1\r\na:2\r\n\r\ntext\0')])
  assert.deepEqual([frame!.command, [...frame!.headers], String(frame!.body)], ['MESSAGE', [['a', '1']], 'text'])
  assert.deepEqual([...read([Buffer.from('CONNECTED\nserver:a\\b\n\n\0')])[0]!.headers], [['server', 'a\\b']])
})

test('what is no frame is refused, and memory with it', () => {
  for (const wrong of [
    'MESSAGE\nno colon\n\n\0',
    'MESSAGE\na:\\t\n\n\0',
    'MESSAGE\ncontent-length:-1\n\n\0',
    'MESSAGE\ncontent-length:1\n\nab\0',
  ])
    assert.throws(() => read([Buffer.from(wrong)]), fails('INVALID_MESSAGE'), wrong)
  assert.throws(() => read(Array.from({ length: 20 }, () => Buffer.alloc(100_000, 'a'))), fails('INVALID_MESSAGE'))
})

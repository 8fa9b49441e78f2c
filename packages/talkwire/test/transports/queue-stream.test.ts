/** What a queue has to bear from its stream: nothing is asked of it that nobody wants. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { turns } from '../../compliance/ends.js'
import { QueueStream, type Piece, type QueuePair } from '../../src/transports/queue-stream.js'

test('whoever does not read is not told of pieces, and takes none; the rest comes later', async () => {
  const told: { look: (() => void) | undefined } = { look: undefined }
  const listens = (): boolean => told.look !== undefined
  let left = 100
  const pair: QueuePair = {
    pieceSize: 1000,
    send: () => true,
    receive: (): Piece | undefined => (left-- > 0 ? { is: 'data', bytes: Buffer.alloc(1000) } : undefined),
    listen: (given) => (told.look = given),
    onceRoom: () => () => {},
    tear() {},
    close() {},
    ref() {},
    unref() {},
  }
  const stream = new QueueStream(pair)
  stream.read(0)
  for (let turn = 0; turn < 3; turn++) told.look?.()
  assert.ok(left > 50, 'no more than a stream holds is taken')
  assert.equal(listens(), false)
  let bytes = 0
  stream.on('data', (chunk: Buffer) => (bytes += chunk.length))
  while (left > 0) {
    await turns()
    told.look?.()
  }
  await turns()
  assert.equal(bytes, 100_000)
  stream.destroy()
  assert.equal(listens(), false)
})

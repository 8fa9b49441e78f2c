import assert from 'node:assert/strict'
import { once } from 'node:events'
import { PassThrough } from 'node:stream'
import { test } from 'node:test'
import { PipePair } from '../../src/transports/pipe-pair.js'

test('pipe pair: an incoming pipe that is torn off without an end is no end, and takes the other along', async () => {
  const [input, output] = [new PassThrough(), new PassThrough()]
  const pair = new PipePair(input, output)
  let ended = false
  pair.on('end', () => (ended = true)).resume()
  input.write('x')
  input.destroy()
  await once(pair, 'close')
  assert.deepEqual([ended, output.destroyed], [false, true])
})

test('pipe pair: the end of the incoming pipe leaves the outgoing one open', async () => {
  const [input, output] = [new PassThrough(), new PassThrough()]
  const pair = new PipePair(input, output)
  pair.resume()
  input.end('last')
  await once(pair, 'end')
  pair.end('answer')
  assert.equal(String(await output.reduce((all: string, chunk: Buffer) => all + chunk.toString(), '')), 'answer')
})

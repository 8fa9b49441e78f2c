import assert from 'node:assert/strict'
import net from 'node:net'
import { test } from 'node:test'
import { testSession } from '../../compliance/index.js'
import { soon } from '../../compliance/ends.js'
import { connect } from '../../src/connect.js'
import { freshName, freshPath } from '../helpers/place.js'

testSession({ test, name: 'session over memory', address: () => `memory:${freshName()}` })
testSession({ test, name: 'session over unix', address: () => `unix:${freshPath('.sock')}` })
testSession({ test, name: 'session over unix, JSON', address: () => `unix:${freshPath('.sock')}`, connectOptions: { codecs: ['json'] } })

/** A server by hand: says what it is told, and gives what it was sent, one JSON text after another. */
async function byHand(): Promise<{ address: string; said(): Promise<Record<string, unknown>>; say(message: object): void; close(): void }> {
  const path = freshPath('.sock')
  const messages: Record<string, unknown>[] = []
  const waiting: ((message: Record<string, unknown>) => void)[] = []
  let socket!: net.Socket
  let bytes = Buffer.alloc(0)
  const server = net.createServer((accepted) => {
    socket = accepted
      .on('error', () => {})
      .on('data', (chunk) => {
        bytes = Buffer.concat([bytes, chunk])
        for (; bytes.length >= 4 && bytes.length >= 4 + bytes.readUInt32BE(); bytes = bytes.subarray(4 + bytes.readUInt32BE())) {
          const message = JSON.parse(bytes.toString('utf8', 4, 4 + bytes.readUInt32BE())) as Record<string, unknown>
          const take = waiting.shift()
          if (take) take(message)
          else messages.push(message)
        }
      })
  })
  await new Promise<void>((resolve) => server.listen(path, resolve))
  return {
    address: `unix:${path}`,
    said: () =>
      soon(messages.length > 0 ? Promise.resolve(messages.shift()!) : new Promise((resolve) => waiting.push(resolve)), 'a message'),
    say(message) {
      const text = Buffer.from(JSON.stringify({ jsonrpc: '2.0', ...message }))
      const head = Buffer.alloc(4)
      head.writeUInt32BE(text.length)
      socket.write(Buffer.concat([head, text]))
    },
    close() {
      socket.destroy()
      server.close()
    },
  }
}

test('session: a request that cannot be read does not settle a call of ours with the same id', async () => {
  const server = await byHand()
  const connecting = connect(server.address, { reconnect: false })
  const hello = await server.said()
  assert.equal(hello['method'], 'rpc.hello')
  server.say({ id: hello['id'], error: { code: -32601, message: 'what?' } })
  const client = await connecting
  const call = soon(client['echo']!(1) as Promise<unknown>, 'the answer')
  const { id } = await server.said()
  server.say({ id, method: 'f', params: JSON.parse('[{"__proto__":{"polluted":1}}]') as object })
  const refusal = await server.said()
  assert.deepEqual([refusal['id'], (refusal['error'] as { code: number }).code], [id, -32008])
  server.say({ id, result: 'mine' })
  assert.equal(await call, 'mine')
  server.close()
})

test('session: a response that cannot be read fails its call, and no other', async () => {
  const server = await byHand()
  const connecting = connect(server.address, { reconnect: false })
  server.say({ id: (await server.said())['id'], error: { code: -32601, message: 'what?' } })
  const client = await connecting
  const [first, second] = [client['a']!(1) as Promise<unknown>, client['b']!(2) as Promise<unknown>]
  const ids = [(await server.said())['id'], (await server.said())['id']]
  server.say({ id: ids[0], result: JSON.parse('{"__proto__":{"polluted":1}}') as object })
  server.say({ id: ids[1], result: 'fine' })
  await assert.rejects(
    soon(first, 'an answer'),
    (error: { code: string; outcome: string }) => error.code === 'FORBIDDEN_KEY' && error.outcome === 'ran',
  )
  assert.equal(await soon(second, 'an answer'), 'fine')
  server.close()
})

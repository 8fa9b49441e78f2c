/** Contracts of services that were not written with Talkwire: names that do not fit, and parameters by position. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as z from 'zod'
import { connect, contract, jsonSchema, rpc, serve, sessionOf, stream } from '../../src/index.js'
import { foreignContract, nameLike } from '../../src/contract/foreign.js'
import { openRpc } from '../../src/contract/openrpc.js'
import { freshPath } from '../helpers/place.js'

test('a foreign contract has what can be called, and tells what it left out', () => {
  const made = foreignContract(
    'My Bank.',
    3,
    { deposit: rpc(), close: rpc(), 'a b': rpc(), 'rpc.x': rpc(), __proto__x: rpc() },
    { old: 'gone' },
  )
  assert.equal(made.id, 'My-Bank/3')
  assert.deepEqual(Object.keys(made.members), ['deposit', '__proto__x'])
  assert.deepEqual(Object.keys(made.foreign!.leftOut), ['old', 'close', 'a b', 'rpc.x'])
  assert.match(made.foreign!.leftOut['close']!, /the client object needs it/)
  assert.equal(foreignContract('', 1.5, {}).id, 'service/0')
  for (const [text, name] of [
    ['../../etc', 'etc'],
    ['bank.sock', 'service'],
    ['a'.repeat(100), 'a'.repeat(64)],
    ['org.freedesktop.Notifications', 'org.freedesktop.Notifications'],
    ['…', 'service'],
  ] as const)
    assert.equal(nameLike(text), name)
})

const sums = contract('sums/1', {
  add: rpc({ input: z.strictObject({ a: z.number(), b: z.number().optional() }), output: z.number(), parameters: ['a', 'b'] }),
  tags: rpc({ input: z.strictObject({ options: z.record(z.string(), z.string()) }), output: z.array(z.string()), parameters: ['options'] }),
})

test('parameters: an input goes to functions as its members, in their order', async () => {
  const path = freshPath('.sock')
  const seen: unknown[][] = []
  await using service = await serve('sums', { add: (...all: number[]) => (seen.push(all), all.length) }, { listen: `unix:${path}` })
  const made = foreignContract('sums', 0, { add: sums.members.add })
  await using client = await connect(made, service.addresses[0]!)
  const { add } = client as unknown as { add(input: object): Promise<number> }
  assert.equal(await add({ b: 2, a: 1 }), 2)
  assert.equal(await add({ a: 1 }), 1)
  await assert.rejects(async () => add({ a: 1, c: 2 }), /"c" is no parameter; there are a, b/)
  assert.deepEqual(seen, [[1, 2], [1]])
})

test('parameters: who is called by position and by name answers both', async () => {
  const path = freshPath('.sock')
  await using service = await serve(
    sums,
    { add: ({ a, b = 0 }) => a + b, tags: ({ options }) => Object.keys(options) },
    { listen: `unix:${path}` },
  )
  await using client = await connect(service.addresses[0]!)
  const session = sessionOf(client)!
  assert.equal(await session.call('add', [2, 5]), 7)
  assert.equal(await session.call('add', [2]), 2)
  assert.equal(await session.call('add', { a: 2, b: 5 }), 7)
  assert.equal(await session.call('add', [{ a: 2, b: 5 }]), 7)
  await assert.rejects(session.call('add', [1, 2, 3]), /parameter 3/)
  assert.deepEqual(await session.call('tags', [{ x: '1' }]), ['x'])
  assert.deepEqual(await session.call('tags', [{}]), [])
  await using typed = await connect(sums, service.addresses[0])
  assert.equal(await typed.add({ a: 2, b: 5 }), 7)
  assert.deepEqual(await typed.tags({ options: { y: '2' } }), ['y'])
})

test('parameters: OpenRPC lists them in their order', async () => {
  const [method] = openRpc(await jsonSchema(contract('sums/1', { add: rpc({ ...sums.members.add, parameters: ['b', 'a'] }) }))).methods
  assert.equal(method!.paramStructure, 'either')
  assert.deepEqual(
    method!.params.map(({ name, required }) => [name, required]),
    [
      ['b', false],
      ['a', true],
    ],
  )
})

test('parameters: only of an input that has members', () => {
  assert.throws(() => rpc({ parameters: ['a'] }), TypeError)
  assert.throws(() => rpc({ input: stream(z.string()), parameters: ['a'] }), TypeError)
})

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type } from 'arktype'
import * as v from 'valibot'
import * as z from 'zod'
import { contract, event, isContract, isStream, rpc, stream } from '../../src/contract/contract.js'
import { describeIssues } from '../../src/contract/standard-schema.js'

test('a contract is plain data', () => {
  const A = z.string()
  assert.deepEqual(
    { ...contract('my.bank-2/17', { reset: rpc(), said: event(A) }) },
    {
      kind: 'contract',
      id: 'my.bank-2/17',
      name: 'my.bank-2',
      version: 17,
      members: {
        reset: { kind: 'rpc', input: undefined, output: undefined, errors: {}, idempotent: false, oneway: false },
        said: { kind: 'event', payload: A },
      },
    },
  )
})

test('ids', () => {
  for (const id of [
    'bank',
    'bank/',
    '/1',
    'bank/1.0',
    'bank/-1',
    'bank/one',
    '../bank/1',
    'a/b/1',
    'bank/1 ',
    '',
    `${'a'.repeat(65)}/1`,
    'bank.sock/1',
    'bank/1234567890',
  ])
    assert.throws(() => contract(id, {}), TypeError, id)
})

test('names of methods and events', () => {
  for (const name of [
    'on',
    'close',
    'closed',
    'then',
    'constructor',
    'toJSON',
    'rpc.hello',
    '$/cancel',
    '#1',
    'a b',
    'a\n',
    '',
    'a'.repeat(129),
  ]) {
    assert.throws(() => contract('bank/1', { [name]: rpc() }), TypeError, name)
    assert.throws(() => contract('bank/1', { [name]: event(z.null()) }), TypeError, name)
  }
  const inherited = JSON.parse('{"__proto__": {"kind": "rpc", "errors": {}}}') as Record<string, ReturnType<typeof rpc>>
  assert.throws(() => contract('bank/1', inherited), TypeError)
  for (const name of ['a', 'account.deposit', 'a/b', 'größe']) contract('bank/1', { [name]: rpc() })
})

test('names of errors are PascalCase', () => {
  for (const name of ['closed', 'ACCOUNT_CLOSED', '', 'A b', '__proto__'])
    assert.throws(() => contract('bank/1', { call: rpc({ errors: { [name]: z.null() } }) }), TypeError, name)
  contract('bank/1', { call: rpc({ errors: { AccountClosed: z.null() } }) })
})

test('a oneway method has nothing to answer', () => {
  assert.throws(() => rpc({ oneway: true, output: z.null() }), TypeError)
  assert.throws(() => rpc({ oneway: true, errors: {} }), TypeError)
})

test('streams and contracts are recognised, schemas of no library are taken for them', () => {
  assert.ok(isStream(stream(z.string())) && isContract(contract('a/1', {})))
  for (const value of [z.string(), v.string(), type('string'), null, undefined, 'stream', rpc()])
    assert.ok(!isStream(value) && !isContract(value))
})

test('issues of every library read alike', async () => {
  for (const schema of [z.object({ a: z.array(z.number()) }), v.object({ a: v.array(v.number()) }), type({ a: 'number[]' })]) {
    const result = await schema['~standard'].validate({ a: [1, 'x'] })
    assert.match(describeIssues(result.issues ?? []), /^a\.1: /)
  }
})

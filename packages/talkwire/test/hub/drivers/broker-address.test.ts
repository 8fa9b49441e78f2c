import assert from 'node:assert/strict'
import { test } from 'node:test'
import { brokerAddress } from '../../../src/hub/drivers/broker-address.js'
import { fails } from '../../helpers/expect.js'

const read = (address: string) => brokerAddress(address, ['nats'], /^\/?$/, 'NATS is nats://host', ['version'])

test('user, password and host are as they are meant', () => {
  const { user, password, host, prefix } = read('nats://a%40b:c%2Fd@[::1]:4222?prefix=shop&version=5')
  assert.deepEqual([user, password, host, prefix], ['a@b', 'c/d', '::1', 'shop'])
  assert.deepEqual([read('nats://h').user, read('nats://h').password, read('nats://h').prefix], ['', '', 'talkwire'])
})

test('what is no address is refused as one, also a "%" without its digits', () => {
  for (const address of ['nats:', 'mqtt://h', 'nats://h/x', 'nats://h?prefix=a.b', 'nats://h?other=1', 'nats://u%:p@h', 'nats://u:p%zz@h'])
    assert.throws(() => read(address), fails('INVALID_ADDRESS'), address)
})

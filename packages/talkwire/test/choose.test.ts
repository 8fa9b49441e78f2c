import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { chooseAddress } from '../src/choose.js'
import { connect, serve, sessionOf, TalkwireError } from '../src/index.js'
import './session/harness.js'
import { script } from './transports/fixtures/support.js'

test('the best wire that this side has is taken, whatever the order', () => {
  assert.equal(chooseAddress(['tcp://127.0.0.1:7000', 'unix:bank']), 'unix:bank')
  assert.equal(chooseAddress(['tls://h:1', 'tcp://127.0.0.1:7000']), 'tcp://127.0.0.1:7000')
  assert.equal(chooseAddress(['pigeon:x', 'constructor:x']), undefined)
  assert.equal(chooseAddress(['memory:x']), undefined, 'another process has no way into this one')
  assert.equal(chooseAddress([]), undefined)
})

test('shared memory is taken by who can, and a socket by who cannot', async () => {
  const service = await serve('both', { add: (a: number, b: number) => a + b }, { listen: ['unix:both', 'shm:both'] })
  const client = await connect<{ add(a: number, b: number): number }>('both')
  assert.equal(sessionOf(client)!.peer.address, 'shm:both')
  assert.equal(await client.add(2, 5), 7)
  await client.close()
  const program = `import { connect, sessionOf } from ${JSON.stringify(new URL('../src/index.js', import.meta.url).href)}
    const client = await connect('both')
    console.log(sessionOf(client).peer.address, await client.add(2, 5))
    await client.close()`
  const { stdout } = await promisify(execFile)(process.execPath, [
    '--require',
    script('without-koffi.cjs'),
    '--input-type=module',
    '-e',
    program,
  ])
  assert.equal(stdout, 'unix:both 7\n')
  await service.close()
})

test('a service that listens on shared memory alone is found by its name', async () => {
  const service = await serve('inmemory', { add: (a: number, b: number) => a + b }, { listen: 'shm:inmemory' })
  const client = await connect('inmemory')
  assert.equal(sessionOf(client)!.peer.address, 'shm:inmemory')
  await client.close()
  await service.close()
})

test('a name leads to the best of the addresses that were announced', async () => {
  const service = await serve('choose', { add: (a: number, b: number) => a + b }, { listen: ['memory:choose', 'unix:choose'] })
  const client = await connect('choose')
  assert.equal(sessionOf(client)!.peer.address, 'unix:choose')
  await client.close()
  await service.close()
})

test('why nothing was found is one line that names the fix', async () => {
  const one = (await connect('nowhere').catch((error: unknown) => error)) as TalkwireError
  assert.equal(one.code, 'PEER_NOT_FOUND')
  assert.match(one.message, /nothing has announced "nowhere".*start/)
  assert.ok(!one.message.includes('\n'))
  const service = await serve('hidden', { add: () => 1 }, { listen: 'memory:hidden', announce: true })
  const two = (await connect('hidden').catch((error: unknown) => error)) as TalkwireError
  assert.match(two.message, /listens only on memory:hidden/)
  await service.close()
  const three = (await connect('hidden').catch((error: unknown) => error)) as TalkwireError
  assert.match(three.message, /was closed/)
})

/** Waiting for a service, and commands as addresses. */
import assert from 'node:assert/strict'
import { copyFileSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { drivers } from '../src/hub/registry.js'
import { connect, contract, rpc, serve, sessionOf, TalkwireError } from '../src/index.js'
import { registry } from '../src/registry.js'
import { fails } from './helpers/expect.js'
import { freshName, freshPath, place } from './helpers/place.js'
import { node, program, python, script } from './transports/fixtures/support.js'

const calc = { add: (a: number, b: number) => a + b }
/** Longer than any test may take. */
const AGES = 3_600_000

test('wait: a name that is served only after the first look', async () => {
  const name = freshName()
  // What pauses after the first look listens to the signal.
  const { signal } = new AbortController()
  const looked = new Promise<void>((resolve) => {
    signal.addEventListener = (...args: Parameters<AbortSignal['addEventListener']>): void => {
      resolve()
      AbortSignal.prototype.addEventListener.apply(signal, args)
    }
  })
  const coming = connect<typeof calc>(name, { wait: AGES, signal })
  await looked
  const service = await serve(name, calc)
  const client = await coming
  assert.equal(await client.add(2, 5), 7)
  await client.close()
  await service.close()
})

for (const scheme of ['unix', 'memory']) {
  test(`wait: ${scheme}: an address where nobody listens yet`, async () => {
    const address = scheme === 'unix' ? `unix:${freshPath('.sock')}` : `memory:${freshName()}`
    await assert.rejects(connect(address), fails('PEER_NOT_FOUND'))
    const coming = connect<typeof calc>(address, { wait: AGES })
    const service = await serve('calc', calc, { listen: address })
    const client = await coming
    assert.equal(await client.add(2, 5), 7)
    await client.close()
    await service.close()
  })
}

test('wait: while somebody claims the name and does not serve, it is as missing as before', async () => {
  const name = freshName()
  const { claim } = await import('../src/discovery/names.js')
  const claimed = claim(name)
  await assert.rejects(connect(name, { wait: 1 }), (error: unknown) => {
    assert.ok(error instanceof TalkwireError)
    assert.match(error.message, /^\[PEER_NOT_FOUND\] .* is starting as process \d+; .*a longer wait$/)
    return true
  })
  claimed.release()
})

test('wait: what waiting cannot mend is said at once', async () => {
  const name = freshName()
  const service = await serve(contract(`${name}/1`, { ping: rpc() }), { ping: () => {} })
  await assert.rejects(connect(contract(`${name}/2`, { ping: rpc() }), { wait: AGES }), fails('CONTRACT_MISMATCH'))
  await service.close()
  await assert.rejects(connect('spawn:no-such-program', { wait: AGES }), fails('START_FAILED'))
  await assert.rejects(connect(node('spawn', 'broken'), { wait: AGES }), fails('PEER_EXITED'))
  await assert.rejects(connect(name, { wait: '1' as never }), TypeError)
  await assert.rejects(connect(name, { wait: NaN }), TypeError)
})

test('wait: the signal ends it', async () => {
  const stop = new AbortController()
  const coming = connect(freshName(), { wait: AGES, signal: stop.signal })
  const reason = new Error('enough')
  stop.abort(reason)
  await assert.rejects(coming, reason)
})

test('a command as it is: nothing is split, quoted or expanded', async () => {
  const folder = join(place, `a folder's "$HOME" \\ *`)
  mkdirSync(folder)
  const worker = join(folder, 'my worker.py')
  copyFileSync(script('functions.py'), worker)
  const functions = await connect<typeof calc>([python, '-m', 'talkwire', 'serve', worker])
  assert.equal(await functions.add(2, 5), 7)
  assert.match(sessionOf(functions)!.peer.address, /^spawn:.* serve '.*my worker\.py'$/)
  await functions.close()
})

test('a command with lines in it, for a contract and as an option', async () => {
  const greeter = contract('greeter/1', { greet: rpc() })
  const code = `import { contract, rpc, serve } from ${JSON.stringify(new URL('../src/index.js', import.meta.url).href)}
await serve(contract('greeter/1', { greet: rpc() }), { greet() {} }, { listen: 'stdio:' })`
  const command = [process.execPath, '--input-type=module', '-e', code]
  for (const client of [await connect(greeter, command), await connect(greeter, { address: command })]) {
    await client.greet()
    await client.close()
  }
})

test('a list that is no command is refused', async () => {
  for (const wrong of [[], ['node', 5], [undefined]]) await assert.rejects(connect(wrong as never), TypeError)
  await assert.rejects(connect(['no such program', program('child')]), fails('START_FAILED'))
})

test('an engine of the hub carries calls, or is refused with the reason', async () => {
  for (const scheme of Object.keys(drivers)) {
    if (Object.hasOwn(registry, scheme)) continue
    const reason = new RegExp(`UNSUPPORTED.*"${scheme.replace('+', '\\+')}:" is for openHub.. and carries no calls: it `)
    await assert.rejects(connect(`${scheme}://127.0.0.1:1`), reason)
    await assert.rejects(serve(freshName(), calc, { listen: `${scheme}://127.0.0.1:1` }), reason)
  }
})

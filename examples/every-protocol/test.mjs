import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { thriftIdl } from 'talkwire/protocols/thrift'
import { programs } from '../harness.mjs'
import { bank as contract } from './contract.mjs'

/** The lines of the README's second block. */
const commands = readFileSync(new URL('README.md', import.meta.url), 'utf8')
  .split('```sh\n')[2]
  .split('```', 1)[0]
  .trim()
  .split('\n')

test('each client of the README is answered by the one bank', async (t) => {
  const { env, folder, start, run } = programs(t, import.meta.url)
  const at = (/** @type {string} */ name) => path.join(folder, name)
  const BUS = `unix:path=${at('bus')}`
  Object.assign(env, {
    TOKEN: 'a-token-for-the-bank',
    PYMP: at('pymp'),
    PROTO: at('bank.proto'),
    THRIFT: at('thrift'),
    VARLINK: at('varlink'),
    NODEIPC: at('nodeipc'),
    WEBRTC: at('webrtc'),
    BUS,
  })
  const bus = start('dbus-daemon', '--session', `--address=${BUS}`, '--nofork', '--nosyslog', '--print-address=1')
  await bus.line(/^unix:path=/)
  const bank = start('node', 'bank.mjs', '0')
  const [, port] = await bank.line(/^tcp:\/\/127\.0\.0\.1:(\d+)$/)
  await bank.line(/^the bank is open$/)
  env.PORT = port
  assert.equal(commands.length, 16)
  await Promise.all(commands.map(async (command) => assert.match(await run('sh', '-c', command), /(^|\D)5(\.0)?\D*$/, command)))
  assert.equal(readFileSync(new URL('bank.thrift', import.meta.url), 'utf8'), await thriftIdl(contract))
  bank.child.kill('SIGTERM')
  assert.equal((await bank.end()).code, 0)
})

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { programs } from '../harness.mjs'

/** The lines of the README's second block. */
const commands = readFileSync(new URL('README.md', import.meta.url), 'utf8')
  .split('```sh\n')[2]
  .split('```', 1)[0]
  .trim()
  .split('\n')

test('each client of the README is answered by the one bank', async (t) => {
  const { env, folder, start, run } = programs(t, import.meta.url)
  Object.assign(env, { TOKEN: 'a-token-for-the-bank', PYMP: path.join(folder, 'bank.pymp'), PROTO: path.join(folder, 'bank.proto') })
  const bank = start('node', 'bank.mjs', '0')
  const [, port] = await bank.line(/^tcp:\/\/127\.0\.0\.1:(\d+)$/)
  await bank.line(/^the bank is open$/)
  env.PORT = port
  assert.equal(commands.length, 10)
  await Promise.all(commands.map(async (command) => assert.match(await run('sh', '-c', command), /(^|\D)5(\.0)?\D*$/, command)))
  bank.child.kill('SIGTERM')
  assert.equal((await bank.end()).code, 0)
})

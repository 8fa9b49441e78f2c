import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { programs } from '../harness.mjs'

test('an old program cleans text for a client at the other end of a FIFO', async (t) => {
  const { folder, start } = programs(t, import.meta.url)
  const address = `fifo:${path.join(folder, 'cleaner')}`
  const service = start('python', '-m', 'talkwire', 'serve', 'adapter.py', '--name', 'cleaner', '--listen', address)
  await service.line(/^cleaner serves fifo:/)

  const client = start('node', 'main.mjs', address)
  for (const line of ['  two\t words ', '“quoted” – and so on…', 'naïve ü', '', 'x'.repeat(10_000), 'the last\u0007 line'])
    client.type(line)
  client.child.stdin?.end()
  const { code, out, err } = await client.end()
  assert.deepEqual(out.split('\n'), ['two words', '"quoted" - and so on...', 'naïve ü', '', 'the last line'])
  assert.deepEqual([code, err], [1, 'TooLong: {"bytes":10000,"most":9999}\n'])

  // One client after the other.
  const second = start('node', 'main.mjs', address)
  second.type('again   and again')
  second.child.stdin?.end()
  assert.deepEqual(await second.end(), { code: 0, out: 'again and again', err: '' })

  service.child.kill('SIGTERM')
  assert.equal((await service.end()).code, 0)
  assert.deepEqual(
    readdirSync(folder).filter((name) => name.startsWith('cleaner')),
    [],
    'it takes its FIFOs along',
  )
})

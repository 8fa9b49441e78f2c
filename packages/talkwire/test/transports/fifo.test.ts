import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { lstatSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { connect, serve } from '../../src/index.js'
import { fails } from '../helpers/expect.js'
import '../helpers/place.js'
import { python, run } from '../session/processes.js'

const directory = mkdtempSync(join(tmpdir(), 'tw-fifo-'))
after(() => rmSync(directory, { recursive: true, force: true }))
let next = 0
const address = (): string => `fifo:${directory}/${next++}`

const functions = { add: (a: number, b: number) => a + b }
const clients = fileURLToPath(new URL('../../../../../clients/python', import.meta.url))

test('fifo: the Python client calls a TypeScript service', async () => {
  const at = address()
  await using _service = await serve('calc', functions, { listen: at })
  const script = `import talkwire\nwith talkwire.connect(${JSON.stringify(at)}) as c: print(c.add(2, 5))`
  const { stdout } = await promisify(execFile)(python, ['-c', script], { env: { ...process.env, PYTHONPATH: clients } })
  assert.equal(stdout.trim(), '7')
})

test('fifo: a TypeScript client calls a Python service, and notices its death', async () => {
  const at = address()
  const script = `import sys, time, talkwire\ns = talkwire.serve("calc", {"add": lambda a, b: a + b, "hang": lambda: time.sleep(1000)}, listen=[${JSON.stringify(at)}])\nprint("ready", flush=True)\ns.wait()`
  const server = run(python, ['-c', script], { env: { PYTHONPATH: clients } })
  await server.line('ready')
  const client = (await connect(at, { reconnect: false })) as any
  assert.equal(await client.add(2, 5), 7)
  const hanging = client.hang()
  const settled = assert.rejects(hanging, (error: { outcome: string }) => error.outcome === 'maybe-ran')
  await server.kill()
  await settled
  await client.close()
})

test('fifo: opening what nobody answers takes no thread of the pool', async () => {
  const attempts = Array.from({ length: 8 }, () => connect(address()).catch((error: unknown) => error))
  const text = await readFile(fileURLToPath(import.meta.url), 'utf8')
  assert.ok(text.length > 0)
  for (const attempt of await Promise.all(attempts)) fails('PEER_NOT_FOUND')(attempt)
})

test('fifo: the pipes are for their owner only, and gone after close', async () => {
  const at = address()
  const service = await serve('calc', functions, { listen: at })
  const path = at.slice('fifo:'.length)
  for (const end of ['c2s', 's2c']) {
    const stat = lstatSync(`${path}.${end}`)
    assert.ok(stat.isFIFO())
    assert.equal(stat.mode & 0o777, 0o600)
  }
  await service.close()
  for (const end of ['c2s', 's2c']) assert.throws(() => readFileSync(`${path}.${end}`), { code: 'ENOENT' })
})

test('fifo: one client at a time; the next is served when it has left', async () => {
  const at = address()
  await using _service = await serve('calc', functions, { listen: at })
  const first = await connect<typeof functions>(at)
  await assert.rejects(connect(at), fails('ADDRESS_IN_USE'))
  await first.close()
  const second = await connect<typeof functions>(at)
  assert.equal(await second.add(1, 1), 2)
  await second.close()
})

/** Where a service listens that does not say so. */
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { test } from 'node:test'
import { connect, serve } from '../src/index.js'
import { freshName, freshPath } from './helpers/place.js'
import { command, program, python } from './transports/fixtures/support.js'

interface Unaddressed {
  addresses(): [inner: unknown, first: string[], second: string[] | null]
}

test('found by name, when nobody started us for a wire', async () => {
  const name = freshName()
  const service = await serve(name, { none() {} })
  assert.deepEqual(service.addresses, [`unix:${name}`])
  await service.close()
})

for (const [scheme, own] of [
  ['spawn', 'stdio:'],
  ['fork', 'stdio:'],
  ['worker', 'worker:'],
] as const) {
  test(`${scheme}: the first service answers whoever started it, the next is found by name`, async () => {
    const name = freshName()
    const words = [...(scheme === 'spawn' ? [process.execPath] : []), program('unaddressed'), 'twice', name]
    const client =
      scheme === 'worker'
        ? await connect<Unaddressed>(`worker:${program('unaddressed')}`, { workerData: { argv: ['twice', name] } })
        : await connect<Unaddressed>(command(scheme, ...words))
    assert.deepEqual(await client.addresses(), [null, [own], [`unix:${name}-2`]])
    const other = await connect<{ none(): void }>(`${name}-2`)
    await other.none()
    await other.close()
    await client.close()
  })
}

test('a thread of a child has the environment of its process, but not its wire', async () => {
  const client = await connect<Unaddressed>([process.execPath, program('unaddressed'), 'thread', freshName()])
  const [inner, first] = await client.addresses()
  assert.match((inner as string[])[0]!, /^unix:/)
  assert.deepEqual(first, ['stdio:'])
  await client.close()
})

test('Python: the same', async () => {
  const name = freshName()
  const script = freshPath('.py')
  writeFileSync(
    script,
    `import talkwire, threading
ready = threading.Event()
def addresses():
    ready.wait()
    return [None, first.addresses, second.addresses]
first = talkwire.serve("${name}-1", {"addresses": addresses})
second = talkwire.serve("${name}-2", {"none": lambda: None})
ready.set()
first.wait()
`,
  )
  const client = await connect<Unaddressed>([python, script])
  assert.deepEqual(await client.addresses(), [null, ['stdio:'], [`unix:${name}-2`]])
  await client.close()
})

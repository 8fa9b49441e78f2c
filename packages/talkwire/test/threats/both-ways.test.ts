/** What limits must not do to honest peers: much in both directions at once, and a reader that is slow but reads. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { connect, context, implement, serve } from '../../src/index.js'
import { freshPath } from '../helpers/place.js'
import { hello } from './attack.js'

const MiB = 1024 * 1024

for (const wire of ['memory', 'unix', 'tcp'] as const) {
  test(`honest load: ${wire}: 20 MiB in each direction at the same time pass each other`, async () => {
    const functions = {
      echo: async (value: Uint8Array) => value,
      both: async (value: Uint8Array): Promise<number> =>
        (await (context().caller as { echo(value: Uint8Array): Promise<Uint8Array> }).echo(new Uint8Array(20 * MiB))).length + value.length,
    }
    const service = await serve('both', functions, {
      listen: wire === 'memory' ? 'memory:both' : wire === 'unix' ? `unix:${freshPath('.sock')}` : 'tcp://127.0.0.1:0',
    })
    const client = await connect<typeof functions>(service.addresses[0]!, {
      serve: implement({ echo: async (value: Uint8Array) => value }),
      reconnect: false,
    })
    const bytes = new Uint8Array(20 * MiB)
    const results = await Promise.all([client.both(new Uint8Array(3)), client.echo(bytes).then(({ length }) => length)])
    assert.deepEqual(results, [20 * MiB + 3, 20 * MiB])
    await client.close()
    await service.close()
  })
}

test('honest load: a client that reads 64 MiB at 5 MiB/s is not taken for one that does not read', async () => {
  const path = freshPath('.sock')
  const service = await serve('slow', { big: (bytes: number) => new Uint8Array(bytes) }, { listen: `unix:${path}` })
  const peer = await hello(`unix:${path}`)
  peer.socket.pause()
  peer.send({ jsonrpc: '2.0', id: 2, method: 'big', params: [60 * MiB] })
  let read = 0
  const start = performance.now()
  peer.socket.removeAllListeners('data')
  while (read < 60 * MiB) {
    const chunk = peer.socket.read() as Buffer | null
    if (chunk === null) assert.equal(peer.socket.destroyed, false, `cut after ${read} bytes`)
    read += chunk?.length ?? 0
    await new Promise((resolve) => setTimeout(resolve, Math.max(1, (read / (5 * MiB)) * 1000 - (performance.now() - start))))
  }
  assert.ok(performance.now() - start > 10_000, 'slower than what the limit allows to one that does not read')
  peer.socket.destroy()
  await service.close()
})

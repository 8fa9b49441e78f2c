/** Plain peers that end their half: those that wait for their answers get them, those that were killed keep nothing. */
import assert from 'node:assert/strict'
import net from 'node:net'
import { test } from 'node:test'
import { context, serve } from '../../src/index.js'
import { fence, freshAddress, socketPathOf, turn, until } from './harness.js'
import { fixture } from './processes.js'

for (const how of ['at once', 'after it ended its half'] as const) {
  test(`a plain peer that is killed ${how} keeps no connection, and its handlers are told to stop`, async () => {
    const aborted = fence()
    let running = 0
    const service = await serve(
      'half',
      {
        hang() {
          running++
          context().signal.addEventListener('abort', () => aborted.pass())
          return new Promise(() => {})
        },
      },
      { listen: freshAddress('unix') },
    )
    const peer = fixture(import.meta.url, 'plain.js', service.addresses[0]!, how === 'at once' ? '' : 'half')
    await peer.line('asked')
    await until(() => running === 1)
    for (let i = 0; i < 20; i++) await turn()
    assert.equal(service.peers.length, 1)
    await peer.kill('SIGKILL')
    await aborted.passed
    await until(() => service.peers.length === 0)
    assert.deepEqual(service.ends, { CONNECTION_LOST: 1 })
    await service.close()
  })
}

test('a plain peer that ended its half and lives gets its answers, however long they take', async () => {
  const gate = fence<string>()
  const service = await serve('half', { slow: () => gate.passed }, { listen: freshAddress('unix') })
  const socket = net.connect({ path: socketPathOf(service.addresses[0]!), allowHalfOpen: true })
  let said = ''
  const ended = new Promise((resolve) => socket.on('end', resolve))
  socket.setEncoding('utf8').on('data', (chunk: string) => (said += chunk))
  socket.end('{"jsonrpc":"2.0","id":1,"method":"slow"}\n')
  await until(() => service.stats()[0]?.handling === 1)
  // Longer than the pause between two looks at it.
  await new Promise((resolve) => setTimeout(resolve, 1500))
  gate.pass('here you are')
  await ended
  assert.deepEqual(JSON.parse(said), { jsonrpc: '2.0', id: 1, result: 'here you are' })
  await service.close()
  assert.deepEqual(service.ends, {})
})

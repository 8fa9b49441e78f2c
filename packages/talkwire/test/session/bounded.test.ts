import assert from 'node:assert/strict'
import net from 'node:net'
import { test } from 'node:test'
import { connect, serve, sessionOf } from '../../src/index.js'
import { fence, freshAddress, socketPathOf, turn, until } from './harness.js'

test('notifications whose handlers do not end: the peer is slowed down, nothing is lost, memory is bounded', async () => {
  const gate = fence()
  let running = 0
  let most = 0
  let done = 0
  const address = freshAddress('unix')
  const service = await serve(
    'notes',
    {
      note: async () => {
        most = Math.max(most, ++running)
        await gate.passed
        running--
        done++
      },
    },
    { listen: address, limits: { calls: 50 } },
  )
  const client = await connect(address)
  const session = sessionOf(client)!
  const send = async (): Promise<void> => {
    for (let i = 0; i < 20_000; i++) await session.notify('note', [i])
  }
  // Not to be waited for yet: how much a socket takes that is not read from is the kernel's affair.
  const sent = send()
  for (let i = 0; i < 50; i++) await turn()
  assert.ok(most <= 50, `${most} handlers ran at once`)
  gate.pass()
  await sent
  await until(() => done === 20_000)
  await client.close()
  await service.close()
})

test('a peer that asks and never reads the answers is not read from any more; others are served', async () => {
  const address = freshAddress('unix')
  let asked = 0
  const service = await serve(
    'echo',
    {
      big: () => {
        asked++
        return 'x'.repeat(100_000)
      },
    },
    { listen: address, limits: { outgoing: 1_000_000 } },
  )
  const greedy = net.connect(socketPathOf(address))
  greedy.pause()
  const request = '{"jsonrpc":"2.0","id":1,"method":"big"}\n'.repeat(200)
  for (let i = 0; i < 5; i++) greedy.write(request)
  for (let before = -1; before !== asked;) {
    before = asked
    for (let i = 0; i < 50; i++) await turn()
  }
  const [stats] = service.stats()
  assert.ok(stats!.buffered < 2_000_000 && asked < 100, `${asked} calls were handled, ${stats!.buffered} bytes wait`)
  const client = (await connect(address)) as any
  assert.equal((await client.big()).length, 100_000)
  let answers = 0
  greedy.on('data', (chunk: Buffer) => {
    for (let at = chunk.indexOf(10); at >= 0; at = chunk.indexOf(10, at + 1)) answers++
  })
  greedy.resume()
  await until(() => answers === 1_000)
  greedy.destroy()
  await client.close()
  await service.close()
})

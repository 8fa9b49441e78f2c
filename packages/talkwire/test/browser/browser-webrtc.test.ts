/** Data channels between a page in a real browser, a process, and another page. */
import assert from 'node:assert/strict'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { Page } from 'playwright-core'
import { connect, serve, type Client, type RunningService } from '../../src/index.js'
import { signalling } from '../../src/contract/signalling.js'
import { fails } from '../helpers/expect.js'
import { freshPort, ownHost } from '../helpers/loopback.js'
import { startTurn } from '../helpers/turn.js'
import { openScenes, openSite } from './chromium.js'
import { page as pageContract } from './fixtures/contract.js'
import { lobby } from './fixtures/lobby.js'
import { openShop, type Shop } from './fixtures/shop.js'

const token = 'the-token-of-the-tests'
let origin: string
let page: Page
let shop: Shop
let hub: RunningService
/** Who waits in the lobby. */
let waiting: Client<typeof signalling>
const freshAddress = (): string => `ws://${ownHost}:${freshPort()}`

before(async () => {
  origin = await openSite()
  shop = await openShop({ listen: `webrtc:${freshAddress()}`, token, origins: [origin] })
  hub = await serve(
    lobby,
    {
      here(_, { caller }) {
        waiting = caller as Client<typeof signalling>
      },
      async *meet(signals, { signal }) {
        yield* waiting.meet(signals, { signal })
      },
    },
    { listen: freshAddress(), token, origins: [origin], caller: signalling },
  )
  page = await openScenes()
  await run(page, 'overWebRtc', shop.service.addresses[0]!)
})
after(async () => {
  await shop.service.close()
  await hub.close()
})

const run = (of: Page, what: string, at: string, rtc?: object): Promise<any> =>
  of.evaluate(([what, at, options]) => (globalThis as any)[what](at, options), [what, at, { token, ...(rtc && { rtc }) }] as const)
const scene = (name: string, of = page): Promise<any> => of.evaluate((name) => (globalThis as any).scenes[name](), name)

test('browser, data channel: the page calls the process, with every value, streams and callbacks', async () => {
  const { large, bytes, many, text } = await scene('calls')
  assert.deepEqual([large, bytes, many, text], [true, [100_000, true], 500_500, true])
  const { sum, texts, upload, both } = await scene('streams')
  assert.deepEqual([sum, texts, upload, both], [12_497_500, 60, 500_500, ['A', 'Ö']])
  assert.deepEqual((await scene('references')).balances, [5, 12])
  assert.equal((await scene('events')).once, 'one')
  assert.equal((await scene('serving')).yes, 'yes, really?')
})

test('browser, data channel: who leaves a stream stops it, and it never ran far ahead', async () => {
  const before = shop.made
  assert.equal(await scene('firstOfMany'), '0:ä')
  await shop.noticed('the end of count')
  assert.ok(shop.made - before < 5000, String(shop.made - before))
})

test('browser, data channel: a process and another page call the page, led by a process that both reach', async () => {
  const host = await openScenes()
  await run(host, 'serveInPage', hub.addresses[0]!)
  const client = await connect(pageContract, 'webrtc:', { signalling: waiting, reconnect: false })
  const said = new Promise((resolve) => void client.on('said', resolve).then(() => client.say('hello')))
  assert.equal((await client.echo(new Uint8Array(500_000))).length, 500_000)
  const counted: number[] = []
  for await (const each of client.count(3)) counted.push(each)
  assert.deepEqual(counted, [0, 1, 2])
  assert.equal(await client.total([1, 2, 3]), 6)
  assert.equal(await client.apply((value: number) => value + 1), 21)
  assert.equal(await said, 'hello')
  assert.deepEqual(await run(page, 'callPage', hub.addresses[0]!), [300_000, [0, 1, 2], 6, 'hello'])
  await host.close()
  assert.equal((await client.closed)?.code, 'CONNECTION_LOST')
})

test('browser, data channel: through a TURN server alone, and none that does not know the page', async () => {
  const turn = await startTurn()
  const tab = await openScenes()
  await using service = (await openShop({ listen: `webrtc:${freshAddress()}`, token, origins: [origin], rtc: turn.by('secret') })).service
  const [at] = service.addresses as [string]
  await run(tab, 'overWebRtc', at, turn.by('secret'))
  assert.equal((await scene('calls', tab)).sum, 7)
  assert.equal(turn.relays(), 2)
  await scene('closing', tab)
  const wrong = turn.by('wrong')
  assert.deepEqual(await run(tab, 'refusedOverWebRtc', at, wrong), { code: 'PEER_NOT_FOUND', outcome: 'not-sent' })
  // A page that serves says to whoever calls what it could not get.
  await run(tab, 'serveInPage', hub.addresses[0]!, wrong)
  await assert.rejects(connect(pageContract, 'webrtc:', { signalling: waiting, reconnect: false }), (error) => {
    assert.match(String(error), /no TURN server of iceServers gave a relay/)
    return fails('PEER_NOT_FOUND')(error)
  })
  await tab.close()
})

test('browser, data channel: the page notices that the process at the other end was killed', async () => {
  const at = `webrtc:${freshAddress()}`
  const child = fork(fileURLToPath(new URL('./fixtures/shop-process.js', import.meta.url)), [at, token, origin])
  try {
    await once(child, 'message')
    const tab = await openScenes()
    await run(tab, 'overWebRtc', at)
    await scene('leave', tab)
    child.kill('SIGKILL')
    const lost = { code: 'CONNECTION_LOST', outcome: 'maybe-ran' }
    assert.deepEqual(await scene('left', tab), [lost, lost])
    await tab.close()
  } finally {
    child.kill('SIGKILL')
  }
})

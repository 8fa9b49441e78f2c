/** The client for pages in a real browser. */
import assert from 'node:assert/strict'
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { Page } from 'playwright-core'
import { WebSocket, WebSocketServer } from 'ws'
import { serve } from '../../src/index.js'
import { freshPort, ownHost } from '../helpers/loopback.js'
import { openScenes, openSite } from './chromium.js'
import { openShop, type Shop } from './fixtures/shop.js'

const token = 'the-token-of-the-tests'
let origin: string
let page: Page
let shop: Shop
const address = `ws://${ownHost}:${freshPort()}`

before(async () => {
  origin = await openSite()
  shop = await openShop({ listen: address, token, origins: [origin] })
  page = await openScenes()
  await open(page, address)
})
after(() => shop.service.close())

const open = (of: Page, at: string): Promise<void> =>
  of.evaluate(([to, token]) => (globalThis as any).open(to, { token }), [at, token] as const)
const scene = (name: string, of = page): Promise<any> => of.evaluate((name) => (globalThis as any).scenes[name](), name)

test('browser: calls, with every value', async () => {
  assert.deepEqual(await scene('calls'), {
    sum: 7,
    text: true,
    date: 1234,
    big: String(2n ** 70n),
    map: [[1, 'a']],
    list: [null, true, true, true],
    matrix: ['Float64Array', '1.5,-2,NaN'],
    bytes: [100_000, true],
    tag: 1,
    nothing: true,
    large: true,
    many: 500_500,
    metadata: { traceparent: '00-a' },
    progress: [1, 2, 3, 3],
  })
})

test('browser: streams in each direction and both', async () => {
  assert.deepEqual(await scene('streams'), {
    sum: 12_497_500,
    texts: 60,
    upload: 500_500,
    large: 5000,
    both: ['A', 'Ö'],
    failing: 'RangeError: the page cannot',
    wrong: 'TypeError: "sum" takes a stream as its input; pass an iterable',
  })
})

test('browser: who leaves a stream stops it, and it never ran far ahead', async () => {
  const before = shop.made
  assert.equal(await scene('firstOfMany'), '0:ä')
  await shop.noticed('the end of count')
  // The window of 512 KiB, one element more, and those that were granted for what was taken.
  assert.ok(shop.made - before < 1000, String(shop.made - before))
})

test('browser: functions and objects by reference, in both directions', async () => {
  const { gone, ...seen } = await scene('references')
  assert.deepEqual(seen, {
    greetings: ['Hello Ada', 'Hello Bo'],
    home: true,
    balances: [5, 12],
    failing: { code: 'INTERNAL', outcome: 'ran' },
  })
  assert.equal(gone.code, 'METHOD_NOT_FOUND')
})

test('browser: events', async () => {
  assert.deepEqual(await scene('events'), {
    heard: [
      ['one', 0],
      ['two', 0],
    ],
    once: 'one',
    never: 'Error: enough',
    none: { code: 'INVALID_INPUT', outcome: 'not-sent' },
  })
})

test('browser: errors say what happened, and no more', async () => {
  assert.deepEqual(await scene('errors'), {
    declared: { code: 'SoldOut', outcome: 'ran', declared: true, details: { what: 'coffee' } },
    fine: 'one tea',
    undeclared: { code: 'INTERNAL', outcome: 'ran' },
    input: { code: 'INVALID_INPUT', outcome: 'not-sent' },
    output: { code: 'INVALID_OUTPUT', outcome: 'ran' },
    unsendable: 'TypeError: a symbol cannot be sent; send plain data, or wrap an object in ref(…) to send a reference',
    forbidden: { code: 'FORBIDDEN_KEY', outcome: 'not-sent' },
    stream: 'TypeError: a StreamReader cannot be sent; send plain data, or wrap an object in ref(…) to send a reference',
  })
})

test('browser: the page serves, and its service calls it', async () => {
  assert.deepEqual(await scene('serving'), {
    yes: 'yes, really?',
    no: ['Refused', true, { what: 'declared' }],
    secret: ['INTERNAL', false, undefined],
    list: [0, 1, 2],
    total: 6,
  })
})

test('browser: a stream of the page ends with its reader', async () => {
  assert.equal(await scene('leftList'), 0)
})

test('browser: deadlines and cancelling reach the handler', async () => {
  await scene('cancel')
  await shop.noticed('cancelled waits')
  await shop.noticed('late has a deadline')
  await shop.noticed('late was told to stop')
  assert.deepEqual(await scene('stopped'), ['Error: changed my mind', { code: 'DEADLINE_EXCEEDED', outcome: 'maybe-ran' }])
  await shop.noticed('cancelled was told to stop')
})

test('browser: one-way calls arrive', async () => {
  await scene('note')
  await shop.noticed('the note from the page')
  assert.deepEqual(shop.notes, ['from the page'])
})

test('browser: plain functions', async () => {
  const functions = {
    add: (a: number, b: number) => a + b,
    *up(to: number) {
      for (let index = 0; index < to; index++) yield index
    },
    twice: async (f: (x: number) => Promise<number>) => f(await f(1)),
  }
  await using plain = await serve('calc', functions, { listen: `ws://${ownHost}:${freshPort()}`, token, origins: [origin] })
  const seen: unknown = await page.evaluate(([to, token]) => (globalThis as any).plain(to, { token }), [
    plain.addresses[0]!,
    token,
  ] as const)
  assert.deepEqual(seen, [7, [0, 1, 2], 3, { code: 'METHOD_NOT_FOUND', outcome: 'not-sent' }])
})

test('browser: closing, from either side, loses nothing', async () => {
  const tab = await openScenes()
  await open(tab, address)
  assert.deepEqual(await scene('closing', tab), [1, undefined, { code: 'CONNECTION_CLOSED', outcome: 'not-sent' }])
  const port = freshPort()
  const other = await openShop({ listen: `ws://${ownHost}:${port}`, token, origins: [origin] })
  await tab.evaluate(([to, token]) => (globalThis as any).open(to, { token, reconnect: false }), [
    `ws://${ownHost}:${port}`,
    token,
  ] as const)
  const [ended] = await Promise.all([scene('closedByService', tab), other.service.close()])
  assert.equal(ended, 'on purpose')
  await tab.close()
})

test('browser: a connection that something on the way ends politely is lost', async () => {
  const upgrades = new WebSocketServer({ host: ownHost, port: 0, handleProtocols: () => 'talkwire.v1' })
  await once(upgrades, 'listening')
  const proxied = new Promise<WebSocket>((resolve) =>
    upgrades.on('connection', (near, request) => {
      const far = new WebSocket(address, request.headers['sec-websocket-protocol']!.split(/, */), { origin })
      near.pause()
      far.on('open', () => near.resume())
      near.on('message', (data, isBinary) => far.send(data as Buffer, { binary: isBinary }))
      far.on('message', (data, isBinary) => near.send(data as Buffer, { binary: isBinary }))
      near.on('close', () => far.terminate())
      resolve(near)
    }),
  )
  const tab = await openScenes()
  try {
    const { port } = upgrades.address() as AddressInfo
    await tab.evaluate(([to, token]) => (globalThis as any).open(to, { token, reconnect: false }), [
      `ws://${ownHost}:${port}`,
      token,
    ] as const)
    const ended = scene('closedByService', tab)
    ;(await proxied).close(1001)
    assert.equal(await ended, 'CONNECTION_LOST')
  } finally {
    await tab.close()
    upgrades.close()
  }
})

test('browser: a wrong token, a wrong contract and nobody are refused', async () => {
  const refused = (at: string, options: object): Promise<any> =>
    page.evaluate(([to, options]) => (globalThis as any).refused(to, options), [at, options] as const)
  assert.equal((await refused(address, { token: 'wrong' })).code, 'PEER_NOT_FOUND')
  assert.equal((await refused(address, {})).code, 'PEER_NOT_FOUND')
  assert.equal((await refused(`ws://${ownHost}:${freshPort()}`, { token })).code, 'PEER_NOT_FOUND')
  assert.equal((await refused('unix:bank', { token })).code, 'INVALID_ADDRESS')
  await using plain = await serve('calc', { add: () => 1 }, { listen: `ws://${ownHost}:${freshPort()}`, token, origins: [origin] })
  assert.deepEqual(await refused(plain.addresses[0]!, { token }), { code: 'CONTRACT_MISMATCH', outcome: 'not-sent' })
})

test('browser: pages of others cannot take over the service, nor can a name that was made to point to it', async () => {
  const { port } = new URL(origin)
  const evil = await openScenes(`http://evil.test:${port}`)
  const refused = (at: string): Promise<any> =>
    evil.evaluate(([to, token]) => (globalThis as any).refused(to, { token }), [at, token] as const)
  assert.equal((await refused(address)).code, 'PEER_NOT_FOUND')
  // The page and the service have one origin now, as after DNS rebinding.
  assert.equal((await refused(`ws://evil.test:${new URL(address).port}`)).code, 'PEER_NOT_FOUND')
  await evil.close()
})

test('browser: a service that is killed in the middle of calls is found again', async () => {
  const at = `ws://${ownHost}:${freshPort()}`
  const start = async (): Promise<ChildProcess> => {
    const child = fork(fileURLToPath(new URL('./fixtures/shop-process.js', import.meta.url)), [at, token, origin])
    await once(child, 'message')
    return child
  }
  const tab = await openScenes()
  let child = await start()
  try {
    await open(tab, at)
    await scene('leave', tab)
    child.kill('SIGKILL')
    await once(child, 'exit')
    const lost = { code: 'CONNECTION_LOST', outcome: 'maybe-ran' }
    assert.deepEqual(await scene('left', tab), [lost, lost])
    child = await start()
    assert.deepEqual(await scene('healed', tab), [7, ['again']])
    assert.deepEqual(await tab.evaluate('states'), ['open', 'lost', 'open'])
    child.kill('SIGSTOP')
    assert.deepEqual(await scene('asleep', tab), { code: 'DEADLINE_EXCEEDED', outcome: 'maybe-ran' })
    await scene('killedWhileClosing', tab)
    child.kill('SIGKILL')
    assert.deepEqual(await scene('last', tab), lost)
  } finally {
    child.kill('SIGKILL')
    await tab.close()
  }
})

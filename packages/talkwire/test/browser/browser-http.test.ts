/** What a browser does with plain HTTP: the page of a service, server-sent events, and fetch with its rules about origins. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Page } from 'playwright-core'
import { contract, event, rpc, serve, stream, type RunningService } from '../../src/index.js'
import { freshPort, ownHost } from '../helpers/loopback.js'
import { openPage, openSite } from './chromium.js'
import { anything } from './fixtures/contract.js'

const lamp = contract('lamp/1', {
  dim: rpc({ input: anything, output: anything }),
  flash: rpc({ input: anything, output: stream(anything) }),
  changed: event(anything),
})

const open = (options: object = {}): Promise<RunningService> =>
  serve(
    lamp,
    {
      dim: ({ to }) => ({ light: to }),
      *flash({ times }) {
        for (let index = 0; index < times; index++) yield { flash: index }
      },
    },
    { listen: `http://${ownHost}:${freshPort()}`, ...options },
  )

/** What the output below a method's form says, once it ends like this. */
async function tried(page: Page, method: string, input: string, end: string): Promise<string> {
  const form = page.locator('details', { has: page.locator(`summary:text-is("${method}")`) })
  await form.evaluate((element) => element.setAttribute('open', ''))
  await form.locator('textarea').fill(input)
  await form.getByRole('button', { name: 'Call' }).click()
  const output = form.locator('pre').nth(1)
  await output.filter({ hasText: end }).waitFor()
  return output.innerText()
}

test('browser: the page of a service tries its methods, with the token', async () => {
  await using service = await open()
  const [address] = service.addresses as [string]
  const page = await openPage(address)
  await page.locator('#problem', { hasText: 'token' }).waitFor()
  await page.goto(`${address}/#token=${service.token}`)
  await page.reload()
  await page.locator('h1', { hasText: 'lamp 1' }).waitFor()
  assert.equal(await tried(page, 'dim', '{"to": 5}', '}'), '200 application/json\n{"light":5}')
  assert.match(
    await tried(page, 'flash', '{"times": 2}', 'event: end'),
    /^200 text\/event-stream\ndata: \{"flash":0\}\n\ndata: \{"flash":1\}\n\nevent: end\ndata: null/,
  )
  assert.match(await tried(page, 'dim', 'no JSON', 'INVALID_MESSAGE'), /^400 application\/problem\+json/)
  await page.close()
})

test('browser: EventSource hears the events of a service that asks for no token', async () => {
  const origin = await openSite()
  await using service = await open({ token: false, origins: [origin] })
  const page = await openPage(origin)
  await page.evaluate((address) => {
    const source = new EventSource(`${address}/lamp/changed`)
    const heard = new Promise((resolve) => {
      source.onmessage = ({ data }) => resolve(JSON.parse(data as string))
    }).finally(() => source.close())
    Object.assign(globalThis, { heard })
    return new Promise((resolve, reject) => {
      source.onopen = () => resolve(undefined)
      source.onerror = () => reject(new Error('no events'))
    })
  }, service.addresses[0]!)
  service.emit('changed', { light: 5 })
  assert.deepEqual(await page.evaluate('heard'), { light: 5 })
  await page.close()
})

test('browser: fetch reaches a service from pages that it names, and from no others', async () => {
  const origin = await openSite()
  await using service = await open({ token: 'the-token-of-the-tests', origins: [origin] })
  const [address] = service.addresses as [string]
  const fetched = (page: Page, at: string, type = 'application/json'): Promise<unknown> =>
    page.evaluate(
      async ([at, type]) => {
        const headers = { 'content-type': type, ...(type === 'application/json' && { authorization: 'Bearer the-token-of-the-tests' }) }
        try {
          const response = await fetch(`${at}/lamp/dim`, { method: 'POST', headers, body: '{"to":5}' })
          return [response.status, await response.text()]
        } catch (reason) {
          return String(reason)
        }
      },
      [at, type] as const,
    )
  const page = await openPage(origin)
  assert.deepEqual(await fetched(page, address), [200, '{"light":5}'])
  const blocked = 'TypeError: Failed to fetch'
  const evil = await openPage(`http://evil.test:${new URL(origin).port}`)
  assert.equal(await fetched(evil, address), blocked)
  // What browsers send without asking first.
  assert.equal(await fetched(evil, address, 'text/plain'), blocked)
  // The service under the page's own name, as after DNS rebinding: nothing is blocked here, the service refuses.
  const { port } = new URL(address)
  const rebound = await openPage(`http://evil.test:${port}/`)
  assert.match(await rebound.locator('body').innerText(), /PERMISSION_DENIED/)
  assert.equal(((await fetched(rebound, `http://evil.test:${port}`)) as [number])[0], 403)
  for (const each of [page, evil, rebound]) await each.close()
})

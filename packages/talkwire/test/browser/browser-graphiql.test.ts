/** GraphiQL as a service gives it, in a real browser. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as z from 'zod'
import { contract, rpc, serve } from '../../src/index.js'
import { freshPort, ownHost } from '../helpers/loopback.js'
import { openPage } from './chromium.js'

const token = 'the-token-of-the-tests'
const bank = contract('bank/1', {
  balance: rpc({ input: z.object({ account: z.string() }), output: z.number(), idempotent: true }),
  deposit: rpc({ input: z.object({ account: z.string(), amount: z.number() }), output: z.number() }),
})

test('graphql: GraphiQL loads from the service alone, shows what it offers, and asks it with the token of the address', async () => {
  await using service = await serve(
    bank,
    { balance: ({ account }) => account.length, deposit: ({ amount }) => amount },
    { listen: `graphql+http://${ownHost}:${freshPort()}`, token, onError: () => {} },
  )
  const origin = service.addresses[0]!.slice('graphql+'.length)
  const page = await openPage('about:blank')
  const asked = new Set<string>()
  const wrong: string[] = []
  page.on('request', (request) => void asked.add(new URL(request.url()).protocol === 'http:' ? new URL(request.url()).origin : origin))
  page.on('pageerror', (error) => void wrong.push(String(error)))
  page.on('console', (said) => said.type() === 'error' && void wrong.push(said.text()))
  await page.goto(`${origin}/#token=${token}`)
  try {
    // It has introspected: the roots stand in its documentation.
    await page.locator('button[aria-label="Show Documentation Explorer"]').click()
    await page.locator('.graphiql-doc-explorer-content', { hasText: 'Mutation' }).waitFor()
    await page.locator('.graphiql-doc-explorer-content a', { hasText: 'Query' }).first().click()
    await page.locator('.graphiql-doc-explorer-content', { hasText: 'balance' }).waitFor()
    await page.locator('.graphiql-query-editor').click()
    await page.keyboard.press('ControlOrMeta+A')
    await page.keyboard.insertText('query { balance(account: "savings") }')
    await page.locator('button.graphiql-execute-button').click()
    await page.locator('.result-window', { hasText: /"balance":\s*7/ }).waitFor()
    assert.deepEqual([...asked], [origin])
    assert.deepEqual(wrong, [])
  } finally {
    await page.close()
  }
})

import assert from 'node:assert/strict'
import path from 'node:path'
import { test } from 'node:test'
import { chromium } from 'playwright-core'
import { inPath } from '../../packages/talkwire/dist/test/helpers/in-path.js'
import { programs } from '../harness.mjs'

test('two pages share a list in a process, and the one that clears it is asked', async (t) => {
  const { folder, start } = programs(t, import.meta.url)
  const service = start('node', 'service.mjs')
  const [, address = ''] = await service.line(/^open (.*)$/)
  const browser = await chromium.launchPersistentContext(path.join(folder, 'chromium'), {
    executablePath: inPath('chromium') ?? 'chromium',
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--disable-dev-shm-usage',
    ],
    env: { ...process.env, HOME: folder, XDG_CONFIG_HOME: folder, XDG_CACHE_HOME: folder },
  })
  try {
    const [one, two] = [await browser.newPage(), await browser.newPage()]
    for (const page of [one, two]) {
      await page.goto(address)
      await page.locator('body[data-ready]').waitFor()
    }
    await one.getByLabel('item').fill('tea')
    await one.getByText('Add').click()
    for (const page of [one, two]) assert.deepEqual(await page.locator('li').first().innerText(), 'tea')
    const asked = new Promise((resolve) =>
      two.once('dialog', (dialog) => {
        resolve(dialog.message())
        void dialog.accept()
      }),
    )
    await two.getByText('Clear').click()
    assert.equal(await asked, 'take away 1 items?')
    for (const page of [one, two]) await page.locator('li').waitFor({ state: 'detached' })
  } finally {
    await browser.close()
  }
  service.child.kill('SIGTERM')
  assert.equal((await service.end()).code, 0)
})

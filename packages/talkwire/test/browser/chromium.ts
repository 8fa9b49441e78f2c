/** A real browser for tests, and pages in it that have our client. */
import { build } from 'esbuild'
import { mkdtempSync, rmSync } from 'node:fs'
import http from 'node:http'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { after } from 'node:test'
import { fileURLToPath } from 'node:url'
import { chromium, type BrowserContext, type Page } from 'playwright-core'
import { inPath } from '../helpers/in-path.js'
import { freshPort, ownHost } from '../helpers/loopback.js'

/** What is to be undone, the last first. */
const ends: (() => Promise<void> | void)[] = []
after(async () => {
  for (const end of ends.reverse()) await end()
})

/** scripts/system.mjs says what to install where there is none. */
function program(): string {
  const found = inPath('chromium')
  if (found === undefined) throw new Error('there is no chromium on PATH')
  return found
}

/** Everything that it writes lies in a folder of its own; names under `evil.test` lead to this test's host. */
async function launch(): Promise<BrowserContext> {
  const folder = mkdtempSync(path.join(tmpdir(), 'tw-'))
  ends.push(() => rmSync(folder, { recursive: true, force: true, maxRetries: 10 }))
  const context = await chromium.launchPersistentContext(folder, {
    executablePath: program(),
    headless: true,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--disable-dev-shm-usage',
      // For machines that have no other network.
      '--allow-loopback-in-peer-connection',
      `--host-resolver-rules=MAP evil.test ${ownHost}, MAP bank.test ${ownHost}`,
    ],
    env: { ...process.env, HOME: folder, XDG_CONFIG_HOME: folder, XDG_CACHE_HOME: folder } as Record<string, string>,
  })
  ends.push(() => context.close())
  return context
}

let browser: Promise<BrowserContext> | undefined

/** The fixture `page.ts` as a bundler makes it. */
async function bundle(): Promise<string> {
  const entry = fileURLToPath(new URL('./fixtures/page.js', import.meta.url))
  const { outputFiles } = await build({
    entryPoints: [entry],
    bundle: true,
    format: 'esm',
    platform: 'browser',
    write: false,
    logLevel: 'error',
  })
  return outputFiles[0]!.text
}

let site: Promise<string> | undefined

/** Serves the page with the scenes. Returns its origin. */
export const openSite = (): Promise<string> =>
  (site ??= bundle().then((script) => {
    const server = http.createServer((request, response) => {
      const isScript = request.url === '/page.js'
      response.setHeader('content-type', isScript ? 'text/javascript' : 'text/html')
      response.end(
        isScript
          ? script
          : '<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><script type="module" src="/page.js"></script>',
      )
    })
    ends.push(() => void server.close().closeAllConnections())
    const port = freshPort()
    return new Promise((resolve, reject) => {
      server.once('error', reject).listen(port, ownHost, () => resolve(`http://${ownHost}:${port}`))
    })
  }))

/** A new tab at an address. */
export async function openPage(address: string): Promise<Page> {
  const page = await (await (browser ??= launch())).newPage()
  page.setDefaultTimeout(60_000)
  await page.goto(address)
  return page
}

/** A tab with the scenes of fixtures/page.ts. */
export async function openScenes(origin?: string): Promise<Page> {
  const page = await openPage(origin ?? (await openSite()))
  await page.waitForFunction('globalThis.scenes !== undefined')
  return page
}

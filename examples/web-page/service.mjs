// A list in a process, and the page that shows it: node service.mjs
import { readFile } from 'node:fs/promises'
import http from 'node:http'
import { fileURLToPath } from 'node:url'
import { context, serve } from 'talkwire'

/** @type {string[]} */
const items = []
const list = {
  items: () => items,
  /** @param {string} item */
  add(item) {
    items.push(item)
    service.emit('changed', items)
  },
  async clear() {
    // The page that asks is asked.
    const { caller } = /** @type {import('talkwire').Context<{ confirm(question: string): Promise<boolean> }>} */ (context())
    if (!(await caller.confirm(`take away ${items.length} items?`))) return
    items.length = 0
    service.emit('changed', items)
  },
}

// The modules of talkwire/browser need no bundler: the page loads them as they are.
const modules = new URL('..', import.meta.resolve('talkwire/browser'))
const site = http.createServer(async (request, response) => {
  const path = new URL(request.url ?? '/', 'http://localhost').pathname
  const module = /^\/talkwire\/([\w/-]+\.js)$/.exec(path)?.[1]
  const file = module ? new URL(module, modules) : path === '/' ? new URL('page.html', import.meta.url) : undefined
  try {
    if (path === '/where') return void response.end(JSON.stringify({ address: service.addresses[0], token: service.token }))
    if (!file) return void response.writeHead(404).end()
    const text = await readFile(fileURLToPath(file))
    response.writeHead(200, { 'content-type': module ? 'text/javascript' : 'text/html; charset=utf-8' }).end(text)
  } catch {
    response.writeHead(404).end()
  }
})
await new Promise((resolve) => site.listen(0, '127.0.0.1', () => resolve(undefined)))
const { port } = /** @type {import('node:net').AddressInfo} */ (site.address())
const origin = `http://127.0.0.1:${port}`
const service = await serve('list', list, { listen: 'ws://127.0.0.1:0', origins: [origin] })
console.log(`open ${origin}`)

process.once('SIGTERM', async () => {
  site.close().closeAllConnections()
  await service.close()
})

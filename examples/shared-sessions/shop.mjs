// One of several web services of a shop that share the sessions of their visitors: `shop.mjs catalogue 8001`.
import http from 'node:http'
import { openHub } from 'talkwire/hub'
import * as z from 'zod'

const [name = 'shop', port = '0'] = process.argv.slice(2)
const hub = await openHub(process.env.HUB)
const sessions = hub.state('sessions', {
  schema: z.object({ visits: z.number(), cart: z.array(z.string()) }),
  ttl: 30 * 60_000,
})

const server = http.createServer(async (request, response) => {
  const url = new URL(request.url ?? '/', 'http://shop')
  const visitor = /visitor=([\w-]+)/.exec(request.headers.cookie ?? '')?.[1] ?? crypto.randomUUID()
  const item = url.searchParams.get('add')
  // Two services may serve the same visitor at the same moment: nothing is lost.
  const session = await sessions.update(visitor, (known) => ({
    visits: (known?.visits ?? 0) + 1,
    cart: [...(known?.cart ?? []), ...(item ? [item] : [])],
  }))
  response.setHeader('set-cookie', `visitor=${visitor}`)
  response.end(`${JSON.stringify({ from: name, ...session })}\n`)
})
server.listen(Number(port), '127.0.0.1', () => {
  const address = server.address()
  console.log(`${name} on ${typeof address === 'object' ? address?.port : address}`)
})

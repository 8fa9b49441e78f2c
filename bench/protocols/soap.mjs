import http from 'node:http'
import { readFileSync } from 'node:fs'
import soap from 'soap'
import * as service from '../lib/service.mjs'
import { talkwire } from './ours.mjs'
import { listen } from './listen.mjs'

export const ours = talkwire(() => 'soap+http://127.0.0.1:0')

/** @type {import('./index.mjs').Side} */
export const bare = {
  async server() {
    const server = http.createServer((_request, response) => response.writeHead(404).end())
    const address = await listen(server)
    const add = (/** @type {any} */ { a, b }) => ({ sum: service.add(Number(a), Number(b)) })
    soap.listen(server, '/calc', { Calc: { Port: { add } } }, readFileSync(new URL('calc.wsdl', import.meta.url), 'utf8'))
    return address
  },
  async client(address) {
    const client = await soap.createClientAsync(`${address}/calc?wsdl`, { endpoint: `${address}/calc` })
    return { add: async (a, b) => Number((await client.addAsync({ a, b }))[0].sum), close() {} }
  },
}

import http from 'node:http'
import { add } from '../lib/service.mjs'
import { talkwire } from './ours.mjs'
import { listen } from './listen.mjs'

export const ours = talkwire(() => 'http://127.0.0.1:0')

/** @type {import('./index.mjs').Side} */
export const bare = {
  server: () =>
    listen(
      http.createServer((request, response) => {
        if (request.method !== 'POST' || request.url !== '/calc/add') return void response.writeHead(404).end()
        /** @type {Buffer[]} */
        const chunks = []
        request.on('data', (chunk) => chunks.push(chunk))
        request.on('end', () => {
          const { a, b } = JSON.parse(Buffer.concat(chunks).toString())
          const text = JSON.stringify(add(a, b))
          response.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }).end(text)
        })
      }),
    ),
  async client(address) {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 64, maxFreeSockets: 64 })
    const { hostname: host, port } = new URL(address)
    return {
      add: (a, b) =>
        new Promise((resolve, reject) => {
          const text = JSON.stringify({ a, b })
          const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }
          const request = http.request({ host, port, agent, method: 'POST', path: '/calc/add', headers }, (response) => {
            /** @type {Buffer[]} */
            const chunks = []
            response.on('data', (chunk) => chunks.push(chunk))
            response.on('end', () => resolve(JSON.parse(Buffer.concat(chunks).toString())))
            response.on('error', reject)
          })
          request.on('error', reject)
          request.end(text)
        }),
      close: () => agent.destroy(),
    }
  },
}

import http from 'node:http'
import { WebSocket, WebSocketServer } from 'ws'
import { Pending } from '../lib/pending.mjs'
import { add } from '../lib/service.mjs'
import { talkwire } from './ours.mjs'
import { listen } from './listen.mjs'

export const ours = talkwire(() => 'ws://127.0.0.1:0')

const options = { perMessageDeflate: false }

/** @type {import('./index.mjs').Side} */
export const bare = {
  server() {
    const server = http.createServer()
    new WebSocketServer({ server, ...options }).on('connection', (socket) => {
      socket.on('message', (data) => {
        const { id, method, params } = JSON.parse(/** @type {Buffer} */ (data).toString())
        if (method === 'add') socket.send(JSON.stringify({ jsonrpc: '2.0', id, result: add(params.a, params.b) }))
      })
    })
    return listen(server)
  },
  async client(address) {
    const socket = new WebSocket(address.replace('http:', 'ws:'), options)
    await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject))
    const pending = new Pending()
    socket.on('message', (data) => {
      const { id, result } = JSON.parse(/** @type {Buffer} */ (data).toString())
      pending.settle(id, result)
    })
    return {
      add(a, b) {
        const answer = pending.open()
        socket.send(JSON.stringify({ jsonrpc: '2.0', id: pending.id, method: 'add', params: { a, b } }))
        return answer
      },
      close: () => socket.terminate(),
    }
  },
}

import { createServer } from 'node:http'
// @ts-ignore: has no types of its own
import { WebSocket, WebSocketServer } from 'ws'
import { answer, caller } from '../lib/binary.mjs'

const options = { perMessageDeflate: false, maxPayload: 1 << 28 }
const HIGH_WATER = 1024 * 1024

export async function server(/** @type {string} */ address) {
  const http = createServer()
  new WebSocketServer({ server: http, ...options }).on('connection', (/** @type {any} */ socket) => {
    socket.on('message', (/** @type {Buffer} */ data) => {
      const reply = answer(data)
      if (reply) socket.send(reply)
    })
  })
  await new Promise((resolve) => http.listen({ path: address, backlog: 1024 }, () => resolve(null)))
}

export async function client(/** @type {string} */ address) {
  const socket = new WebSocket(`ws+unix:${address}:/`, options)
  await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject))
  const backpressure = async () => {
    while (socket.bufferedAmount > HIGH_WATER / 2) await new Promise((resolve) => setImmediate(resolve))
  }
  const { client, receive } = caller(
    (bytes) => socket.send(bytes),
    () => (socket.bufferedAmount > HIGH_WATER ? backpressure() : undefined),
    () => socket.terminate(),
  )
  socket.on('message', (/** @type {Buffer} */ data) => receive(data))
  return client
}

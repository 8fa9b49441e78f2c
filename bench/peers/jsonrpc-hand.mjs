import * as service from '../lib/service.mjs'
import { client, reader, writer } from '../lib/jsonrpc.mjs'
import { listen } from '../lib/socket.mjs'

/** @type {Record<string, Function>} */
const functions = { add: service.add }

export const server = (/** @type {string} */ address) =>
  listen(address, (socket) => {
    const write = writer(socket)
    reader(socket, ({ id, method, params }) => write(JSON.stringify({ jsonrpc: '2.0', id, result: functions[method](...params) })))
  })

export { client }

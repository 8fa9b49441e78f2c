import { SocketMessageReader, SocketMessageWriter, createMessageConnection } from 'vscode-jsonrpc/node'
import { fromBase64, toBase64 } from '../lib/base64.mjs'
import * as service from '../lib/service.mjs'
import { connect, listen } from '../lib/socket.mjs'

const WINDOW = 512

export const server = (/** @type {string} */ address) =>
  listen(address, (socket) => {
    const connection = createMessageConnection(new SocketMessageReader(socket), new SocketMessageWriter(socket))
    connection.onRequest('add', (/** @type {number} */ a, /** @type {number} */ b) => service.add(a, b))
    connection.onNotification('note', (/** @type {string} */ text) => service.noteText(text))
    connection.onRequest('finish', () => service.finish())
    connection.onRequest('echo', (/** @type {string} */ text) => service.echo(text))
    connection.onRequest('sum', (/** @type {string} */ text) => service.sum(fromBase64(text)))
    connection.onError(() => {})
    connection.listen()
  })

/** @returns {Promise<import('../measure.mjs').Client>} */
export async function client(/** @type {string} */ address) {
  const socket = await connect(address)
  const connection = createMessageConnection(new SocketMessageReader(socket), new SocketMessageWriter(socket))
  connection.listen()
  let count = 0
  return {
    add: (a, b) => connection.sendRequest('add', a, b),
    oneway(message) {
      const sent = connection.sendNotification('note', message)
      return ++count % WINDOW ? undefined : sent
    },
    finish: () => connection.sendRequest('finish'),
    echo: (payload) => connection.sendRequest('echo', payload),
    sum: (array) => connection.sendRequest('sum', toBase64(array)),
    close() {
      connection.dispose()
      socket.destroy()
    },
  }
}

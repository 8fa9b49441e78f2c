// Unix sockets, the same way for every peer that uses node:net.
import net from 'node:net'

/** @param {string} address @param {(socket: net.Socket) => void} onSocket @returns {Promise<void>} */
export const listen = (address, onSocket) =>
  new Promise((resolve, reject) => {
    const server = net.createServer((socket) => {
      socket.on('error', () => socket.destroy())
      onSocket(socket)
    })
    server.on('error', reject)
    server.listen({ path: address, backlog: 1024 }, resolve)
  })

/** @param {string} address @returns {Promise<net.Socket>} */
export const connect = (address) =>
  new Promise((resolve, reject) => {
    const socket = net.connect(address, () => {
      socket.off('error', reject)
      socket.on('error', () => socket.destroy())
      resolve(socket)
    })
    socket.once('error', reject)
  })

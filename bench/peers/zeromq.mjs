import { Dealer, Router } from 'zeromq'
import { answer, caller } from '../lib/binary.mjs'

/** A socket of zeromq takes one message at a time. @param {any} socket */
function sender(socket) {
  /** @type {any[]} */
  let queue = []
  /** @type {Promise<void> | null} */
  let busy = null
  const drain = async () => {
    while (queue.length) {
      const batch = queue
      queue = []
      for (const message of batch) await socket.send(message)
    }
    busy = null
  }
  return {
    send(/** @type {any} */ message) {
      queue.push(message)
      busy ??= drain()
    },
    wait: () => (queue.length > 512 && busy ? busy : undefined),
  }
}

export async function server(/** @type {string} */ address) {
  const socket = new Router({ sendHighWaterMark: 0, receiveHighWaterMark: 0 })
  await socket.bind(`ipc://${address}`)
  const { send } = sender(socket)
  void (async () => {
    for await (const [peer, bytes] of socket) {
      const reply = answer(bytes)
      if (reply) send([peer, reply])
    }
  })()
}

export async function client(/** @type {string} */ address) {
  const socket = new Dealer({ linger: 0, sendHighWaterMark: 10_000, receiveHighWaterMark: 0 })
  socket.connect(`ipc://${address}`)
  const { send, wait } = sender(socket)
  const { client, receive } = caller(send, wait, () => socket.close())
  void (async () => {
    for await (const [bytes] of socket) receive(bytes)
  })()
  return client
}

import { createBirpc } from 'birpc'
import * as service from '../lib/service.mjs'

const WINDOW = 512
const functions = {
  add: service.add,
  note: (/** @type {Uint8Array} */ m) => service.noteBytes(m),
  finish: service.finish,
  echo: service.echo,
  sum: service.sum,
}

export async function server() {
  createBirpc(functions, {
    post: (data) => process.send?.(data),
    on: (listener) => process.on('message', listener),
  })
}

/** @returns {Promise<import('../measure.mjs').Client>} */
export async function client(/** @type {string} */ _address, /** @type {import('node:child_process').ChildProcess} */ child) {
  /** @type {import('birpc').BirpcReturn<typeof functions>} */
  const rpc = createBirpc(
    {},
    {
      post: (data) => child.send(data),
      on: (listener) => child.on('message', listener),
    },
  )
  let count = 0
  return {
    add: (a, b) => rpc.add(a, b),
    // An event cannot be waited for, and the channel's queue has no limit: every 512th time, a call.
    oneway(message) {
      const sent = rpc.note.asEvent(message)
      return ++count % WINDOW ? undefined : sent.then(() => rpc.add(0, 0))
    },
    finish: () => rpc.finish(),
    echo: (payload) => rpc.echo(payload),
    sum: (array) => rpc.sum(array),
    close: () => rpc.$close(),
  }
}

// Calls over the IPC channel of a forked child, written by hand: `{ id, op, args }` and `{ id, result }`.
import { Pending } from './pending.mjs'
import * as service from './service.mjs'

const WINDOW = 512

/**
 * @param {(m: any) => void} note how a one-way message is counted
 * @param {{ out: (a: Float64Array) => any, in: (v: any) => Float64Array }} array how an array travels
 */
export function forked(note, array) {
  /** @type {Record<string, Function>} */
  const functions = {
    add: service.add,
    finish: service.finish,
    echo: service.echo,
    sum: (/** @type {any} */ v) => service.sum(array.in(v)),
  }

  async function server() {
    process.on('message', (/** @type {any} */ { id, op, args }) => {
      if (id === 0) note(args[0])
      else process.send?.({ id, result: functions[op](...args) })
    })
  }

  /** @param {string} _address @param {import('node:child_process').ChildProcess} child @returns {Promise<import('../measure.mjs').Client>} */
  async function client(_address, child) {
    const pending = new Pending()
    child.on('message', (/** @type {any} */ { id, result }) => pending.settle(id, result))
    const call = (/** @type {string} */ op, /** @type {any[]} */ ...args) => {
      const promise = pending.open()
      child.send({ id: pending.id, op, args })
      return promise
    }
    let count = 0
    return {
      add: (a, b) => call('add', a, b),
      oneway(message) {
        // Without a pause for the callback of some message the queue would grow without limit.
        if (++count % WINDOW) return void child.send({ id: 0, op: 'note', args: [message] })
        return new Promise((resolve) => child.send({ id: 0, op: 'note', args: [message] }, resolve))
      },
      finish: () => call('finish'),
      echo: (payload) => call('echo', payload),
      sum: (numbers) => call('sum', array.out(numbers)),
      close: () => child.removeAllListeners('message'),
    }
  }
  return { server, client }
}

// Talkwire between two of its own, over a wire of choice: functions without a schema, and a contract for what only a contract can say (oneway).
import { connect, contract, rpc, serve } from 'talkwire'
import * as service from './service.mjs'

const WINDOW = 512

/** @param {(value: unknown) => boolean} holds @returns {any} the smallest schema that says so */
const schema = (holds) => ({
  '~standard': {
    version: 1,
    vendor: 'bench',
    validate: (/** @type {unknown} */ value) => (holds(value) ? { value } : { issues: [{ message: 'something else' }] }),
  },
})

const functions = { add: service.add, echo: service.echo, sum: service.sum }
const log = contract('log/1', {
  note: rpc({ input: schema((v) => v instanceof Uint8Array), oneway: true }),
  finish: rpc({ output: schema((v) => typeof v === 'object') }),
})

/** @param {string} wire @param {string} address */
export async function server(wire, address) {
  await serve('calc', functions, { listen: [`${wire}:${address}`] })
  /** @type {any} */
  const handlers = { note: (/** @type {Uint8Array} */ m) => service.noteBytes(m), finish: () => service.finish() }
  await serve(log, handlers, { listen: [`${wire}:${address}.log`] })
}

/** @param {string} wire @param {string} address @returns {Promise<import('../measure.mjs').Client>} */
export async function client(wire, address) {
  /** @type {any} */
  const calc = await connect(`${wire}:${address}`)
  /** @type {any} */
  let logger
  let count = 0
  return {
    add: (a, b) => calc.add(a, b),
    oneway(message) {
      if (!logger) return connect(log, `${wire}:${address}.log`).then((/** @type {any} */ c) => (logger = c).note(message))
      const sent = logger.note(message)
      return ++count % WINDOW ? undefined : sent
    },
    finish: () => logger.finish(),
    echo: (payload) => calc.echo(payload),
    sum: (array) => calc.sum(array),
    close: () => Promise.all([calc.close(), logger?.close()]),
  }
}

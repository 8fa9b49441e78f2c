// Talkwire on both ends: python-talkwire.py's functions, served by the Python package.
import { fileURLToPath } from 'node:url'
import { connect } from 'talkwire'

/** What the server writes when it listens. */
export const ready = 'python-talkwire serves'

/** @param {string} address */
export const command = (address) => [
  '-m',
  'talkwire',
  'serve',
  fileURLToPath(new URL('python-talkwire.py', import.meta.url)),
  '--listen',
  `unix:${address}`,
]

/** @returns {Promise<import('../measure.mjs').Client>} */
export async function client(/** @type {string} */ address) {
  /** @type {any} */
  const worker = await connect(`unix:${address}`)
  return {
    add: (a, b) => worker.add(a, b),
    sum: (array) => worker.sum(array),
    close: () => worker.close(),
  }
}

// @ts-ignore: has no types of its own
import xmlrpc from 'xmlrpc'
import * as service from '../lib/service.mjs'
import { talkwire } from './ours.mjs'

export const ours = talkwire(() => 'xmlrpc+http://127.0.0.1:0')

/** @type {import('./index.mjs').Side} */
export const bare = {
  server: () =>
    new Promise((resolve) => {
      const server = xmlrpc.createServer({ host: '127.0.0.1', port: 0 }, () => resolve(String(server.httpServer.address().port)))
      server.on('add', (/** @type {any} */ _error, /** @type {number[]} */ [a, b], /** @type {any} */ done) =>
        done(null, service.add(a, b)),
      )
    }),
  async client(port) {
    const client = xmlrpc.createClient({ host: '127.0.0.1', port: Number(port), path: '/' })
    return {
      add: (a, b) =>
        new Promise((resolve, reject) => {
          client.methodCall('add', [a, b], (/** @type {any} */ error, /** @type {number} */ sum) => (error ? reject(error) : resolve(sum)))
        }),
      close() {},
    }
  },
}

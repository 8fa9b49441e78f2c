import { fileURLToPath } from 'node:url'
import grpc from '@grpc/grpc-js'
import loader from '@grpc/proto-loader'
import { add } from '../lib/service.mjs'
import { talkwire } from './ours.mjs'

export const ours = talkwire(() => 'grpc://127.0.0.1:0')

const load = () =>
  /** @type {any} */ (grpc.loadPackageDefinition(loader.loadSync(fileURLToPath(new URL('calc.proto', import.meta.url))))).bench.Calc

/** @type {import('./index.mjs').Side} */
export const bare = {
  server() {
    const server = new grpc.Server()
    server.addService(load().service, {
      add: (/** @type {any} */ { request }, /** @type {any} */ done) => done(null, { value: add(request.a, request.b) }),
    })
    return new Promise((resolve, reject) => {
      server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, port) =>
        error ? reject(error) : resolve(`127.0.0.1:${port}`),
      )
    })
  },
  async client(address) {
    const stub = new (load())(address, grpc.credentials.createInsecure())
    return {
      add: (a, b) =>
        new Promise((resolve, reject) => {
          stub.add({ a, b }, (/** @type {any} */ error, /** @type {any} */ sum) => (error ? reject(error) : resolve(sum.value)))
        }),
      close: () => stub.close(),
    }
  },
}

import grpc from '@grpc/grpc-js'
import * as service from '../lib/service.mjs'

// Serializers by hand: no .proto file to load, and nothing slower than it has to be.
const bytes = (/** @type {Buffer} */ b) => b
const numbers = (/** @type {number[]} */ list) => Buffer.from(Float64Array.from(list).buffer)
const toNumbers = (/** @type {Buffer} */ b) => Array.from({ length: b.length / 8 }, (_, i) => b.readDoubleLE(i * 8))
const json = (/** @type {any} */ v) => Buffer.from(JSON.stringify(v))
const array = (/** @type {Float64Array} */ a) => Buffer.from(a.buffer, a.byteOffset, a.byteLength)
const toArray = (/** @type {Buffer} */ b) => new Float64Array(b.buffer.slice(b.byteOffset, b.byteOffset + b.length))

const unary = (/** @type {string} */ name, /** @type {any[]} */ [out, into, back, home]) => ({
  path: `/bench/${name}`,
  requestStream: false,
  responseStream: false,
  requestSerialize: out,
  requestDeserialize: into,
  responseSerialize: back,
  responseDeserialize: home,
})
const definition = {
  add: unary('add', [numbers, toNumbers, numbers, toNumbers]),
  echo: unary('echo', [bytes, bytes, bytes, bytes]),
  sum: unary('sum', [array, toArray, numbers, toNumbers]),
  // One-way messages are what a client stream is for; its response is the receiver's account.
  note: { ...unary('note', [bytes, bytes, json, (/** @type {Buffer} */ b) => JSON.parse(b.toString('latin1'))]), requestStream: true },
}
const options = { 'grpc.max_receive_message_length': -1, 'grpc.max_send_message_length': -1, 'grpc.use_local_subchannel_pool': 1 }

export async function server(/** @type {string} */ address) {
  const server = new grpc.Server(options)
  server.addService(/** @type {any} */ (definition), {
    add: (/** @type {any} */ { request }, /** @type {any} */ done) => done(null, [service.add(request[0], request[1])]),
    echo: (/** @type {any} */ { request }, /** @type {any} */ done) => done(null, service.echo(request)),
    sum: (/** @type {any} */ { request }, /** @type {any} */ done) => done(null, [service.sum(request)]),
    note(/** @type {any} */ call, /** @type {any} */ done) {
      call.on('data', (/** @type {Buffer} */ m) => service.noteBytes(m))
      call.on('end', () => done(null, service.finish()))
    },
  })
  await new Promise((resolve, reject) => {
    server.bindAsync(`unix:${address}`, grpc.ServerCredentials.createInsecure(), (error) => (error ? reject(error) : resolve(null)))
  })
}

/** @returns {Promise<import('../measure.mjs').Client>} */
export async function client(/** @type {string} */ address) {
  const Service = grpc.makeGenericClientConstructor(/** @type {any} */ (definition), 'bench')
  const stub = /** @type {any} */ (new Service(`unix:${address}`, grpc.credentials.createInsecure(), options))
  await new Promise((resolve, reject) =>
    stub.waitForReady(Date.now() + 10_000, (/** @type {any} */ error) => (error ? reject(error) : resolve(null))),
  )
  const call = (/** @type {string} */ name, /** @type {any} */ input) =>
    new Promise((resolve, reject) =>
      stub[name](input, (/** @type {any} */ error, /** @type {any} */ result) => (error ? reject(error) : resolve(result))),
    )
  /** @type {any} */
  let stream = null
  /** @type {Promise<any>} */
  let account
  return {
    add: async (a, b) => /** @type {number[]} */ (await call('add', [a, b]))[0],
    oneway(message) {
      if (!stream) {
        account = new Promise((resolve, reject) => {
          stream = stub.note((/** @type {any} */ error, /** @type {any} */ result) => (error ? reject(error) : resolve(result)))
        })
      }
      if (!stream.write(message)) return new Promise((resolve) => stream.once('drain', resolve))
    },
    finish() {
      stream.end()
      stream = null
      return account
    },
    echo: (payload) => call('echo', payload),
    sum: async (input) => /** @type {number[]} */ (await call('sum', input))[0],
    close: () => stub.close(),
  }
}

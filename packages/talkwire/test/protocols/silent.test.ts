/** Who connects and says nothing, as browsers do in advance, does not keep a service that closes. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import net from 'node:net'
import { test } from 'node:test'
import tls from 'node:tls'
import * as z from 'zod'
import { connect, contract, rpc, serve, type ConnectOptions, type ServeOptions } from '../../src/index.js'
import { freshPath } from '../helpers/place.js'
import { issue } from '../transports/fixtures/certificates.js'
import { soon } from '../../compliance/ends.js'

const calc = contract('calc/1', { add: rpc({ input: z.object({ a: z.number(), b: z.number() }), output: z.number() }) })
const authority = issue({ name: 'silent authority', authority: true })
const server = issue({ name: 'silent', hosts: ['127.0.0.1', 'localhost'], issuer: authority })
/** No time limit ends the silent one. */
const PATIENCE = 3_600_000

const secured = { tls: { key: server.key, cert: server.cert, requestCert: false } }
const PLAIN = ['http', 'ws', 'mcp+http', 'graphql+http', 'xmlrpc+http', 'soap+http', 'thrift+http', 'thrift+tcp', 'grpc', 'tcp', 'pymp']
const SECURE = ['https', 'wss', 'grpcs', 'tls']
const kinds: readonly (readonly [name: string, listen: string, serves: ServeOptions, connects: ConnectOptions])[] = [
  ...PLAIN.map((scheme) => [scheme, `${scheme}://127.0.0.1:0`, {}, {}] as const),
  ...SECURE.map((scheme) => [scheme, `${scheme}://127.0.0.1:0`, secured, { tls: { ca: authority.cert } }] as const),
  ['tcp for all', 'tcp://127.0.0.1:0', { protocols: 'all' }, {}],
  ['tls for all', 'tls://127.0.0.1:0', { ...secured, protocols: 'all' }, { tls: { ca: authority.cert } }],
  ['unix for all', `unix:${freshPath('.sock')}`, { protocols: 'all' }, {}],
  ['grpc+unix', `grpc+unix:${freshPath('.sock')}`, {}, {}],
  ['dbus+unix', `dbus+unix:${freshPath('.sock')}`, {}, {}],
  ['varlink', `varlink:${freshPath('.sock')}`, {}, {}],
  ['nodeipc', `nodeipc:${freshPath('.sock')}`, {}, {}],
]

const at = (address: string): net.NetConnectOpts => {
  const port = /:(\d+)(\/.*)?$/.exec(address)?.[1]
  return port === undefined ? { path: address.replace(/^[^/]*:/, '') } : { host: '127.0.0.1', port: Number(port) }
}

for (const [name, listen, serves, connects] of kinds)
  for (const secret of 'tls' in serves ? ['before its handshake', 'after its handshake'] : [''])
    test(`${name}: who says nothing ${secret} is let go when the service closes`, async () => {
      const service = await serve(
        calc,
        { add: ({ a, b }) => a + b },
        { listen, ...serves, ...('protocols' in serves ? { token: 'a-token-for-the-tests' } : {}), limits: { handshake: PATIENCE } },
      )
      const address = service.addresses[0]!
      const silent = secret.startsWith('after') ? tls.connect({ ...at(address), ca: authority.cert }) : net.connect(at(address))
      silent.on('error', () => {}).resume()
      await once(silent, secret.startsWith('after') ? 'secureConnect' : 'connect')
      // Whoever comes later is accepted later.
      const client = await connect(calc, address, {
        ...connects,
        ...(service.token === undefined ? {} : { token: service.token }),
        reconnect: false,
      })
      assert.equal(await client.add({ a: 2, b: 5 }), 7)
      await client.close()
      const gone = once(silent, 'close')
      await service.close()
      await soon(gone, 'the end of the silent one')
    })

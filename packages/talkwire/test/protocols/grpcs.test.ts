/** gRPC, Connect and gRPC-Web over TLS. */
import { test } from 'node:test'
import tls from 'node:tls'
import { testDialect } from '../../compliance/index.js'
import { connectHttps, webHttps } from '../../src/protocols/connectrpc.js'
import { grpcs } from '../../src/protocols/grpc.js'
import { ownHost } from '../helpers/loopback.js'
import { issue } from '../transports/fixtures/certificates.js'

const authority = issue({ name: 'gRPC authority', authority: true })
const { key, cert } = issue({ name: 'gRPC', hosts: [ownHost], issuer: authority })

for (const dialect of [grpcs, connectHttps, webHttps])
  testDialect({
    test,
    dialect,
    address: () => `${dialect.scheme}://${ownHost}:0`,
    listenOptions: { tls: { key, cert } },
    connectOptions: { tls: { ca: authority.cert } },
    raw(address) {
      const { hostname, port } = new URL(address.replace(/^[^:]+/, 'https'))
      return tls.connect({ host: hostname, port: Number(port), ca: authority.cert })
    },
  })

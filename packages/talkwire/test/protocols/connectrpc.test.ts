/** Connect and gRPC-Web between two of us; with others: connectrpc-strangers.test.ts, grpc-web.test.ts. */
import net from 'node:net'
import { test } from 'node:test'
import { testDialect } from '../../compliance/index.js'
import { connectH2c, connectHttp, webHttp } from '../../src/protocols/connectrpc.js'
import { ownHost } from '../helpers/loopback.js'

const raw = (address: string): net.Socket => {
  const { hostname, port } = new URL(address.replace(/^[^:]+/, 'http'))
  return net.connect(Number(port), hostname)
}

for (const dialect of [connectHttp, connectH2c, webHttp])
  testDialect({ test, dialect, address: () => `${dialect.scheme}://${ownHost}:0`, raw })

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { test } from 'node:test'
import tls from 'node:tls'
import { promisify } from 'node:util'
import { testDialect } from '../../compliance/index.js'
import { connect, serve, type RunningService } from '../../src/index.js'
import { https } from '../../src/protocols/http.js'
import { fails } from '../helpers/expect.js'
import { freshPort, ownHost } from '../helpers/loopback.js'
import { freshPath } from '../helpers/place.js'
import { issue, type Identity } from '../transports/fixtures/certificates.js'

const authority = issue({ name: 'Test Authority', authority: true })
const hosts = ['localhost', ownHost]
const pick = ({ key, cert }: Identity): Identity => ({ key, cert })
const serverTls = pick(issue({ name: 'bank', hosts, issuer: authority }))
const clientTls = { ca: authority.cert }
const fresh = (): string => `https://${ownHost}:${freshPort()}`

testDialect({
  test,
  dialect: https,
  address: fresh,
  listenOptions: { tls: serverTls },
  connectOptions: { tls: clientTls },
  raw(address) {
    const { hostname, port } = new URL(address)
    return tls.connect({ host: hostname, port: Number(port), ca: authority.cert })
  },
})

// ── strangers ────────────────────────────────────────────────────────────────────────────────────

const functions = { add: (a: number, b: number) => a + b }
const open = (more: object = {}): Promise<RunningService> => serve('calc', functions, { listen: fresh(), tls: serverTls, ...more })
const run = promisify(execFile)

test('https: curl calls, and trusts nobody whom it was not told to', async () => {
  await using service = await open()
  const file = freshPath('.pem')
  writeFileSync(file, authority.cert)
  const call = (...args: string[]) =>
    run('curl', ['-sS', ...args, '-H', `authorization: Bearer ${service.token}`, '--json', '[2, 5]', `${service.addresses[0]}/calc/add`])
  assert.equal((await call('--cacert', file)).stdout, '7')
  await assert.rejects(call(), /certificate/)
  await assert.rejects(run('curl', ['-sS', service.addresses[0]!.replace('https', 'http')]))
})

test('https: a service that cannot be trusted is not talked to', async () => {
  for (const certificate of [
    issue({ name: 'bank', hosts, issuer: authority, from: -3, until: -2 }),
    issue({ name: 'bank', hosts: ['bank.example'], issuer: authority }),
    issue({ name: 'bank', hosts }),
  ]) {
    let heard = 0
    await using service = await open({ tls: pick(certificate), allow: () => ++heard > 0 })
    await assert.rejects(
      connect(service.addresses[0]!, { tls: clientTls, token: service.token!, reconnect: false }),
      fails('UNAUTHENTICATED'),
    )
    assert.equal(heard, 0)
  }
})

test('https: the token is wanted here, too, and beyond loopback', async () => {
  await using service = await open()
  await assert.rejects(connect(service.addresses[0]!, { tls: clientTls, reconnect: false }), fails('UNAUTHENTICATED'))
  await using client = await connect<typeof functions>(service.addresses[0]!, { tls: clientTls, token: service.token! })
  assert.equal(await client.add(2, 5), 7)
  await assert.rejects(serve('calc', functions, { listen: 'https://0.0.0.0:0', tls: serverTls, token: false }), fails('PERMISSION_DENIED'))
})

test('https: who knows the service by a client certificate may ask for one', async () => {
  const teller = issue({ name: 'teller 7', issuer: authority })
  await using service = await open({ token: false, tls: { ...serverTls, ca: authority.cert, requestCert: true, rejectUnauthorized: true } })
  await using client = await connect<typeof functions>(service.addresses[0]!, { tls: { ...clientTls, ...pick(teller) } })
  assert.equal(await client.add(2, 5), 7)
  await assert.rejects(
    connect(service.addresses[0]!, { tls: clientTls, reconnect: false }),
    fails('PEER_NOT_FOUND', 'CONNECTION_LOST', 'UNAUTHENTICATED'),
  )
})

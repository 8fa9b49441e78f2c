import assert from 'node:assert/strict'
import { once } from 'node:events'
import net from 'node:net'
import { test } from 'node:test'
import tls from 'node:tls'
import { soon } from '../../compliance/ends.js'
import { testTransport } from '../../compliance/index.js'
import { connect, serve, sessionOf, TalkwireError, type ConnectOptions, type ServeOptions } from '../../src/index.js'
import { tlsTransport } from '../../src/transports/tls.js'
import { freshPort, ownHost } from '../helpers/loopback.js'
import '../helpers/place.js'
import { issue } from './fixtures/certificates.js'

const authority = issue({ name: 'Test Authority', authority: true })
const other = issue({ name: 'Other Authority', authority: true })
const hosts = ['localhost', '127.0.0.1', '::1', ownHost]
const server = issue({ name: 'bank', hosts, issuer: authority })
const client = issue({ name: 'teller 7', issuer: authority })
const pick = ({ key, cert }: { key: string; cert: string }) => ({ key, cert })
const serverTls = { ...pick(server), ca: authority.cert }
const clientTls = { ...pick(client), ca: authority.cert }

testTransport({
  test,
  transport: tlsTransport,
  address: () => `tls://${ownHost}:${freshPort()}`,
  listenOptions: { tls: serverTls },
  connectOptions: { tls: clientTls },
})

const functions = { add: (a: number, b: number) => a + b }
const listen = (options: Partial<ServeOptions> = {}) =>
  serve('calc', functions, { listen: 'tls://localhost:0', tls: serverTls, ...options })
const attempt = (address: string, options: ConnectOptions) => connect<typeof functions>(address, { reconnect: false, ...options })
/** Rejects with this code, and says this. */
async function refused(address: string, options: ConnectOptions, code: string, text: RegExp): Promise<void> {
  const reason = await soon(
    attempt(address, options).then(
      () => new Error('it connected'),
      (error: unknown) => error,
    ),
    'connect()',
  )
  assert.ok(reason instanceof TalkwireError, String(reason))
  assert.equal(reason.code, code, reason.message)
  assert.match(reason.message, text)
}

test('tls: both sides know each other by the name in the certificate', async () => {
  await using service = await listen()
  await using calc = await attempt(service.addresses[0]!, { tls: clientTls })
  assert.equal(await calc.add(2, 5), 7)
  assert.equal(sessionOf(calc)!.peer.identity, 'bank')
  assert.deepEqual(
    service.peers.map(({ identity }) => identity),
    ['teller 7'],
  )
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    await using each = await attempt(service.addresses[0]!, { tls: { ...clientTls, maxVersion: version, minVersion: version } })
    assert.equal(await each.add(1, 1), 2)
  }
})

test('tls: a service that cannot be trusted is UNAUTHENTICATED, whatever is wrong with its certificate', async () => {
  const cases: [ReturnType<typeof issue>, RegExp][] = [
    [issue({ name: 'bank', hosts, issuer: authority, from: -3, until: -2 }), /CERT_HAS_EXPIRED/],
    [issue({ name: 'bank', hosts, issuer: authority, from: 2, until: 3 }), /CERT_NOT_YET_VALID/],
    [issue({ name: 'bank', hosts: ['bank.example'], issuer: authority }), /ALTNAME_INVALID/],
    [issue({ name: 'localhost' }), /DEPTH_ZERO_SELF_SIGNED_CERT/],
    [issue({ name: 'bank', hosts, issuer: other }), /UNABLE_TO_/],
    [issue({ name: 'bank', hosts, issuer: client }), /UNABLE_TO_|INVALID_CA|INVALID_PURPOSE/],
  ]
  for (const [certificate, text] of cases) {
    await using service = await listen({ tls: { ...pick(certificate), ca: authority.cert } })
    await refused(service.addresses[0]!, { tls: clientTls }, 'UNAUTHENTICATED', text)
    assert.equal(service.peers.length, 0)
  }
  await using service = await listen()
  // An authority that we were not given, and the public ones: neither.
  await refused(service.addresses[0]!, { tls: { ...pick(client), ca: other.cert } }, 'UNAUTHENTICATED', /UNABLE_TO_|SELF_SIGNED/)
  await refused(service.addresses[0]!, { tls: pick(client) }, 'UNAUTHENTICATED', /UNABLE_TO_|SELF_SIGNED/)
})

test('tls: a client that cannot be trusted is UNAUTHENTICATED and never reaches the service', async () => {
  let calls = 0
  await using service = await serve('calc', { add: () => calls++ }, { listen: 'tls://localhost:0', tls: serverTls })
  const cases: [string, object][] = [
    ['no certificate', {}],
    ['expired', pick(issue({ name: 'teller', issuer: authority, from: -3, until: -2 }))],
    ['self-signed', pick(issue({ name: 'teller 7' }))],
    ['another authority', pick(issue({ name: 'teller 7', issuer: other }))],
  ]
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    for (const [what, shown] of cases) {
      for (let round = 0; round < 10; round++) {
        await refused(
          service.addresses[0]!,
          { tls: { ...shown, ca: authority.cert, minVersion: version, maxVersion: version } },
          'UNAUTHENTICATED',
          /ALERT|does not accept our certificate/,
        ).catch((reason: unknown) => {
          throw new Error(`${what}, ${version}`, { cause: reason })
        })
      }
    }
  }
  assert.equal(calls, 0)
  assert.equal(service.peers.length, 0)
  await using good = await attempt(service.addresses[0]!, { tls: clientTls })
  await good.add(1, 1)
})

test('tls: nothing older than TLS 1.2, on either side', async () => {
  await using service = await listen({ tls: { ...serverTls, minVersion: 'TLSv1', ciphers: 'DEFAULT@SECLEVEL=0' } })
  const port = Number(service.addresses[0]!.split(':').pop())
  const old = tls.connect({
    port,
    host: 'localhost',
    ...clientTls,
    minVersion: 'TLSv1',
    maxVersion: 'TLSv1.1',
    ciphers: 'DEFAULT@SECLEVEL=0',
  })
  const [reason] = (await once(old, 'error')) as [NodeJS.ErrnoException]
  assert.match(String(reason.code ?? reason.message), /PROTOCOL|VERSION|ALERT/i)
  const ancient = tls
    .createServer({ ...serverTls, minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' })
    .listen(0, 'localhost')
  ancient.on('tlsClientError', () => {})
  await once(ancient, 'listening')
  await refused(
    `tls://localhost:${(ancient.address() as net.AddressInfo).port}`,
    { tls: { ...clientTls, minVersion: 'TLSv1', ciphers: 'DEFAULT@SECLEVEL=0' } },
    'PEER_NOT_FOUND',
    /does not speak TLS as we do/,
  )
  ancient.close()
})

test('tls: a server without TLS, and a client without it', async () => {
  await using plain = await serve('calc', functions, { listen: 'tcp://localhost:0' })
  await refused(plain.addresses[0]!.replace('tcp', 'tls'), { tls: clientTls }, 'PEER_NOT_FOUND', /does not speak TLS/)
  await using service = await listen()
  const reason = await soon(
    attempt(service.addresses[0]!.replace('tls', 'tcp'), {}).then(
      () => new Error('it connected'),
      (error: unknown) => error,
    ),
    'connect()',
  )
  assert.match((reason as TalkwireError).code, /^CONNECTION_/)
})

test('tls: a handshake that does not come is cut off after limits.handshake, and others are served', async () => {
  await using service = await listen({ limits: { handshake: 300 } })
  const port = Number(service.addresses[0]!.split(':').pop())
  const silent = Array.from({ length: 50 }, (_, index) =>
    net
      .connect(port, 'localhost')
      .on('error', () => {})
      .on('connect', function (this: net.Socket) {
        if (index % 2) this.write(Buffer.of(0x16, 3, 1))
      })
      .resume(),
  )
  const ends = silent.map((socket) => once(socket, 'close'))
  await using calc = await attempt(service.addresses[0]!, { tls: clientTls })
  assert.equal(await calc.add(2, 5), 7)
  await soon(Promise.all(ends), 'silent peers are cut off')
  const mute = net.createServer((socket) => socket.on('error', () => {}).resume()).listen(0, 'localhost')
  await once(mute, 'listening')
  await refused(
    `tls://localhost:${(mute.address() as net.AddressInfo).port}`,
    { tls: clientTls, limits: { handshake: 200 } },
    'PEER_NOT_FOUND',
    /within 200 ms/,
  )
  mute.close()
})

test('tls: what would trust anybody is a TypeError', async () => {
  const wrong: object[] = [{}, pick(server), { key: server.key, ca: authority.cert }, { ...serverTls, rejectUnauthorized: false }]
  for (const options of wrong) await assert.rejects(listen({ tls: options }), TypeError)
  await assert.rejects(listen({ tls: undefined as never }), TypeError)
  await assert.rejects(attempt('tls://localhost:1', { tls: { ...clientTls, rejectUnauthorized: false } }), TypeError)
})

test('tls: NODE_TLS_REJECT_UNAUTHORIZED changes nothing', async () => {
  await using service = await listen({ tls: { ...pick(issue({ name: 'localhost' })), ca: authority.cert } })
  const before = process.env['NODE_TLS_REJECT_UNAUTHORIZED']
  process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = '0'
  try {
    await refused(service.addresses[0]!, { tls: clientTls }, 'UNAUTHENTICATED', /SELF_SIGNED/)
  } finally {
    if (before === undefined) delete process.env['NODE_TLS_REJECT_UNAUTHORIZED']
    else process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = before
  }
})

test('tls: without client certificates only where it is said, and beyond loopback only with an authkey or `insecure`', async () => {
  const open = { ...pick(server), requestCert: false }
  const authkey = 'a secret of at least sixteen bytes'
  await using service = await listen({ tls: open })
  await using calc = await attempt(service.addresses[0]!, { tls: { ca: authority.cert } })
  assert.equal(await calc.add(2, 5), 7)
  assert.equal(service.peers[0]!.identity, undefined)
  await assert.rejects(
    listen({ listen: 'tls://0.0.0.0:0', tls: open }),
    (reason: TalkwireError) => reason.code === 'PERMISSION_DENIED' && /requestCert/.test(reason.message),
  )
  for (const options of [{ tls: serverTls }, { tls: open, authkey }, { tls: open, insecure: true }]) {
    await using beyond = await listen({ listen: 'tls://0.0.0.0:0', ...options })
    await using each = await attempt(beyond.addresses[0]!.replace('0.0.0.0', '127.0.0.1'), {
      tls: clientTls,
      ...('authkey' in options && { authkey }),
    })
    assert.equal(await each.add(2, 5), 7)
  }
})

test('tls: the name that is checked is the one in the address, or `servername`', async () => {
  const named = issue({ name: 'bank', hosts: ['bank.example'], issuer: authority })
  await using service = await listen({ tls: { ...pick(named), ca: authority.cert } })
  const [address] = service.addresses
  await refused(address!, { tls: clientTls }, 'UNAUTHENTICATED', /ALTNAME/)
  await refused(address!.replace('localhost', '127.0.0.1'), { tls: clientTls }, 'UNAUTHENTICATED', /ALTNAME/)
  await using calc = await attempt(address!, { tls: { ...clientTls, servername: 'bank.example' } })
  assert.equal(await calc.add(2, 5), 7)
})

test('tls: nothing of a call can be read on the wire', async () => {
  await using service = await listen()
  const seen: Buffer[] = []
  const proxy = net
    .createServer((near) => {
      const far = net.connect(Number(service.addresses[0]!.split(':').pop()), 'localhost')
      for (const [from, to] of [
        [near, far],
        [far, near],
      ] as const) {
        from
          .on('data', (chunk) => {
            seen.push(chunk)
            to.write(chunk)
          })
          .on('end', () => to.end())
          .on('error', () => to.destroy())
      }
    })
    .listen(0, 'localhost')
  await once(proxy, 'listening')
  const calc = await attempt(`tls://localhost:${(proxy.address() as net.AddressInfo).port}`, { tls: clientTls })
  assert.equal(await calc.add(2, 5), 7)
  await calc.close()
  proxy.close()
  const wire = Buffer.concat(seen).toString('latin1')
  assert.ok(wire.length > 1000)
  assert.doesNotMatch(wire, /jsonrpc|rpc\.hello|teller/)
})

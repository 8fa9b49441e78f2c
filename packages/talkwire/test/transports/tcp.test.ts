import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import net from 'node:net'
import { networkInterfaces as os } from 'node:os'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { LocalEnd, soon } from '../../compliance/ends.js'
import { testTransport } from '../../compliance/index.js'
import { connect, serve, sessionOf, TalkwireError } from '../../src/index.js'
import { tcp } from '../../src/transports/tcp.js'
import { fails } from '../helpers/expect.js'
import { freshPort, ownHost } from '../helpers/loopback.js'
import '../helpers/place.js'
import { eventually, printed, program, python, script, start } from './fixtures/support.js'

testTransport({ test, transport: tcp, address: () => `tcp://${ownHost}:${freshPort()}` })

const key = randomBytes(32).toString('base64')
const functions = { add: (a: number, b: number) => a + b, who: () => null }

test('tcp: a plain JSON-RPC script calls without a library', async () => {
  await using service = await serve('calc', functions, { listen: 'tcp://127.0.0.1:0' })
  const { stdout } = await promisify(execFile)(python, [script('tcp-lines.py'), service.addresses[0]!.split(':').pop()!])
  assert.deepEqual(JSON.parse(stdout), { jsonrpc: '2.0', id: 1, result: 7 })
})

test('tcp: the Python client calls, with and without authkey', async () => {
  for (const authkey of [undefined, key]) {
    await using service = await serve('calc', functions, { listen: 'tcp://127.0.0.1:0', ...(authkey && { authkey }) })
    const { stdout } = await promisify(execFile)(python, [script('tcp-client.py'), service.addresses[0]!, ...(authkey ? [authkey] : [])])
    assert.equal(stdout.trim(), '7')
  }
})

test('tcp: localhost, IPv6 and port 0', async () => {
  for (const host of ['localhost', '127.0.0.2', ...(hasIpv6() ? ['[::1]'] : [])]) {
    await using service = await serve('calc', functions, { listen: `tcp://${host}:0` })
    const [address] = service.addresses
    assert.match(address!, /:[1-9]\d*$/)
    await using client = await connect<typeof functions>(address!)
    assert.equal(await client.add(2, 5), 7)
    assert.equal(typeof service.peers[0]!.host, 'string')
    assert.match(service.peers[0]!.address, /^tcp:\/\/(127\.0\.0\.\d|\[::1\]):\d+$/)
  }
})
const hasIpv6 = (): boolean =>
  net.isIPv6(
    Object.values(os())
      .flatMap((each) => each ?? [])
      .find(({ address }) => address === '::1')?.address ?? '',
  )

test('tcp: what is said at once leaves at once (TCP_NODELAY), and a silent host is asked (keep-alive)', async () => {
  const far = new LocalEnd()
  const listener = await tcp.listen!('tcp://127.0.0.1:0', (connection) => far.accepted(connection))
  const near = new LocalEnd()
  near.connection = await tcp.connect!(listener.address, near)
  await near.do({ do: 'send', sizes: [2] })
  await far.got(1)
  const { port } = new URL(listener.address.replace('tcp', 'http'))
  // /proc/net/tcp: a timer of kind 2 is keep-alive.
  const { readFileSync } = await import('node:fs')
  const hex = Number(port).toString(16).toUpperCase().padStart(4, '0')
  const rows = readFileSync('/proc/net/tcp', 'utf8')
    .split('\n')
    .filter((row) => row.includes(`:${hex} `) && / 01 /.test(row))
  assert.equal(rows.length, 2)
  for (const row of rows) assert.match(row.trim().split(/\s+/)[5]!, /^02:/)
  near.connection.abort(new TalkwireError('CONNECTION_LOST', 'over'))
  await far.ending()
  await listener.close()
})

test('tcp: malformed addresses are refused', async () => {
  for (const address of [
    'tcp:',
    'tcp://',
    'tcp://127.0.0.1',
    'tcp://127.0.0.1:',
    'tcp://127.0.0.1:65536',
    'tcp://127.0.0.1:1x',
    'tcp://a b:1',
    'tcp://::1:7000',
    'tcp://[::1:7000',
    'tcp://u@h:1',
    'tcp://h:1/path',
    'tcp://127.0.0.1:1?x=1',
    'tcp://$(id):1',
  ]) {
    await assert.rejects(tcp.connect!(address, new LocalEnd()), fails('INVALID_ADDRESS'), address)
    await assert.rejects(
      tcp.listen!(address, () => new LocalEnd()),
      fails('INVALID_ADDRESS'),
      address,
    )
  }
})

test('tcp: beyond loopback only with an authkey or `insecure`, and the text names the fix', async () => {
  for (const host of ['0.0.0.0', '[::]', '10.0.0.1', '[::ffff:10.0.0.1]', '[fe80::1]', '128.0.0.1']) {
    await assert.rejects(serve('calc', functions, { listen: `tcp://${host}:0` }), (reason: TalkwireError) => {
      assert.equal(reason.code, 'PERMISSION_DENIED', host)
      assert.match(reason.message, /authkey.*tls:.*insecure: true/)
      return true
    })
  }
  for (const options of [{ authkey: key }, { insecure: true }]) {
    await using service = await serve('calc', functions, { listen: 'tcp://0.0.0.0:0', ...options })
    await using client = await connect<typeof functions>(service.addresses[0]!.replace('0.0.0.0', '127.0.0.1'), options)
    assert.equal(await client.add(2, 5), 7)
  }
})

test('tcp: by default nothing listens beyond loopback', async () => {
  await using service = await serve('calc', functions, { listen: 'tcp://localhost:0' })
  const port = Number(service.addresses[0]!.split(':').pop())
  const { readFileSync } = await import('node:fs')
  const rows = ['/proc/net/tcp', '/proc/net/tcp6']
    .flatMap((file) => readFileSync(file, 'utf8').split('\n').slice(1))
    .filter((row) => row.includes(`:${port.toString(16).toUpperCase().padStart(4, '0')} `) && / 0A /.test(row))
  assert.equal(rows.length, 1)
  assert.match(rows[0]!, / (0100007F|00000000000000000000000001000000):/)
})

test('tcp: a host that does not answer is given up after limits.handshake', async () => {
  // Its queue is full and it never accepts, so further connections get no answer.
  const child = start(
    python,
    '-c',
    'import socket,sys;s=socket.socket();s.bind(("127.0.0.1",0));s.listen(0);print(s.getsockname()[1],flush=True);sys.stdin.read()',
  )
  const port = Number(await printed(child))
  const fillers = Array.from({ length: 8 }, () => net.connect(port, '127.0.0.1').on('error', () => {}))
  await eventually(() => fillers.filter(({ readyState }) => readyState === 'open').length >= 1, 'the queue fills')
  await assert.rejects(
    soon(
      (async () => {
        for (;;) await connect(`tcp://127.0.0.1:${port}`, { limits: { handshake: 300 } })
      })(),
      'connect()',
    ),
    fails('PEER_NOT_FOUND', 'DEADLINE_EXCEEDED'),
  )
  for (const filler of fillers) filler.destroy()
  child.kill('SIGKILL')
})

// ── authkey ──────────────────────────────────────────────────────────────────────────────────────

/** Passes bytes on and keeps them. */
async function recorder(target: number): Promise<{ port: number; bytes: () => Buffer; close: () => void }> {
  const seen: Buffer[] = []
  const server = net
    .createServer((near) => {
      const far = net.connect(target, '127.0.0.1')
      for (const [from, to] of [
        [near, far],
        [far, near],
      ] as const) {
        from.on('data', (chunk) => {
          seen.push(chunk)
          to.write(chunk)
        })
        from.on('end', () => to.end())
        from.on('error', () => to.destroy())
      }
    })
    .listen(0, '127.0.0.1')
  await once(server, 'listening')
  return { port: (server.address() as net.AddressInfo).port, bytes: () => Buffer.concat(seen), close: () => server.close() }
}

test('tcp: with an authkey both sides prove it, and the key is nowhere on the wire', async () => {
  await using service = await serve('calc', functions, { listen: 'tcp://127.0.0.1:0', authkey: key })
  const proxy = await recorder(Number(service.addresses[0]!.split(':').pop()))
  const client = await connect<typeof functions>(`tcp://127.0.0.1:${proxy.port}`, { authkey: key })
  assert.equal(await client.add(2, 5), 7)
  await client.close()
  proxy.close()
  const wire = proxy.bytes()
  assert.ok(wire.includes('rpc.auth') && wire.length > 400)
  const forms = [key, Buffer.from(key).toString('hex'), Buffer.from(key).toString('base64'), Buffer.from(key, 'base64')]
  for (const form of forms) {
    assert.equal(wire.indexOf(form), -1)
    assert.equal(wire.indexOf((form as Buffer).subarray?.(0, 16) ?? (form as string).slice(0, 16)), -1)
  }
})

test('tcp: what was recorded of one authentication opens nothing', async () => {
  await using service = await serve('calc', functions, { listen: 'tcp://127.0.0.1:0', authkey: key })
  const port = Number(service.addresses[0]!.split(':').pop())
  const proxy = await recorder(port)
  const client = await connect<typeof functions>(`tcp://127.0.0.1:${proxy.port}`, { authkey: key })
  const sent: Buffer[] = []
  await client.close()
  proxy.close()
  // Everything of both directions, replayed: proofs depend on the server's new nonce.
  const socket = net.connect(port, '127.0.0.1')
  socket.on('data', (chunk) => sent.push(chunk)).on('error', () => {})
  socket.write(proxy.bytes())
  await once(socket, 'close')
  assert.doesNotMatch(Buffer.concat(sent).toString('latin1'), /"result":true/)
})

test('tcp: a wrong key, no key, and a key where none is wanted', async () => {
  await using service = await serve('calc', functions, { listen: 'tcp://127.0.0.1:0', authkey: key })
  const [address] = service.addresses
  for (const options of [{ authkey: randomBytes(32) }, { authkey: key.toLowerCase() }, {}]) {
    await assert.rejects(connect(address!, options), fails('UNAUTHENTICATED'))
  }
  await eventually(() => service.peers.length === 0, 'those refused are cut off')
  await using open = await serve('open', functions, { listen: 'tcp://127.0.0.1:0' })
  // It cannot prove that it knows the key: the client must not go on.
  await assert.rejects(connect(open.addresses[0]!, { authkey: key }), fails('UNAUTHENTICATED', 'METHOD_NOT_FOUND'))
})

test('tcp: a server that does not know the key learns nothing and gets no call', async () => {
  const heard: string[] = []
  const impostor = net
    .createServer((socket) => {
      socket.on('error', () => {})
      socket.on('data', (chunk) => {
        heard.push(chunk.toString('latin1'))
        const id = /"id":(\d+)/.exec(chunk.toString('latin1'))?.[1]
        const answer = JSON.stringify({ jsonrpc: '2.0', id: Number(id), result: { nonce: 'ab'.repeat(32), proof: 'cd'.repeat(32) } })
        const head = Buffer.alloc(4)
        head.writeUInt32BE(answer.length)
        socket.write(Buffer.concat([head, Buffer.from(answer)]))
      })
    })
    .listen(0, '127.0.0.1')
  await once(impostor, 'listening')
  await assert.rejects(
    connect(`tcp://127.0.0.1:${(impostor.address() as net.AddressInfo).port}`, { authkey: key }),
    fails('UNAUTHENTICATED'),
  )
  impostor.close()
  assert.equal(heard.length, 1)
  assert.match(heard[0]!, /rpc\.auth/)
  assert.doesNotMatch(heard[0]!, /rpc\.hello|proof/)
})

test('tcp: whoever does not authenticate in time is cut off, and others are served meanwhile', async () => {
  await using service = await serve('calc', functions, { listen: 'tcp://127.0.0.1:0', authkey: key, limits: { handshake: 300 } })
  const port = Number(service.addresses[0]!.split(':').pop())
  const silent = Array.from({ length: 50 }, () => net.connect(port, '127.0.0.1').on('error', () => {}))
  const ends = silent.map((socket) => once(socket, 'close'))
  for (const socket of silent) socket.resume()
  await using client = await connect<typeof functions>(service.addresses[0]!, { authkey: key })
  assert.equal(await client.add(2, 5), 7)
  await soon(Promise.all(ends), 'silent peers are cut off')
})

// ── the end of the peer ──────────────────────────────────────────────────────────────────────────

/** A service in a process of its own: its address and the process. */
async function elsewhere(...args: string[]) {
  const child = start(process.execPath, program('serve-tcp'), ...args)
  const address = await soon(printed(child), 'the service listens')
  return { child, address }
}

test('tcp: calls in flight to a service that is killed settle, and the client heals when it is back', async () => {
  const first = await elsewhere('0')
  await using client = await connect<{ add(a: number, b: number): number; hang(): void }>(first.address, {
    reconnect: { initial: 10, max: 50 },
  })
  assert.equal(await client.add(2, 5), 7)
  const calls = Array.from({ length: 100 }, () => client.hang())
  first.child.kill('SIGKILL')
  for (const result of await soon(Promise.allSettled(calls), 'every call settles')) {
    assert.equal(result.status, 'rejected')
    assert.equal((result.reason as TalkwireError).outcome, 'maybe-ran')
    assert.match((result.reason as TalkwireError).code, /^CONNECTION_/)
  }
  const second = await elsewhere(first.address.split(':').pop()!)
  assert.equal(await client.add(2, 6), 8)
  second.child.kill('SIGKILL')
})

test('tcp: a client that is killed is noticed by the service', async () => {
  await using service = await serve('calc', { ...functions, pid: () => process.pid }, { listen: 'tcp://127.0.0.1:0' })
  const child = start(process.execPath, program('parent'), service.addresses[0]!)
  await soon(printed(child), 'the client has called')
  assert.equal(service.peers.length, 1)
  child.kill('SIGKILL')
  await eventually(() => service.peers.length === 0, 'the service notices')
})

test('tcp: a peer that is stopped, as one whose cable was cut, is found by the heartbeat; both ways', async () => {
  const { child, address } = await elsewhere('0', '150')
  const client = await connect<{ add(a: number, b: number): number }>(address, { heartbeat: 150, reconnect: false })
  assert.equal(await client.add(2, 5), 7)
  const call = client.add(1, 1).then(() => client.add(1, 1))
  await call
  child.kill('SIGSTOP')
  await assert.rejects(soon(client.add(1, 1), 'the call settles'), fails('CONNECTION_LOST'))
  child.kill('SIGKILL')

  await using service = await serve('calc', { ...functions, pid: () => process.pid }, { listen: 'tcp://127.0.0.1:0', heartbeat: 150 })
  const stopped = start(process.execPath, program('parent'), service.addresses[0]!)
  await soon(printed(stopped), 'the client has called')
  stopped.kill('SIGSTOP')
  await eventually(() => service.peers.length === 0, 'the service notices')
  stopped.kill('SIGKILL')
})

test('tcp: a heartbeat is on by default', async () => {
  await using service = await serve('calc', functions, { listen: 'tcp://127.0.0.1:0' })
  const proxy = await recorder(Number(service.addresses[0]!.split(':').pop()))
  const client = await connect<typeof functions>(`tcp://127.0.0.1:${proxy.port}`)
  assert.ok(sessionOf(client))
  await client.close()
  proxy.close()
  assert.match(proxy.bytes().toString('latin1'), /"heartbeat":15000/)
})

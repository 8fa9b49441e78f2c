/** `tls:` with Python at either end, on threads and in an event loop. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { connect, context, serve, type Client } from '../../src/index.js'
import { freshPath } from '../helpers/place.js'
import { python } from '../session/processes.js'
import { issue, type Identity } from '../transports/fixtures/certificates.js'

const program = fileURLToPath(new URL('../../../test/interop/fixtures/secure.py', import.meta.url))
const PYTHONPATH = fileURLToPath(new URL('../../../../../clients/python', import.meta.url))

const authority = issue({ name: 'Test Authority', authority: true })
const hosts = ['localhost', '127.0.0.1']
const server = issue({ name: 'bank', hosts, issuer: authority })
const client = issue({ name: 'teller 7', issuer: authority })
const folder = freshPath()
mkdirSync(folder)
const certificates: Record<string, Identity> = {
  authority,
  server,
  client,
  stranger: issue({ name: 'teller 8', issuer: issue({ name: 'Other Authority', authority: true }) }),
}
for (const [name, { cert, key }] of Object.entries(certificates)) {
  writeFileSync(`${folder}/${name}.cert`, cert)
  writeFileSync(`${folder}/${name}.key`, key, { mode: 0o600 })
}
const pick = ({ key, cert }: Identity) => ({ key, cert, ca: authority.cert })

const children = new Set<ReturnType<typeof spawn>>()
after(() => children.forEach((child) => child.kill('SIGKILL')))

/** The program's first line; it is ended after the tests, if not before. */
async function line(...args: string[]): Promise<string> {
  const child = spawn(python, [program, ...args], { stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, PYTHONPATH } })
  children.add(child)
  const [said] = (await once(createInterface({ input: child.stdout }), 'line')) as [string]
  return said
}
const call = async (front: string, address: string, certificate: string): Promise<Record<string, unknown>> =>
  JSON.parse(await line('call', front, folder, address, certificate)) as Record<string, unknown>

const ALL = { sums: 1275, echoed: true, counted: 2000, me: 'teller 7', peer: 'bank' }
const functions = {
  add: (a: number, b: number) => a + b,
  echo: (value: unknown) => value,
  whoami: () => context().peer.identity,
  *count(n: number) {
    for (let i = 0; i < n; i++) yield i
  },
}

for (const front of ['threads', 'asyncio']) {
  test(`tls: Python (${front}) calls TypeScript`, async () => {
    await using service = await serve('secure', functions, { listen: 'tls://127.0.0.1:0', tls: pick(server) })
    assert.deepEqual(await call(front, service.addresses[0]!, 'client'), ALL)
    for (const certificate of ['stranger', 'none']) {
      const { code, outcome } = await call(front, service.addresses[0]!, certificate)
      assert.deepEqual([code, outcome], ['UNAUTHENTICATED', 'not-sent'], certificate)
    }
  })

  test(`tls: Python (${front}) serves TypeScript and Python`, async () => {
    const address = await line('serve', front, folder)
    assert.match(address, /^tls:\/\/127\.0\.0\.1:\d+$/)
    await using caller = (await connect(address, { tls: pick(client), reconnect: false })) as unknown as Client<typeof functions> &
      AsyncDisposable
    assert.equal(await caller.add(2, 5), 7)
    assert.equal(await caller.whoami(), 'teller 7')
    const big = new Uint8Array(5_000_000).fill(7)
    assert.deepEqual(await caller.echo(big), big)
    for (const other of ['threads', 'asyncio']) assert.deepEqual(await call(other, address, 'client'), ALL)
    for (const certificate of ['stranger', 'none']) {
      const { code } = await call(front, address, certificate)
      assert.equal(code, 'UNAUTHENTICATED', certificate)
    }
    assert.equal(await caller.add(1, 1), 2, 'who was refused has done no harm')
  })
}

test('tls: Python refuses a service that it cannot trust', async () => {
  const strange = issue({ name: 'bank', hosts, issuer: issue({ name: 'Other Authority', authority: true }) })
  const elsewhere = issue({ name: 'bank', hosts: ['bank.example'], issuer: authority })
  const expired = issue({ name: 'bank', hosts, issuer: authority, from: -9, until: -1 })
  for (const identity of [strange, elsewhere, expired]) {
    await using service = await serve('secure', functions, { listen: 'tls://127.0.0.1:0', tls: pick(identity) })
    const { code, outcome, text } = await call('threads', service.addresses[0]!, 'client')
    assert.deepEqual([code, outcome], ['UNAUTHENTICATED', 'not-sent'])
    assert.match(String(text), /check Tls\.ca/)
  }
})

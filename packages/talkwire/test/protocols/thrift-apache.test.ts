/** Thrift with Apache's own libraries, for Node and Python, unmodified: both have their classes from Apache's compiler, which reads our interface. */
import '../helpers/place.js'
import assert from 'node:assert/strict'
import { execFile, execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, symlinkSync } from 'node:fs'
import type { Server } from 'node:net'
import { createRequire } from 'node:module'
import path from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { soon } from '../../compliance/ends.js'
import { connect, serve } from '../../src/index.js'
import { freshPort, ownHost } from '../helpers/loopback.js'
import { freshPath } from '../helpers/place.js'
import { run } from '../session/processes.js'
import { bank, checkCalled, handlers, idlFile, notes } from './fixtures/thrift-bank.js'
import { checkShop, shopContract, writeShop } from './fixtures/thrift-shop.js'

const require = createRequire(import.meta.url)
const folder = freshPath()
mkdirSync(folder)
const idl = await idlFile(path.join(folder, 'bank.thrift'))
for (const language of ['js:node,es6', 'py']) execFileSync('thrift', ['--gen', language, '-o', folder, idl])
// The compiler's modules look for the library from where they are.
symlinkSync(path.dirname(path.dirname(require.resolve('thrift/package.json'))), path.join(folder, 'node_modules'))

// ── npm's thrift ─────────────────────────────────────────────────────────────────────────────────

const apache = require('thrift') as any
const made = require(path.join(folder, 'gen-nodejs/bank.js')) as any
const types = require(path.join(folder, 'gen-nodejs/bank_types.js')) as any
const PROTOCOLS: Record<string, unknown> = { binary: apache.TBinaryProtocol, compact: apache.TCompactProtocol }
const TRANSPORTS: Record<string, unknown> = { buffered: apache.TBufferedTransport, framed: apache.TFramedTransport }
/** In compact its version 0.24 reads each bool of a list as false, whoever wrote it. */
const STYLES = [
  ['binary', 'framed'],
  ['compact', 'buffered'],
] as const

for (const [protocol, transport] of STYLES) {
  test(`thrift: npm's thrift calls us, ${protocol} and ${transport}`, async () => {
    await using service = await serve(bank, handlers, { listen: `thrift+tcp://${ownHost}:${freshPort()}`, onError() {} })
    const connection = apache.createConnection(ownHost, new URL(service.addresses[0]!.replace('thrift+tcp', 'http')).port, {
      protocol: PROTOCOLS[protocol],
      transport: TRANSPORTS[transport],
    })
    try {
      const client = apache.createClient(made, connection)
      assert.deepEqual({ ...(await client.deposit('savings', 5.5)) }, { account: 'savings', balance: 5.5 })
      const inners = [new types.EntryInnersItem({ text: 'a' }), new types.EntryInnersItem({ text: 'b', maybe: 'c' })]
      const bytes = Buffer.from([0, 255])
      const plain = { text: 'ä€😀', number: -0.5, small: -7, flag: true, bytes, numbers: [1.5, -2], inners, tags: ['p', 'q'] }
      const back = await client.echo(new types.Entry({ ...plain, integer: 7, named: { x: 1 }, when_: 1_700_000_000_000 }))
      for (const [key, value] of Object.entries(plain)) assert.deepEqual(back[key], value, key)
      assert.deepEqual([Number(back.integer), Number(back.named.x), Number(back.when_)], [7, 1, 1_700_000_000_000])
      if (protocol === 'binary') assert.deepEqual(await client.flags([true, false, true]), [true, false, true])
      assert.equal(await client.nothing(), undefined)
      await assert.rejects(client.deposit('closed', 1), (error: any) => error instanceof types.AccountClosed && error.days === 3)
      await assert.rejects(client.deposit('secret', 1), (error: any) => error.type === 6 && !String(error.message).includes('secret'))
      assert.equal((await client.repeat('x'.repeat(1000), 1000)).length, 1_000_000)
      const before = notes.length
      client.note('from npm')
      // Answers come in the order of the calls.
      await client.nothing()
      assert.deepEqual(notes.slice(before), ['from npm'])
    } finally {
      connection.end()
    }
  })

  test(`thrift: we call a server of npm's thrift, ${protocol} and ${transport}`, async () => {
    let noted!: (text: string) => void
    const note = new Promise<string>((resolve) => (noted = resolve))
    const port = freshPort()
    const server: Server = apache.createServer(
      made,
      {
        async deposit(account: string, balance: number) {
          if (account === 'closed') throw new types.AccountClosed({ message: 'it is closed', since: 'Monday', days: 3 })
          return new types.DepositOutput({ account, balance })
        },
        echo: (entry: unknown) => entry,
        flags: (values: unknown) => values,
        nothing() {},
        note: (text: string) => noted(text),
        repeat: (text: string, times: number) => text.repeat(times),
      },
      { protocol: PROTOCOLS[protocol], transport: TRANSPORTS[transport] },
    )
    server.listen(port, ownHost)
    await once(server, 'listening')
    try {
      const client = await connect(bank, `thrift+tcp://${ownHost}:${port}?protocol=${protocol}&transport=${transport}`, {
        reconnect: false,
      })
      await checkCalled(client, protocol === 'binary')
      await client.note('from us')
      assert.equal(await soon(note, 'the note'), 'from us')
      await client.close()
    } finally {
      server.close()
    }
  })
}

// ── Apache's library for Python ──────────────────────────────────────────────────────────────────

const script = fileURLToPath(new URL('../../../test/protocols/fixtures/thrift_apache.py', import.meta.url))
/** Debian's own: PyPI's has to be compiled. */
const PYTHON = '/usr/bin/python3'
const args = (role: string, place: string, protocol: string, transport: string): string[] => [
  script,
  path.join(folder, 'gen-py'),
  role,
  place,
  protocol,
  transport,
]

for (const [protocol, transport, http] of [...STYLES.map((style) => [...style, false] as const), ['binary', 'buffered', true] as const]) {
  const way = http ? 'HTTP' : transport
  test(`thrift: Apache's library for Python calls us, ${protocol} and ${way}`, async () => {
    await using service = await serve(bank, handlers, {
      listen: `thrift+${http ? 'http' : 'tcp'}://${ownHost}:${freshPort()}`,
      onError() {},
    })
    const place = http ? `${service.addresses[0]!.slice('thrift+'.length)}/bank` : service.addresses[0]!.slice('thrift+tcp://'.length)
    const before = notes.length
    const env = { ...process.env, TOKEN: service.token ?? '' }
    const { stdout } = await promisify(execFile)(PYTHON, args('call', place, protocol, transport), { env })
    assert.deepEqual(stdout.trim().split('\n'), ['savings 5.5', 'True [True, False, True] None', 'it is closed Monday 3', '6', '1000000'])
    assert.deepEqual(notes.slice(before), ['from python'])
  })

  test(`thrift: we call a server of Apache's library for Python, ${protocol} and ${way}`, async () => {
    const place = `${http ? 'http://' : ''}${ownHost}:${freshPort()}`
    const running = run(PYTHON, args('serve', place, protocol, transport))
    try {
      await running.line('ready')
      const address = `thrift+${http ? place : `tcp://${place}`}?protocol=${protocol}&transport=${transport}`
      const client = await connect(bank, address, { reconnect: false })
      await checkCalled(client)
      await client.note('from us')
      await running.line('note from us')
      await client.close()
    } finally {
      await running.kill()
    }
  })
}

// ── a .thrift file of others ─────────────────────────────────────────────────────────────────────

const shopFolder = freshPath()
mkdirSync(shopFolder)
const shopFile = writeShop()
for (const language of ['js:node,es6', 'py'])
  execFileSync('thrift', ['-r', '--gen', language, '-o', shopFolder, shopFile], { stdio: 'pipe' })
symlinkSync(path.dirname(path.dirname(require.resolve('thrift/package.json'))), path.join(shopFolder, 'node_modules'))
const shopScript = fileURLToPath(new URL('../../../test/protocols/fixtures/thrift_shop.py', import.meta.url))

for (const [protocol, transport] of STYLES) {
  test(`thrift: by its .thrift file we call a server of Apache's library for Python, ${protocol} and ${transport}`, async () => {
    const place = `${ownHost}:${freshPort()}`
    const running = run(PYTHON, [shopScript, 'apache', path.join(shopFolder, 'gen-py'), place, protocol, transport])
    try {
      await running.line('ready')
      const address = `thrift+tcp://${place}?protocol=${protocol}&transport=${transport}`
      const client = await connect(await shopContract(), address, { reconnect: false })
      await checkShop(client)
      await running.line('note from us')
      await client.close()
    } finally {
      await running.kill()
    }
  })
}

const shopMade = require(path.join(shopFolder, 'gen-nodejs/Shop.js')) as any
const shopTypes = require(path.join(shopFolder, 'gen-nodejs/shop_types.js')) as any
const sharedTypes = require(path.join(shopFolder, 'gen-nodejs/shared_types.js')) as any
const Int64 = require('node-int64') as any
const colors: Readonly<Record<number, number>> = { 1: 5, 5: 6, 6: 1 }

for (const [protocol, transport] of STYLES) {
  test(`thrift: by its .thrift file we call a server of npm's thrift, ${protocol} and ${transport}`, async () => {
    let noted!: (text: string) => void
    const note = new Promise<string>((resolve) => (noted = resolve))
    const port = freshPort()
    const server: Server = apache.createServer(
      shopMade,
      {
        ping: () => 'pong',
        echo: (value: unknown) => value,
        defaults: () => new shopTypes.Defaults({ number: 1 }),
        total: (lines: any[], rate: number) => lines.reduce((sum, { price, count }) => sum + Number(price) * count, 0) * rate,
        async fail(how: string) {
          if (how === 'missing') throw new shopTypes.NotFound({ message: 'it is not here', id: new Int64('1000000000000000') })
          if (how === 'refused') throw new sharedTypes.Refused({ reason: 'no', days: 3 })
        },
        following: (color: number) => colors[color],
        choose: (number: number, text: string | null) => new shopTypes.Choice(text === null ? { number } : { text }),
        note: (text: string) => noted(text),
      },
      { protocol: PROTOCOLS[protocol], transport: TRANSPORTS[transport] },
    )
    server.listen(port, ownHost)
    await once(server, 'listening')
    try {
      const client = await connect(await shopContract(), `thrift+tcp://${ownHost}:${port}?protocol=${protocol}&transport=${transport}`, {
        reconnect: false,
      })
      await checkShop(client, false)
      assert.equal(await soon(note, 'the note'), 'from us')
      await client.close()
    } finally {
      server.close()
    }
  })
}

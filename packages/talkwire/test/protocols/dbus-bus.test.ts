import '../helpers/place.js'
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { closeSync, fstatSync, mkdirSync, openSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import type { NetConnectOpts } from 'node:net'
import { hostname } from 'node:os'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import * as z from 'zod'
import { testDialect } from '../../compliance/index.js'
import { connect, contract, Descriptor, discover, event, fd, rpc, serve, type RunningService } from '../../src/index.js'
import { targetsOf } from '../../src/protocols/dbus-address.js'
import { dbus, Variant } from '../../src/protocols/dbus.js'
import { fails } from '../helpers/expect.js'
import { freshPath } from '../helpers/place.js'
import { run } from '../session/processes.js'
import { startBus } from './dbus-daemon.js'

const bus = await startBus()
let names = 0
const address = (): string => `dbus:${bus}#org.example.Proof${++names}`

// As Node reads the socket, and as we read it, for descriptors.
testDialect({ test, dialect: dbus, address })
testDialect({ test, dialect: dbus, address, listenOptions: { descriptors: true }, connectOptions: { descriptors: true } })

// ── strangers call us ────────────────────────────────────────────────────────────────────────────

const NAME = 'org.example.Bank'
const PATH = '/org/example/Bank'
const bank = contract('org.example.Bank/1', {
  deposit: rpc({
    input: z.object({ account: z.string(), amount: z.number() }),
    output: z.object({ account: z.string(), balance: z.number() }),
    errors: { AccountClosed: z.object({ since: z.string(), days: z.int32() }) },
  }),
  balance: rpc({ output: z.number(), idempotent: true }),
  shape: rpc({
    input: z.object({
      inner: z.object({ text: z.string(), numbers: z.array(z.number()) }),
      rest: z.object({ maybe: z.string().optional(), count: z.uint32().optional() }),
    }),
    output: z.object({ text: z.string(), total: z.number(), maybe: z.string().optional() }),
  }),
  overdraw: rpc({ input: z.object({ account: z.string() }), oneway: true }),
  size: rpc({ input: fd, output: z.int() }),
  open: rpc({ input: z.string(), output: fd }),
  overdrawn: event(z.object({ account: z.string(), amount: z.number() })),
})

interface Bank extends RunningService {
  emit: any
}

async function serveBank(listen: string): Promise<Bank> {
  let service!: Bank
  service = (await serve(
    bank,
    {
      deposit({ account, amount }, ctx) {
        if (account === 'closed') throw ctx.error('AccountClosed', { since: 'Monday', days: 3 }, 'it is closed')
        if (account === 'secret') throw new Error('secret')
        return { account, balance: amount }
      },
      balance: () => 7.5,
      shape: ({ inner, rest }) => ({
        text: inner.text,
        total: inner.numbers.reduce((a, b) => a + b, 0),
        ...(rest.maybe !== undefined && { maybe: rest.maybe }),
      }),
      overdraw({ account }) {
        service.emit('overdrawn', { account, amount: -1 })
      },
      size: (descriptor) => fstatSync(descriptor.fd).size,
      open: (path) => Descriptor.give(openSync(path, 'r')),
    },
    { listen, descriptors: true, onError() {} },
  )) as Bank
  return service
}

const program = promisify(execFile)
const busctl = async (...args: string[]): Promise<any> =>
  (await program('busctl', [`--address=${bus}`, '--json=short', ...args])).stdout.trim()
const gdbus = async (...args: string[]): Promise<string> =>
  (await program('gdbus', [args[0]!, `--address=${bus}`, `--dest=${NAME}`, `--object-path=${PATH}`, ...args.slice(1)])).stdout.trim()

test('dbus: busctl introspects, calls, and reads properties', async () => {
  await using _service = await serveBank(`dbus:${bus}`)
  const introspected = await busctl('introspect', NAME, PATH, NAME)
  for (const row of [
    /^\.deposit +method +sd +sd /m,
    /^\.balance +property +d +7\.5 /m,
    /^\.shape +method +\(sad\)a\{sv\} +sda\{sv\} /m,
    /^\.size +method +h +x /m,
    /^\.open +method +s +h /m,
    /^\.overdraw +method +s +- +no-reply/m,
    /^\.overdrawn +signal +sd /m,
  ])
    assert.match(introspected, row)
  assert.deepEqual(JSON.parse(await busctl('call', NAME, PATH, NAME, 'deposit', 'sd', 'savings', '5.5')), {
    type: 'sd',
    data: ['savings', 5.5],
  })
  assert.deepEqual(JSON.parse(await busctl('get-property', NAME, PATH, NAME, 'balance')), { type: 'd', data: 7.5 })
  await assert.rejects(busctl('call', NAME, PATH, NAME, 'deposit', 'sd', 'closed', '1'), /it is closed/)
  await assert.rejects(
    busctl('call', NAME, PATH, NAME, 'deposit', 'sd', 'secret', '1'),
    (error: any) => !error.message.includes('secret\n'),
  )
  await assert.rejects(busctl('call', NAME, PATH, NAME, 'deposit', 'si', 'a', '1'), /takes "sd", not "si"/)
  await assert.rejects(busctl('call', NAME, PATH, NAME, 'depositt'), /depositt is not at \S+; did you mean "deposit"\?/)
  await assert.rejects(busctl('call', NAME, PATH, 'org.example.Bnk', 'deposit'), /did you mean "org\.example\.Bank"\?/)
  await assert.rejects(busctl('call', NAME, '/org/example/Bnk', NAME, 'deposit'), /org\.example\.Bank is at \/org\/example\/Bank/)
  await assert.rejects(busctl('set-property', NAME, PATH, NAME, 'balance', 'd', '5'), /Access denied/)
  assert.match(await busctl('tree', NAME), /org.example.Bank|\/org\/example\/Bank/)
})

test('dbus: gdbus introspects, calls, and hears signals', async () => {
  await using service = await serveBank(`dbus:${bus}`)
  assert.match(await gdbus('introspect', '--xml'), /<method name="deposit">/)
  assert.equal(await gdbus('call', '--method', `${NAME}.deposit`, 'savings', '5.5'), "('savings', 5.5)")
  assert.equal(await gdbus('call', '--method', `${NAME}.shape`, "('a', [1.0, 2.0])", "{'count': <uint32 3>}"), "('a', 3.0, @a{sv} {})")
  await assert.rejects(gdbus('call', '--method', `${NAME}.deposit`, 'closed', '1'), /org\.example\.Bank\.Error\.AccountClosed/)
  assert.match(await gdbus('call', '--method', 'org.freedesktop.DBus.Peer.GetMachineId'), /^\('[0-9a-f]{32}',\)$/)
  const monitor = run('gdbus', ['monitor', `--address=${bus}`, `--dest=${NAME}`, `--object-path=${PATH}`])
  await monitor.line('Monitoring')
  // Nothing says when it has begun to listen, so it is told until it says what it has heard.
  const telling = setInterval(() => service.emit('overdrawn', { account: 'savings', amount: -2 }), 20)
  try {
    const heard = await monitor.line(PATH)
    assert.match(heard, /org\.example\.Bank\.overdrawn \('savings', -2\.0\)/)
  } finally {
    clearInterval(telling)
    await monitor.kill()
  }
})

const script = fileURLToPath(new URL('../../../test/protocols/fixtures/dbus_peer.py', import.meta.url))
/** Debian's own: python3-dbus is not on PyPI in a form that needs no compiler. */
const PYTHON = '/usr/bin/python3'

async function told(...args: string[]): Promise<Record<string, any>> {
  const { stdout } = await program(PYTHON, [script, ...args])
  return Object.assign(
    {},
    ...stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as object),
  ) as Record<string, any>
}

function checkTold(said: Record<string, any>): void {
  assert.deepEqual(said['deposit'], ['savings', 5.5])
  assert.equal(said['balance'], 7.5)
  assert.deepEqual(said['error'], ['org.example.Bank.Error.AccountClosed', 'it is closed'])
  assert.deepEqual(said['internal'][0], 'org.freedesktop.DBus.Error.Failed')
  assert.ok(!JSON.stringify(said).includes('secret"'))
  assert.equal(said['unknown'][0], 'org.freedesktop.DBus.Error.UnknownMethod')
  assert.deepEqual(said['shape'], ['a', 3, { maybe: 'x' }])
  assert.deepEqual([said['read'], said['open']], [true, true])
}

test('dbus: python3-dbus calls, passes descriptors, reads properties, and hears signals', async () => {
  await using _service = await serveBank(`dbus:${bus}`)
  const said = await told('call', bus, NAME, PATH, NAME)
  checkTold(said)
  assert.deepEqual(said['property'], [7.5, { balance: 7.5 }])
  assert.equal(said['read-only'][0], 'org.freedesktop.DBus.Error.AccessDenied')
  assert.deepEqual(said['objects'], { [PATH]: { [NAME]: { balance: 7.5 } } })
  assert.deepEqual(said['heard'], [['savings', -1]])
})

test('dbus: without a bus, python3-dbus calls us at a socket', async () => {
  const path = freshPath('.sock')
  await using _service = await serveBank(`dbus+unix:${path}`)
  checkTold(await told('peer', `unix:path=${path}`, PATH, NAME))
})

const LAMP = 'org.example.Lamp'
const lamp = contract(`${LAMP}/1`, {
  level: rpc({ output: z.number(), idempotent: true }),
  setLevel: rpc({ input: z.object({ value: z.number() }), errors: { TooBright: z.object({ most: z.number() }) } }),
  levelChanged: event(z.number()),
  levelReached: event(z.number()),
  name: rpc({ output: z.string(), idempotent: true }),
  nameChanged: event(z.number()),
})

async function serveLamp(): Promise<RunningService> {
  let level = 1
  const service = await serve(
    lamp,
    {
      level: () => level,
      setLevel({ value }, ctx) {
        if (value > 100) throw ctx.error('TooBright', { most: 100 })
        level = value
        service.emit('levelReached', -1)
        service.emit('levelChanged', level)
      },
      name: () => 'lamp',
    },
    { listen: `dbus:${bus}` },
  )
  return service
}

test('dbus: a property is set by busctl, and its change is told as PropertiesChanged, other events are not', async () => {
  await using _service = await serveLamp()
  const at = [LAMP, '/org/example/Lamp', LAMP] as const
  const introspected = await busctl('introspect', ...at)
  assert.match(introspected, /^\.level +property +d +1 +emits-change writable/m)
  assert.match(introspected, /^\.name +property +s +"lamp" +-/m)
  const watch = run(PYTHON, ['-u', '-c', WATCH, bus, ...at])
  try {
    await watch.line('ready')
    await busctl('set-property', ...at, 'level', 'd', '7.5')
    assert.equal(await watch.line('1 '), `1 changed ${LAMP} {'level': 7.5} []`)
    assert.equal(await watch.line('set'), 'set 9.0')
    assert.equal(await watch.line('2 '), `2 changed ${LAMP} {'level': 9.0} []`)
  } finally {
    await watch.kill()
  }
  assert.deepEqual(JSON.parse(await busctl('get-property', ...at, 'level')), { type: 'd', data: 9 })
  await assert.rejects(busctl('set-property', ...at, 'level', 'd', '101'), /TooBright/)
  await assert.rejects(busctl('set-property', ...at, 'level', 's', 'x'), /is \\?"d\\?", not/)
  await assert.rejects(busctl('set-property', ...at, 'name', 's', 'x'), /Access denied|read only/)
  // A client without a contract sets it as any other.
  await using client: any = await connect(`dbus:${bus}#${LAMP}/org/example/Lamp`)
  await client.setLevel(3)
  assert.equal(await client.level(), 3)
})

const WATCH = `
import sys, ctypes, dbus
from dbus.mainloop.glib import DBusGMainLoop
address, name, path, of = sys.argv[1:]
bus = dbus.bus.BusConnection(address, mainloop=DBusGMainLoop())
lamp = bus.get_object(name, path)
glib = ctypes.CDLL('libglib-2.0.so.0')
plain = lambda values: {str(key): float(value) for key, value in values.items()}
seen = []
def changed(of, values, gone):
    seen.append(values)
    print(len(seen), 'changed', of, plain(values), list(map(str, gone)))
    if len(seen) == 1:
        lamp.Set(of, 'level', 9.0, dbus_interface='org.freedesktop.DBus.Properties', reply_handler=lambda: print('set', 9.0), error_handler=print)
lamp.connect_to_signal('PropertiesChanged', changed, dbus_interface='org.freedesktop.DBus.Properties')
print('ready')
while True: glib.g_main_context_iteration(None, True)
`

const BESIDE = `
import sys, socket, json, dbus.connection
connection = dbus.connection.Connection('unix:path=' + sys.argv[1])
calc = connection.get_object(object_path='/org/example/Calc', introspect=True)
with socket.socket(socket.AF_UNIX) as line:
    line.connect(sys.argv[1])
    line.sendall(b'{"jsonrpc": "2.0", "id": 1, "method": "add", "params": {"a": 1, "b": 2}}\\n')
    told = json.loads(line.makefile().readline())
print(float(calc.add(2.0, 5.0, dbus_interface='org.example.Calc')), told['result'])
`

test('dbus: beside other protocols on one socket, python3-dbus is known by its first bytes', async () => {
  const path = freshPath('.sock')
  const calc = contract('org.example.Calc/1', { add: rpc({ input: z.object({ a: z.number(), b: z.number() }), output: z.number() }) })
  await using _service = await serve(calc, { add: ({ a, b }) => a + b }, { listen: `unix:${path}`, protocols: 'all' })
  for (const { stdout } of await Promise.all([1, 2, 3].map(() => program(PYTHON, ['-c', BESIDE, path])))) assert.equal(stdout, '7.0 3\n')
})

// ── we call strangers ────────────────────────────────────────────────────────────────────────────

const FOREIGN = 'org.example.Foreign'

async function withForeign(body: (at: string) => Promise<void>): Promise<void> {
  const name = `${FOREIGN}.N${++names}`
  const running = run(PYTHON, [script, 'serve', bus, name])
  try {
    await running.line('ready')
    await body(`dbus:${bus}#${name}/org/example/Foreign`)
  } finally {
    await running.kill()
  }
}

test('dbus: we call an object of python3-dbus without a contract: all types, errors, properties, signals, descriptors', () =>
  withForeign(async (at) => {
    const client: any = await connect(at, { reconnect: false, descriptors: true })
    const basics = [255, -32_768 + 32_768, -2_147_483_648, 4_294_967_295, -(2n ** 63n), 2n ** 64n - 1n, -0.1, true, 'ä€😀', '/a/b']
    assert.deepEqual(await client.Basics(...basics), basics)
    const containers = [
      [
        ['a', 1],
        ['b', -1],
      ],
      { text: 'x', inner: ['y', 5] },
      Buffer.from([0, 255]),
      'free',
    ]
    assert.deepEqual(await client.Containers(...containers), containers)
    const typed = await client.Containers(
      [],
      { byte: new Variant('y', 5), nested: new Variant('a{sv}', { a: new Variant('t', 5) }) },
      Buffer.alloc(0),
      new Variant('(ib)', [1, true]),
    )
    assert.deepEqual(typed, [[], { byte: 5, nested: { a: 5 } }, Buffer.alloc(0), [1, true]])
    assert.deepEqual(
      await client.Numbers(
        new Map([
          [1, -1],
          [2, -2],
        ]),
      ),
      new Map([
        [1, -1],
        [2, -2],
      ]),
    )
    assert.equal(await client.Nothing(), undefined)
    await assert.rejects(
      client.Fail('why'),
      (error: any) =>
        error.code === 'UNKNOWN' &&
        error.outcome === 'ran' &&
        error.details.name === 'org.example.Foreign.Error.Broke' &&
        error.message.includes('why'),
    )
    await assert.rejects(client.Missing(), fails('METHOD_NOT_FOUND'))
    for (const wrong of [
      [1],
      ['a', 2],
      [256, ...basics.slice(1)],
      [...basics.slice(0, 9), 'no path'],
      [...basics.slice(0, 8), 'a\0b', '/'],
      [...basics.slice(0, 8), '\ud800', '/'],
    ])
      await assert.rejects(client.Basics(...wrong), TypeError)
    assert.equal(await client.Level(), 3)
    await client.SetLevel(9)
    assert.equal(await client.Level(), 9)
    assert.match(await client['org.freedesktop.DBus.Introspectable.Introspect'](), /<node/)
    const file = freshPath('.txt')
    writeFileSync(file, 'hello')
    const number = openSync(file, 'r')
    assert.equal(await client.ReadAll(Descriptor.lend(number)), 'hello')
    closeSync(number)
    const arrived: Descriptor = await client.OpenFile(file)
    assert.equal(readFileSync(arrived.fd, 'utf8'), 'hello')
    arrived.close()
    const heard: unknown[] = []
    await new Promise<void>((resolve, reject) => {
      client
        .on('Told', (value: unknown) => {
          if (heard.push(value) === 20) resolve()
        })
        .then(() => client.Tell(20))
        .catch(reject)
    })
    assert.deepEqual(heard[19], [19, 'number 19'])
    await client.close()
  }))

test('dbus: we call an object of python3-dbus by a contract of ours, with its types', () =>
  withForeign(async (at) => {
    const foreign = contract('foreign/1', {
      Fail: rpc({ input: z.object({ text: z.string() }), output: z.string(), errors: { Broke: z.object({}) } }),
      Numbers: rpc({ input: z.map(z.number(), z.number()), output: z.map(z.number(), z.number()) }),
      Level: rpc({ output: z.number(), idempotent: true }),
      Told: event(z.object({ number: z.number(), text: z.string() })),
    })
    const client = await connect(foreign, at, { reconnect: false })
    await assert.rejects(client.Fail({ text: 'why' }), (error: any) => error.code === 'Broke' && error.declared && error.outcome === 'ran')
    assert.deepEqual(await client.Numbers(new Map([[1, 2]])), new Map([[1, 2]]))
    assert.equal(await client.Level(), 3)
    await client.close()
    await assert.rejects(connect(contract('foreign/1', { Other: rpc() }), at, { reconnect: false }), fails('CONTRACT_MISMATCH'))
    await assert.rejects(
      connect(contract('foreign/1', { Fail: rpc({ input: z.object({ a: z.string(), b: z.string() }) }) }), at, { reconnect: false }),
      fails('CONTRACT_MISMATCH'),
    )
  }))

test('dbus: changes of properties of python3-dbus are events: told with their value, and where only the name is told', () =>
  withForeign(async (at) => {
    const typed = contract('foreign/1', {
      Level: rpc({ output: z.number(), idempotent: true }),
      SetLevel: rpc({ input: z.object({ value: z.number() }) }),
      LevelChanged: event(z.object({ now: z.number() })),
    })
    const found = await discover(at)
    assert.deepEqual(
      ['LevelChanged', 'MadeChanged'].map((each) => found.members[each]?.kind),
      ['event', undefined],
    )
    const plain: any = await connect(at, { reconnect: false })
    const ours: any = await connect(typed, at, { reconnect: false })
    const theirs: any = await connect(found, at, { reconnect: false })
    for (const [client, shown] of [
      [plain, (level: number) => level],
      [ours, (now: number) => ({ now })],
      [theirs, (level: number) => level],
    ] as [client: any, shown: (level: number) => unknown][]) {
      const heard: unknown[] = []
      let look = (): void => {}
      const off = await client.on('LevelChanged', (value: unknown) => (heard.push(value), look()))
      const until = (count: number): Promise<void> =>
        new Promise((resolve) => {
          look = () => heard.length >= count && resolve()
          look()
        })
      await plain.SetLevel(8)
      await until(1)
      await plain.SetLevel(9)
      await until(2)
      assert.deepEqual(
        heard,
        [8, 9].map((level) => shown(level)),
      )
      await off()
    }
    await assert.rejects(
      plain.on('NothingChanged', () => {}),
      fails('METHOD_NOT_FOUND'),
    )
    for (const each of [plain, ours, theirs]) await each.close()
  }))

test('dbus: what an object offers is a contract: of a stranger by its introspection, of ours whole', async () => {
  await withForeign(async (at) => {
    const found = await discover(at)
    assert.equal(found.id, `${FOREIGN}/0`)
    const client: any = await connect(found, at, { reconnect: false })
    assert.deepEqual(await client.Containers({ rows: [['a', 1]], named: { n: 5 }, data: Buffer.from('b'), free: 'v' }), {
      arg1: [['a', 1]],
      arg2: { n: 5 },
      arg3: Buffer.from('b'),
      arg4: 'v',
    })
    assert.equal(await client.Level(), 3)
    await client.SetLevel({ value: 4 })
    assert.equal(await client.Level(), 4)
    await client.close()
  })
  await using service = await serveBank(`dbus:${bus}`)
  const own = await discover(service.addresses[0]!)
  assert.equal(own.id, 'org.example.Bank/1')
  const client: any = await connect(own, service.addresses[0]!, { reconnect: false })
  await assert.rejects(
    client.deposit({ account: 'closed', amount: 1 }),
    (error: any) => error.code === 'AccountClosed' && error.details.days === 3,
  )
  await client.close()
})

test('dbus: the bus itself is an object like another', async () => {
  const client: any = await connect(`dbus:${bus}#org.freedesktop.DBus`, { reconnect: false })
  await using _service = await serveBank(`dbus:${bus}`)
  assert.ok((await client.ListNames()).includes(NAME))
  assert.equal(await client.NameHasOwner('org.example.Nobody'), false)
  assert.match(await client.GetId(), /^[0-9a-f]{32}$/)
  await client.close()
})

// ── where the buses are, and what is there ───────────────────────────────────────────────────────

const VARIABLES = ['DBUS_SESSION_BUS_ADDRESS', 'DBUS_SYSTEM_BUS_ADDRESS', 'XDG_RUNTIME_DIR']

/** With these variables, and none of the others. */
async function withVariables(variables: Record<string, string>, body: () => Promise<void>): Promise<void> {
  const before = VARIABLES.map((name) => [name, process.env[name]] as const)
  for (const name of VARIABLES) delete process.env[name]
  Object.assign(process.env, variables)
  try {
    await body()
  } finally {
    for (const [name, value] of before) {
      delete process.env[name]
      if (value !== undefined) process.env[name] = value
    }
  }
}

/** A runtime directory with the bus in it, whose name an address has to escape. */
function runtimeDirectory(): string {
  const directory = freshPath('a,b;c=%41')
  mkdirSync(directory)
  symlinkSync(bus.slice('unix:path='.length), `${directory}/bus`)
  return directory
}

const deposit = ['--dest', NAME, '--object-path', PATH, '--method', `${NAME}.deposit`, 'savings', '5.5']
const placesOfSession = (): Record<string, string>[] => [
  { DBUS_SESSION_BUS_ADDRESS: bus, XDG_RUNTIME_DIR: '/nowhere' },
  { XDG_RUNTIME_DIR: runtimeDirectory() },
]

test('dbus: the session bus is where gdbus looks for it', async () => {
  for (const variables of placesOfSession())
    await withVariables(variables, async () => {
      await using _service = await serveBank('dbus:session')
      assert.equal((await program('gdbus', ['call', '--session', ...deposit])).stdout, "('savings', 5.5)\n")
      await using client = await connect(bank, 'dbus:session', { reconnect: false })
      assert.equal(await client.balance(), 7.5)
    })
  await withVariables({ DBUS_SESSION_BUS_ADDRESS: '', XDG_RUNTIME_DIR: runtimeDirectory() }, async () => {
    await using client: any = await connect('dbus:session#org.freedesktop.DBus', { reconnect: false })
    assert.match(await client.GetId(), /^[0-9a-f]{32}$/)
  })
})

test('dbus: on the system bus, where busctl looks for it, a service of systemd is called, and ours by busctl', () =>
  withVariables({ DBUS_SYSTEM_BUS_ADDRESS: bus }, async () => {
    const hostnamed = run('/lib/systemd/systemd-hostnamed', [])
    try {
      await using client: any = await connect('dbus:system#org.freedesktop.hostname1', { reconnect: false, wait: 60_000 })
      assert.equal(await client.Hostname(), hostname())
      await assert.rejects(client.SetHostname(5, false), TypeError)
      await assert.rejects(client.Hostnames(), fails('METHOD_NOT_FOUND'))
    } finally {
      await hostnamed.kill()
    }
    await using _service = await serveBank('dbus:system')
    const { stdout } = await program('busctl', ['--system', 'call', NAME, PATH, NAME, 'deposit', 'sd', 'savings', '5.5'])
    assert.equal(stdout, 'sd "savings" 5.5\n')
  }))

test('dbus: where there is no bus the error says which variable tells where it is', async () => {
  const directory = freshPath()
  const missing = (path: string, variable: string): RegExp => new RegExp(`ENOENT ${path};.*${variable}=unix:path=`)
  for (const [variables, of, code, text] of [
    [{}, 'session', 'PEER_NOT_FOUND', /neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR/],
    [{ XDG_RUNTIME_DIR: directory }, 'session', 'PEER_NOT_FOUND', missing(`${directory}/bus`, 'DBUS_SESSION_BUS_ADDRESS')],
    [{ DBUS_SESSION_BUS_ADDRESS: 'unix:path=/nowhere' }, 'session', 'PEER_NOT_FOUND', missing('/nowhere', 'DBUS_SESSION_BUS_ADDRESS')],
    [{ DBUS_SESSION_BUS_ADDRESS: 'autolaunch:' }, 'session', 'UNSUPPORTED', /"autolaunch:"/],
    [{ DBUS_SYSTEM_BUS_ADDRESS: 'unix:path=/nowhere' }, 'system', 'PEER_NOT_FOUND', missing('/nowhere', 'DBUS_SYSTEM_BUS_ADDRESS')],
  ] as const)
    await withVariables(variables, () =>
      assert.rejects(
        connect(`dbus:${of}#org.example.Nobody`, { reconnect: false }),
        (error: any) => error.code === code && error.outcome === 'not-sent' && text.test(error.message),
      ),
    )
  await withVariables({}, async () => {
    const at = (each: NetConnectOpts): unknown => (each as { path: string }).path
    assert.deepEqual(targetsOf('dbus:system').map(at), ['/var/run/dbus/system_bus_socket', '/run/dbus/system_bus_socket'])
  })
})

test('dbus: notifications and systemd are called by their names, and tell what they have done', async () => {
  const desktop = run(PYTHON, [fileURLToPath(new URL('../../../test/protocols/fixtures/dbus_desktop.py', import.meta.url)), bus])
  try {
    await desktop.line('ready')
    await withVariables({ DBUS_SESSION_BUS_ADDRESS: bus }, async () => {
      await using notifications: any = await connect('dbus:session#org.freedesktop.Notifications', { reconnect: false })
      assert.deepEqual(await notifications.GetCapabilities(), ['actions', 'body'])
      const told: unknown[] = []
      const closed = new Promise<unknown>((resolve) => void notifications.on('NotificationClosed', resolve))
      await notifications.on('ActionInvoked', (value: unknown) => void told.push(value))
      const show = (actions: string[], id = 0): Promise<number> =>
        notifications.Notify('app', id, '', 'Title', 'Text', actions, { urgency: new Variant('y', 1) }, -1)
      assert.deepEqual([await show([]), await show(['open', 'Open'])], [1, 2])
      assert.equal(await show([], 1), 1)
      await notifications.CloseNotification(1)
      assert.deepEqual([await closed, told], [[1, 3], [[1, 'Title: 1']]])

      await using systemd: any = await connect('dbus:session#org.freedesktop.systemd1', { reconnect: false })
      const [[name, , , active, , , path]] = await systemd.ListUnits()
      assert.deepEqual([name, active], ['ssh.service', 'active'])
      assert.equal(await systemd.GetUnit('ssh.service'), path)
      await assert.rejects(
        systemd.GetUnit('shh.service'),
        (error: any) => error.code === 'UNKNOWN' && error.details.name === 'org.freedesktop.systemd1.NoSuchUnit',
      )
      const removed = new Promise<unknown>((resolve, reject) => void systemd.on('JobRemoved', resolve).catch(reject))
      const job = await systemd.StartUnit('ssh.service', 'replace')
      assert.deepEqual(await removed, [1, job, 'ssh.service', 'done'])
    })
  } finally {
    await desktop.kill()
  }
})

// ── names ────────────────────────────────────────────────────────────────────────────────────────

test("dbus: a name is nobody else's: a second service is refused, the first goes on", async () => {
  await using first = await serveBank(`dbus:${bus}`)
  await assert.rejects(serveBank(`dbus:${bus}`), fails('ADDRESS_IN_USE'))
  const client = await connect(bank, first.addresses[0]!, { reconnect: false })
  assert.equal(await client.balance(), 7.5)
  await client.close()
  await assert.rejects(connect(bank, `dbus:${bus}#org.example.Nobody`), fails('PEER_NOT_FOUND'))
  await assert.rejects(connect(bank, 'dbus:unix:path=/nowhere/at/all'), fails('PEER_NOT_FOUND'))
  await assert.rejects(connect(bank, 'dbus:tcp:host=127.0.0.1,port=1'), fails('UNSUPPORTED'))
  await assert.rejects(connect(bank, 'dbus:what'), fails('INVALID_ADDRESS'))
  await assert.rejects(connect(bank, `dbus:${bus}#no`), fails('INVALID_ADDRESS'))
})

test('dbus: the service is told who calls, as the kernel told the bus', async () => {
  const who = contract('who/1', { me: rpc({ output: z.object({ uid: z.int(), pid: z.int() }) }) })
  await using service = await serve(who, { me: (_, { peer }) => ({ uid: peer.uid!, pid: peer.pid! }) }, { listen: `dbus:${bus}` })
  const client = await connect(who, service.addresses[0]!, { reconnect: false })
  assert.deepEqual(await client.me(), { uid: process.getuid!(), pid: process.pid })
  await client.close()
  const strict = { listen: `dbus:${bus}#org.example.Strict`, allow: () => false }
  await using closed = await serve(who, { me: () => ({ uid: 0, pid: 0 }) }, strict)
  const refused = await connect(who, closed.addresses[0]!, { reconnect: false })
    .then(
      (other) => other.me().finally(() => other.close()),
      (reason: unknown) => Promise.reject(reason as Error),
    )
    .then(
      () => assert.fail('let in'),
      (reason: unknown) => reason as any,
    )
  assert.equal(refused.code, 'PERMISSION_DENIED')
})

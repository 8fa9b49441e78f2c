/** `.thrift` files of others: as contracts, called at thriftpy2's servers, which load the same file; and what is no such file. */
import '../helpers/place.js'
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { connect, jsonSchema, serve } from '../../src/index.js'
import { thriftContract, thriftIdl } from '../../src/protocols/thrift.js'
import { operationsOf } from '../../src/protocols/thrift-schema.js'
import { writeCall } from '../../src/protocols/thrift-calls.js'
import { fails } from '../helpers/expect.js'
import { freshPort, ownHost } from '../helpers/loopback.js'
import { freshPath } from '../helpers/place.js'
import { python, run } from '../session/processes.js'
import { checkShop, DEFAULTS, everything, SHARED, SHOP, shopContract, writeShop } from './fixtures/thrift-shop.js'

const script = fileURLToPath(new URL('../../../test/protocols/fixtures/thrift_shop.py', import.meta.url))

for (const [protocol, transport] of [
  ['binary', 'buffered'],
  ['compact', 'framed'],
] as const)
  test(`thrift: by its .thrift file we call thriftpy2, which has loaded the same, ${protocol} and ${transport}`, async () => {
    const place = `${ownHost}:${freshPort()}`
    const running = run(python, [script, 'thriftpy2', writeShop(), place, protocol, transport])
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

test('thrift: the same file is served, and what we print of it says the same', async () => {
  const shop = await shopContract()
  assert.deepEqual(
    Object.keys(shop.members),
    'ping echo seen seenDefaults defaults total fail following choose note'.split(' '),
    'what it extends comes first',
  )
  const asked: unknown[] = []
  const handlers = {
    ping: () => 'pong',
    echo: ({ value }: any) => value,
    seen: () => '',
    seenDefaults: ({ value }: any) => String(asked.push(value)),
    defaults: () => ({ number: 2 }),
    total: ({ rate }: any) => BigInt(rate * 2),
    fail({ how }: any, ctx: any) {
      throw how === 'missing' ? ctx.error('NotFound', { id: 5n, message: 'gone' }) : ctx.error('Refused', { reason: 'no' }, 'we refuse')
    },
    following: () => 99,
    choose: () => ({ number: 1, text: 'both' }),
    note() {},
  }
  await using service = await serve(shop, handlers as never, { listen: `thrift+unix:${freshPath('.sock')}`, onError() {} })
  for (const contract of [shop, await thriftContract(await thriftIdl(shop))]) {
    const client: any = await connect(contract, service.addresses[0]!, { reconnect: false })
    assert.deepEqual(await client.echo({ value: everything }), everything)
    await client.seenDefaults({ value: { text: 'other' } })
    assert.deepEqual(asked.pop(), { ...DEFAULTS, text: 'other' })
    assert.deepEqual(await client.defaults(), { ...DEFAULTS, number: 2 })
    assert.equal(await client.total({ lines: [] }), 3n)
    await assert.rejects(client.fail({ how: 'missing' }), (error: any) => error.message.includes('gone') && error.details.id === 5n)
    await assert.rejects(client.fail({ how: '' }), (error: any) => error.code === 'Refused' && error.details.reason === 'no')
    // A number that has no name in this file.
    assert.equal(await client.following({ color: 'GREEN' }), 99)
    await assert.rejects(client.choose({ number: 1 }), fails('INVALID_OUTPUT'))
    await client.close()
  }
})

test('thrift: what does not fit the file is not sent', async () => {
  const shop = await shopContract()
  const nothing = Object.fromEntries(Object.keys(shop.members).map((name) => [name, () => assert.fail('it was called')]))
  await using service = await serve(shop, nothing as never, { listen: `thrift+unix:${freshPath('.sock')}`, onError() {} })
  const client: any = await connect(shop, service.addresses[0]!, { reconnect: false })
  for (const value of [
    { tiny: 128 },
    { small: -32769 },
    { normal: 2 ** 31 },
    { large: 2n ** 63n },
    { large: 5 },
    { color: 'PINK' },
    { choice: {} },
    { choice: { number: 1, text: 'a' } },
    { lines: [{ price: 1n }] },
    { numbers: [1] },
    { other: 1 },
  ])
    await assert.rejects(
      client.echo({ value }),
      (error: any) => error instanceof TypeError || error.outcome === 'not-sent',
      JSON.stringify(value, String),
    )
  await assert.rejects(client.echo({}), (error: any) => error instanceof TypeError || error.outcome === 'not-sent')
  await client.close()
})

test('thrift: numbers, types and defaults on the wire are those of the file', async () => {
  const contract =
    await thriftContract(`service S { void m(3: i8 a, 4: Kind b, 5: uuid c, bool d, 7: i16 e = 0x10, 8: optional i16 f = 3, 9: U u) }
    enum Kind { A = 2, B } union U { 5: binary x }`)
  const { methods } = await operationsOf(contract)
  const input = { a: -1, b: 'B', c: '00112233-4455-6677-8899-aabbccddeeff', d: true, u: { x: Uint8Array.of(7) } }
  const bytes = writeCall({ format: 'binary', framed: false }, {}, methods.get('m')!, 'm', 1, input)
  const fields = [
    '03 0003 ff',
    '08 0004 00000003',
    '10 0005 00112233445566778899aabbccddeeff',
    // Without a number it has one below 0.
    '02 ffff 01',
    '06 0007 0010',
    // f is not sent: it is optional.
    '0c 0009 0b 0005 00000001 07 00',
    '00',
  ]
  assert.equal(bytes.toString('hex'), `80010001 00000001 6d 00000001 ${fields.join('')}`.replaceAll(' ', ''))
  for (const format of ['binary', 'compact'] as const) {
    await using service = await serve(contract, { m: (given: unknown) => void seen.push(given) } as never, {
      listen: `thrift+unix:${freshPath('.sock')}`,
    })
    const seen: unknown[] = []
    const client: any = await connect(contract, `${service.addresses[0]!}?protocol=${format}`, { reconnect: false })
    await client.m(input)
    assert.deepEqual(seen, [{ ...input, u: { x: Buffer.from([7]) }, e: 16, f: 3 }])
    await client.close()
  }
})

test('thrift: a struct that holds itself, two of one name, and what is declared later', async () => {
  const contract = await thriftContract(
    `include "a/one.thrift"
     service S extends one.Parent { Tree grow(1: Tree tree, 2: one.Tree other) throws (1: Broke e) }
     struct Tree { 1: required string name, 2: list<Tree> more = [], 3: Later later = {"kind": one.KIND, "depth": {1: [one.deep.MOST]}} }
     struct Later { 1: one.deep.Kind kind, 2: map<i32, list<i32>> depth } exception Broke {}`
      .replace('one.deep.Kind', 'i32')
      .replace('one.deep.MOST', 'one.MOST'),
    {
      imports: {
        'a/one.thrift':
          'include "b/two.thrift" include "../three.thrift" struct Tree { 1: two.Kind kind = two.Kind.B } service Parent extends three.Eldest {} const i32 KIND = two.Kind.B const i32 MOST = 3',
        'a/b/two.thrift': 'enum Kind { A, B }',
        'three.thrift': 'include "a/one.thrift" service Eldest { bool first(1: one.Tree tree) }',
      },
    },
  )
  assert.deepEqual(Object.keys(contract.members), ['first', 'grow'])
  const { methods } = await jsonSchema(contract)
  const { $defs } = methods['grow']!.input!.schema as any
  assert.deepEqual(Object.keys($defs), ['Tree', 'Later', 'Tree2'])
  assert.deepEqual($defs.Tree.required, ['name'])
  assert.match(await thriftIdl(contract), /3: Later later = \{"kind": 1, "depth": \{1: \[3\]\}\}/)
  assert.match(await thriftIdl(contract), /1: Kind kind = Kind\.B/)
})

test('thrift: constants as the compiler takes them: of the enum that the type is, a uuid in braces, numbers of any spelling', async () => {
  const contract = await thriftContract(
    `include "a.b.thrift" include "a.thrift"
     service S { void m(1: a.b.Kind kind = Kind.B, 2: uuid id = "{00112233-4455-6677-8899-AABBCCDDEEFF}", 3: i64 far = -0x10, 4: double d = 1e2,
       5: binary raw = 'a"b', 6: set<string> none = {}, 7: i32 as = a.b.Kind.B, 8: bool yes = true, 9: a.Old old = "x", 10: map<string, i8> m = []) }`,
    { imports: { 'a.b.thrift': 'enum Kind { A, B = 7 }', 'a.thrift': 'senum Old { "x" "y" }' } },
  )
  const { fields } = (await operationsOf(contract)).methods.get('m')!.input
  assert.deepEqual(
    fields.map(({ initial }) => initial!.make()),
    ['B', '00112233-4455-6677-8899-aabbccddeeff', -16n, 100, Uint8Array.from(Buffer.from('a"b')), new Set(), 7, true, 'x', {}],
  )
})

test('thrift: what is no such file is told with line and column', async () => {
  const one = (text: string): string => `service S { void m(${text}) }`
  for (const [text, told] of [
    ['service S {\n  void m(1: i32 a\n  void n()\n}', /^line 3, column 3: expected a type, found "void"|line 3, column 3/],
    ['struct A { 1: i32 }', /^line 1, column 19: expected the name of a field, found "}"/],
    ['service S {\n\t$ }', /^line 2, column 2: "\$" has no meaning here/],
    ['service S { /* }', /^line 1, column 13: a comment without its end/],
    ['const string A = "b', /^line 1, column 18: a text without its end/],
    ['service S {', /^line 1, column 12: expected .*, found the end/],
    ['klass S {}', /^line 1, column 1: expected include, .*found "klass"/],
    [one('1: Missing a'), /^line 1, column 23: there is no type Missing$/],
    [one('1: other.Missing a'), /^line 1, column 23: there is no type other\.Missing; what another file/],
    [one('1: i32 a, 1: i32 b'), /^line 1, column 30: the number 1 of "b" is taken/],
    [one('1: i32 a, 2: i32 a'), /there are two fields "a"/],
    [one('0: i32 a'), /^line 1, column 20: fields are numbered from 1/],
    [one('40000: i32 a'), /40000 is no whole number of 16 bits/],
    [one('1: i8 a = 200'), /^line 1, column 30: "200" is no i8/],
    [one('1: i32 a = "x"'), /"x" is no i32/],
    [one('1: i32 a = 1.5'), /"1\.5" is no i32/],
    [one('1: bool a = 2'), /"2" is no bool/],
    [one('1: list<i32> a = {1: 2}'), /this map is no list/],
    [one('1: i32 a = NONE'), /^line 1, column 31: there is no constant NONE/],
    [one('1: void a'), /void is the result of a function only/],
    [one(`1: ${'list<'.repeat(70)}i32${'>'.repeat(70)} a`), /more than 64 types in each other/],
    [one(`1: list<i32> a = ${'['.repeat(70)}`), /more than 64 constants in each other/],
    ['service S { oneway i32 m() }', /^line 1, column 20: a oneway function is void/],
    ['exception E {} service S { oneway void m() throws (1: E e) }', /a oneway function throws nothing/],
    ['struct E {} service S { void m() throws (1: E e) }', /^line 1, column 47: a function throws exceptions only/],
    ['service S { void m() void m() }', /^line 1, column 27: there are two functions "m"/],
    ['service S extends S {}', /the service S extends itself/],
    ['service S extends T {}', /^line 1, column 19: there is no service T/],
    ['typedef B A typedef A B service S {}', /is declared as itself/],
    ['union U { 1: required i32 a } service S {}', /none is required/],
    ['union U { 1: i32 a = 5 } service S {}', /a field of a union has no default/],
    ['enum E { A, A } service S {}', /E has A twice/],
    ['enum E { A = 3000000000 } service S {}', /no whole number of 32 bits/],
    ['struct A {} struct A {} service S {}', /^line 1, column 20: A is declared twice/],
    ['struct A { 1: i32 a } const A B = {"b": 1} service S {}', /^line 1, column 36: b is no field of A/],
    ['const i32 A = B const i32 B = A service S {}', /a constant is made of itself/],
    ['struct A { 1: A a = {} } service S {}', /a constant is made of itself/],
    [
      'include "other.thrift" service S {}',
      /^line 1, column 9: it includes "other\.thrift"; give its text, too: \{ imports: \{ "other\.thrift": … \} \}/,
    ],
    ['struct A { 1: i32 __proto__ } service S {}', /cannot have that name/],
    ['struct A {}', /^there is no service in it$/],
    ['service A {} service B {}', /several services in it: A, B; say which/],
  ] as const)
    await assert.rejects(
      thriftContract(text),
      (error: any) => error instanceof TypeError && told.test(error.message),
      `${text}\n${String(told)}`,
    )
  await assert.rejects(
    thriftContract(SHOP, { imports: { 'parts/shared.thrift': SHARED.replace('Cents', 'Pence') } }),
    /^TypeError: parts\/shared\.thrift, line 6, column 52: there is no type Cents/,
  )
  await assert.rejects(thriftContract('service A {} service B {}', { service: 'C' }), /there is no service "C" in it, only A, B/)
  assert.equal((await thriftContract('service A {} service B {}', { service: 'B' })).id, 'B/1')
})

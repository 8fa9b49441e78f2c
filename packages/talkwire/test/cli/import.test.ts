/** `talkwire import`: its modules compile under strict TypeScript, and call the services of others. */
import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import * as grpc from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import npmSoap from 'soap'
import * as z from 'zod'
import { soon } from '../../compliance/ends.js'
import { contract, event, fromOpenApi, rpc, serve, stream } from '../../src/index.js'
import { moduleOf } from '../../src/cli/typescript.js'
import { freshPort, ownHost } from '../helpers/loopback.js'
import { freshPath } from '../helpers/place.js'
import { run as start } from '../session/processes.js'
import { writeShop } from '../protocols/fixtures/thrift-shop.js'
import { python } from '../transports/fixtures/support.js'
import { talkwire } from './program.js'

const modules = fileURLToPath(new URL('../../../../../node_modules', import.meta.url))
const run = promisify(execFile)

/** A program of a user, of these files: compiled by the strictest of compilers, and run. */
async function program(files: Readonly<Record<string, string>>, args: readonly string[] = []): Promise<string> {
  const folder = freshPath('')
  mkdirSync(folder)
  symlinkSync(modules, join(folder, 'node_modules'))
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}')
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text)
  const options = ['--strict', '--exactOptionalPropertyTypes', '--noUncheckedIndexedAccess', '--noUnusedLocals', '--verbatimModuleSyntax']
  const target = ['--target', 'es2022', '--lib', 'es2023,esnext.disposable,dom', '--module', 'nodenext', '--types', 'node']
  await run(join(modules, '.bin/tsc'), [...options, ...target, '--skipLibCheck', 'app.ts'], { cwd: folder }).catch(
    ({ stdout }: { stdout: string }) => assert.fail(stdout),
  )
  const { stdout } = await run(process.execPath, ['app.js', ...args], { cwd: folder })
  return stdout
}

const imported = async (args: readonly string[]): Promise<string> => {
  const out = freshPath('.ts')
  const { code, stdout, stderr } = await talkwire(['import', ...args, '--out', out])
  assert.deepEqual([code, stdout], [0, ''], stderr)
  return readFileSync(out, 'utf8')
}

const shopProgram = fileURLToPath(new URL('../../../test/protocols/fixtures/fastapi_shop.py', import.meta.url))

const PATIENCE = ['--wait', '60000']

test('import: FastAPI, asked at its address', async () => {
  const port = freshPort()
  const child = spawn(python, [shopProgram, ownHost, String(port)], { stdio: ['ignore', 'pipe', 'ignore'] })
  try {
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
    assert.equal((await soon(lines.next(), 'a line')).value, 'ready')
    // It is there; on a machine that is busy it may not come to answer within the five seconds of a handshake.
    const module = await imported([`http://${ownHost}:${port}`, ...PATIENCE])
    const app = `import { connect, isError } from 'talkwire'
import { address, discoverPetShop } from './shop.contract.js'
import type { PetInput } from './shop.contract.js'

const patience = { wait: 60_000 }
const shop = await discoverPetShop(address, patience)
const client = await connect(shop, address, patience)
const rex: PetInput = { name: 'Rex', kind: 'dog', tags: ['good'] }
const id: number = await client.add_pet_pets_post(rex)
const { name, kind } = await client.get_pet_pets__pet_id__get({ pet_id: id })
console.log(name.toUpperCase(), kind, await client.add_all_sum_post([1, 2.5]))
try {
  await client.get_pet_pets__pet_id__get({ pet_id: 99 })
} catch (reason) {
  if (isError(reason, shop, 'get_pet_pets__pet_id__get', 'NotFound')) console.log(reason.details?.detail)
}
export const never = (): unknown[] => [
  // @ts-expect-error no kind of pet
  client.add_pet_pets_post({ name: 'Daisy', kind: 'cow' }),
  // @ts-expect-error no number
  client.get_pet_pets__pet_id__get({ pet_id: 'one' }),
  // @ts-expect-error no method
  client.feed_pet(),
  // @ts-expect-error a file is bytes
  client.upload_upload__album__post({ album: 'a', body: { title: 'b', picture: 'c' } }),
  client.upload_upload__album__post({ album: 'a', body: { title: 'b', picture: new Uint8Array() } }),
]
await client.close()
`
    assert.equal(await program({ 'shop.contract.ts': module, 'app.ts': app }), 'REX dog 3.5\nthere is no pet 99\n')
    await callWithSecrets(`http://${ownHost}:${port}`)
  } finally {
    child.kill('SIGKILL')
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
  }
})

/** Two secrets at once, from files, on the command line; and what is wrong with them is said. */
async function callWithSecrets(address: string): Promise<void> {
  const [key, bearer] = [freshPath('.key'), freshPath('.bearer')]
  writeFileSync(key, 'a key\n', { mode: 0o600 })
  writeFileSync(bearer, 'a token', { mode: 0o600 })
  const called = (...secrets: string[]) =>
    talkwire(['call', address, 'safe_both_safe_both_get', ...PATIENCE, ...secrets.flatMap((secret) => ['--secret-file', secret])])
  assert.deepEqual(await called(`Shop_key=${key}`, `Shop_bearer=${bearer}`), { code: 0, stdout: '"a key a token"\n', stderr: '' })
  for (const [secrets, text] of [
    [[`Shop_key=${key}`], /"Shop_bearer" is missing/],
    [[`Shop_kye=${key}`], /tokens has "Shop_kye", which no operation of Pet-Shop\/3 asks for/],
    [[`Shop_key=${key}`, `Shop_key=${bearer}`], /--secret-file Shop_key= is given twice/],
    [[key], /is no scheme=file/],
  ] as const) {
    const { code, stdout, stderr } = await called(...secrets)
    assert.ok(code !== 0 && stdout === '', String(code))
    assert.match(stderr, text)
  }
}

const GREETER = `syntax = "proto3";
package hello.v1;
import "names.proto";
service Greeter {
  rpc SayHello(Name) returns (Greeting);
  rpc Count(Name) returns (stream Greeting);
}
service Other { rpc Nothing(Name) returns (Name); }
message Greeting { string text = 1; int64 letters = 2; repeated Greeting more = 3; map<string, int32> by_name = 4; }
`

test('import: a .proto with what it imports, called at a server of @grpc/grpc-js; a file that is none', async () => {
  const folder = freshPath('')
  mkdirSync(folder)
  const file = join(folder, 'greeter.proto')
  writeFileSync(file, GREETER)
  writeFileSync(join(folder, 'names.proto'), 'syntax = "proto3";\npackage hello.v1;\nmessage Name { string name = 1; bytes data = 2; }\n')
  const module = await imported([file, '--service', 'Greeter'])
  const definition = (grpc.loadPackageDefinition(loadSync(file, { longs: Number, includeDirs: [folder] })) as any).hello.v1.Greeter.service
  const server = new grpc.Server()
  server.addService(definition, {
    SayHello: (call: any, answer: any) =>
      answer(null, { text: `hello ${call.request.name}`, letters: call.request.name.length, byName: { a: 1 } }),
    Count(call: any) {
      for (const letter of call.request.name) call.write({ text: letter })
      call.end()
    },
  })
  const port = await promisify(server.bindAsync.bind(server))(`${ownHost}:0`, grpc.ServerCredentials.createInsecure())
  try {
    const app = `import { connect } from 'talkwire'
import { greeter, type Greeting } from './greeter.contract.js'

const client = await connect(greeter, process.argv[2]!)
const { text, letters, byName }: Greeting = await client.sayHello({ name: 'Ada' })
const plus: bigint = (letters ?? 0n) + 1n
console.log(text, plus, byName?.['a'])
for await (const each of client.count({ name: 'xy', data: new Uint8Array() })) console.log(each.text?.toUpperCase())
await client.close()
// @ts-expect-error a text
export const never = (): unknown => client.sayHello({ name: 5 })
`
    assert.equal(
      await program({ 'greeter.contract.ts': module, 'app.ts': app }, [`grpc://${ownHost}:${String(port)}`]),
      'hello Ada 4n 1\nX\nY\n',
    )
  } finally {
    server.forceShutdown()
  }
  const fails = async (args: readonly string[], text: RegExp): Promise<void> => {
    const { code, stdout, stderr } = await talkwire(['import', ...args])
    assert.deepEqual([code, stdout], [2, ''], stderr)
    assert.match(stderr, text)
  }
  const none = join(folder, 'none.json')
  writeFileSync(none, '{"swagger":"2.0"}')
  await fails([none], /none\.json: this is no OpenAPI document/)
  await fails([join(folder, 'missing.json')], /there is no file/)
})

const CALC = `<definitions name="Calc" targetNamespace="urn:calc" xmlns:tns="urn:calc" xmlns="http://schemas.xmlsoap.org/wsdl/" xmlns:s="http://schemas.xmlsoap.org/wsdl/soap/" xmlns:x="http://www.w3.org/2001/XMLSchema">
 <types><x:schema><x:import namespace="urn:calc" schemaLocation="types/calc.xsd"/></x:schema></types>
 <message name="addIn"><part name="parameters" element="tns:add"/></message><message name="addOut"><part name="parameters" element="tns:addResponse"/></message>
 <portType name="P"><operation name="add"><input message="tns:addIn"/><output message="tns:addOut"/></operation></portType>
 <binding name="B" type="tns:P"><s:binding style="document" transport="http://schemas.xmlsoap.org/soap/http"/>
  <operation name="add"><s:operation soapAction="urn:add"/><input><s:body use="literal"/></input><output><s:body use="literal"/></output></operation>
 </binding>
 <service name="Calc"><port name="B" binding="tns:B"><s:address location="http://127.0.0.1/calc"/></port></service>
</definitions>`
const CALC_TYPES = `<x:schema targetNamespace="urn:calc" xmlns:x="http://www.w3.org/2001/XMLSchema">
 <x:element name="add"><x:complexType><x:sequence><x:element name="a" type="x:int"/><x:element name="b" type="x:double" minOccurs="0"/></x:sequence></x:complexType></x:element>
 <x:element name="addResponse"><x:complexType><x:sequence><x:element name="sum" type="x:double"/></x:sequence></x:complexType></x:element>
</x:schema>`
const PARROT = `# a bird
interface org.example.parrot
type Said (text: string, times: ?int)
method Say(what: Said) -> (answer: []string)
`
const LAMP = `<!DOCTYPE node PUBLIC "-//freedesktop//DTD D-BUS Object Introspection 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd">
<node><interface name="org.example.Lamp">
 <method name="shine"><arg name="hue" type="s" direction="in"/><arg name="lumen" type="u" direction="in"/><arg type="b" direction="out"/></method>
</interface></node>`

test('import: a WSDL with the schema beside it, an interface of varlink and introspection of D-Bus are modules that call such services', async () => {
  const folder = freshPath('')
  mkdirSync(join(folder, 'types'), { recursive: true })
  const write = (name: string, text: string): string => {
    writeFileSync(join(folder, name), text)
    return join(folder, name)
  }
  write('types/calc.xsd', CALC_TYPES)
  const calc = await imported([write('calc.wsdl', CALC)])
  const parrot = await imported([write('parrot.varlink', PARROT)])
  const lamp = await imported([write('lamp.xml', LAMP)])
  const inline = CALC.replace(/<x:schema>.*<\/x:schema>/, CALC_TYPES)
  const web = createServer().listen(0, ownHost)
  await once(web, 'listening')
  npmSoap.listen(web, '/calc', { Calc: { B: { add: ({ a, b }: any) => ({ sum: Number(a) + Number(b) }) } } } as never, inline)
  const text = z.object({ text: z.string(), times: z.int().optional() })
  const bird = contract('org.example.parrot/1', {
    Say: rpc({ input: z.object({ what: text }), output: z.object({ answer: z.array(z.string()) }) }),
  })
  const light = contract('org.example.Lamp/1', {
    shine: rpc({ input: z.object({ hue: z.string(), lumen: z.uint32() }), output: z.boolean() }),
  })
  await using birds = await serve(
    bird,
    { Say: ({ what }) => ({ answer: Array.from({ length: what.times ?? 1 }, () => what.text) }) },
    { listen: `varlink:${freshPath('.sock')}` },
  )
  await using lights = await serve(
    light,
    { shine: ({ hue, lumen }) => hue === 'red' && lumen === 800 },
    { listen: `dbus+unix:${freshPath('.sock')}` },
  )
  try {
    const app = `import { connect } from 'talkwire'
import { calc } from './calc.contract.js'
import { parrot } from './parrot.contract.js'
import { lamp } from './lamp.contract.js'

const [soap, varlink, dbus] = process.argv.slice(2) as [string, string, string]
const sums = await connect(calc, soap)
const sum: number = await sums.add({ a: 2, b: 0.5 })
const birds = await connect(parrot, varlink)
const { answer } = await birds.Say({ what: { text: 'hello', times: 2 } })
const lights = await connect(lamp, dbus)
const on: boolean = await lights.shine({ hue: 'red', lumen: 800 })
console.log(sum, answer.map((each) => each.toUpperCase()).join(), on)
for (const each of [sums, birds, lights]) await each.close()
export const never = (): unknown[] => [
  // @ts-expect-error no number
  sums.add({ a: 'x' }),
  // @ts-expect-error no text
  birds.Say({ what: { text: 5 } }),
  // @ts-expect-error no lumen
  lights.shine({ hue: 'red' }),
]
`
    const at = [
      `soap+http://${ownHost}:${(web.address() as AddressInfo).port}/calc`,
      birds.addresses[0]!,
      `${lights.addresses[0]!}#/org/example/Lamp`,
    ]
    const files = { 'calc.contract.ts': calc, 'parrot.contract.ts': parrot, 'lamp.contract.ts': lamp, 'app.ts': app }
    assert.equal(await program(files, at), '2.5 HELLO,HELLO true\n')
  } finally {
    web.closeAllConnections()
    web.close()
  }
  for (const [name, said, told] of [
    ['shop.yaml', 'openapi: 3.1.0', /npx js-yaml .*shop\.yaml > .*shop\.json/],
    ['none.thrift', 'service Shop {\n  void a(1: i33 b)\n}', /none\.thrift: line 2, column 13: there is no type i33/],
    ['two.thrift', 'service A {}\nservice B {}', /several services in it: A, B/],
    ['none.wsdl', '<a/>', /none\.wsdl: /],
    ['none.varlink', 'interface', /none\.varlink: .*interface/],
    ['none.xml', '<node/>', /none\.xml: .*no introspection of D-Bus/],
  ] as const) {
    const { code, stdout, stderr } = await talkwire(['import', write(name, said)])
    assert.deepEqual([code, stdout], [2, ''], stderr)
    assert.match(stderr, told)
  }
})

test('import: a .thrift file with what it includes is a module that calls thriftpy2, which has loaded the same', async () => {
  const file = writeShop()
  const module = await imported([file, '--service', 'Shop'])
  const place = `${ownHost}:${freshPort()}`
  const shop = fileURLToPath(new URL('../../../test/protocols/fixtures/thrift_shop.py', import.meta.url))
  const running = start(python, [shop, 'thriftpy2', file, place, 'binary', 'buffered'])
  try {
    await running.line('ready')
    const app = `import { connect, isError } from 'talkwire'
import { shop, type Everything, type Line } from './shop.contract.js'

const client = await connect(shop, process.argv[2]!)
const line: Line = { text: 'a', price: 10n, count: 2 }
const total: bigint = await client.total({ lines: [line] })
const value: Everything = { color: 'GREEN', choice: { text: 'this' }, numbers: new Set([1]), colors: new Map([[1, 'RED']]) }
const { choice, color } = await client.echo({ value })
const text: string = choice !== undefined && 'text' in choice ? choice.text : ''
console.log(total, text, color, await client.ping(), (await client.defaults()).line?.text)
try {
  await client.fail({ how: 'missing' })
} catch (reason) {
  if (isError(reason, shop, 'fail', 'NotFound')) console.log(reason.details.message)
}
await client.close()
export const never = (): unknown[] => [
  // @ts-expect-error no number
  client.total({ lines: [{ text: 5 }] }),
  // @ts-expect-error no lines
  client.total({ rate: 5 }),
  // @ts-expect-error no color
  client.following({ color: 'PINK' }),
  // @ts-expect-error a big integer
  client.total({ lines: [{ text: 'a', price: 10 }] }),
]
`
    assert.equal(
      await program({ 'shop.contract.ts': module, 'app.ts': app }, [`thrift+tcp://${place}`]),
      '30n this GREEN pong new\nit is not here\n',
    )
  } finally {
    await running.kill()
  }
})

test('import: a document with nasty names is a module all the same, and a service of ours keeps its types', async () => {
  const nasty = 'a */ b\n\u2028`${x}\'"'
  const made = await fromOpenApi({
    openapi: '3.1.0',
    info: { title: 'class', version: '1' },
    paths: {
      '/a': {
        get: {
          operationId: nasty.replaceAll(/\s/g, ''),
          description: nasty,
          parameters: [{ name: nasty, in: 'query', schema: { enum: [nasty, 5, null] } }],
          responses: { 200: { content: { 'application/json': { schema: { $ref: '#/components/schemas/Contract' } } } } },
        },
      },
    },
    components: { schemas: { Contract: { type: ['object', 'null'], properties: { [nasty]: { $ref: '#/components/schemas/Contract' } } } } },
  })
  const origin = { from: nasty, imports: [], make: (type: string, value: string) => `export declare const ${value}: ${type}` }
  const own = contract('own/1', {
    all: rpc({
      input: z.object({ when: z.date(), big: z.bigint(), data: z.instanceof(Float32Array), pair: z.tuple([z.string(), z.number()]) }),
      output: stream(z.union([z.string(), z.null()])),
      errors: { Broke: z.object({ why: z.literal('x') }) },
    }),
    note: rpc({ input: z.string().optional(), oneway: true }),
    told: event(z.array(z.record(z.string(), z.int()))),
  })
  await using service = await serve(own, { async *all() {}, note() {} }, { listen: `unix:${freshPath('.sock')}` })
  const app = `import type { Client } from 'talkwire'
import type { Own } from './own.contract.js'
import type { Class } from './nasty.js'

export type Both = Class | Own
export async function use(client: Client<Own>): Promise<void> {
  const all = { when: new Date(), big: 1n, data: new Float32Array(), pair: ['a', 1] as [string, number] }
  for await (const each of client.all(all)) {
    const text: string | null = each
    console.log(text)
  }
  await client.note()
  await client.on('told', (rows) => console.log(rows[0]?.['a']?.toFixed()))
  // @ts-expect-error a Date
  client.all({ ...all, when: 'now' })
}
console.log('compiled')
`
  const files = { 'nasty.ts': await moduleOf(made, origin), 'own.contract.ts': await imported([service.addresses[0]!]), 'app.ts': app }
  assert.equal(await program(files), 'compiled\n')
})

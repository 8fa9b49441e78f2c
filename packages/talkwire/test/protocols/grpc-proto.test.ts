/** A `.proto` as a contract, and what reflection tells as one. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import { soon } from '../../compliance/ends.js'
import { connect, discover, serve } from '../../src/index.js'
import { descriptorSetOf, protoContract, protoOf } from '../../src/protocols/grpc.js'
import { fails } from '../helpers/expect.js'
import { ownHost } from '../helpers/loopback.js'
import { bank, handlersOf } from './fixtures/grpc-bank.js'

const shop = `
syntax = "proto3";
package shop.v2;
import "google/protobuf/timestamp.proto";
import "google/protobuf/empty.proto";
import "google/protobuf/wrappers.proto";
import "shop/money.proto";

// Goods and their prices.
message Item {
  enum Kind { KIND_UNSPECIFIED = 0; BOOK = 1; GAME = 5; }
  message Size { sint64 width = 1; fixed32 height = 2; }
  string item_name = 1;
  optional int32 pages = 12;
  repeated Kind kinds = 3;
  map<int32, Item> parts = 4;
  oneof owner { string person = 5; uint64 number = 6; }
  google.protobuf.Timestamp made = 7;
  Size size = 8;
  bytes cover = 9;
  google.protobuf.StringValue note = 10;
  money.Price price = 11;
}
service Shop {
  rpc Buy (Item) returns (Item);
  rpc List (google.protobuf.Empty) returns (stream Item) { option idempotency_level = NO_SIDE_EFFECTS; }
  rpc Close (stream Item) returns (google.protobuf.Empty);
}
service Other { rpc Nothing (google.protobuf.Empty) returns (google.protobuf.Empty); }
`
const imports = { 'shop/money.proto': 'syntax = "proto3"; package money; message Price { int64 cents = 1; }' }

test('grpc: a .proto is a contract, and its values arrive as what protobuf says', async () => {
  const contract = await protoContract(shop, { service: 'Shop', imports })
  assert.deepEqual([contract.id, Object.keys(contract.members)], ['shop.v2.Shop/2', ['buy', 'list', 'Close']])
  assert.deepEqual([(contract.members['list'] as any).idempotent, (contract.members['buy'] as any).idempotent], [true, false])
  const seen: unknown[] = []
  await using service = await serve(
    contract as any,
    {
      buy: (item: any) => item,
      async *list() {
        yield { itemName: 'a' }
      },
      async Close(items: AsyncIterable<unknown>) {
        for await (const item of items) seen.push(item)
      },
    } as any,
    { listen: `grpc://${ownHost}:0`, token: false },
  )
  const client: any = await connect(contract, service.addresses[0]!)
  const nothing = { itemName: '', kinds: [], parts: {}, cover: new Uint8Array(0) }
  assert.deepEqual(await client.buy({}), nothing)
  const whole = {
    itemName: 'ä',
    pages: 0,
    kinds: ['GAME', 'KIND_UNSPECIFIED', 'BOOK'],
    parts: { 7: { ...nothing, itemName: 'inner' }, '-1': nothing },
    number: 2n ** 64n - 1n,
    made: new Date(5),
    size: { width: -(2n ** 63n), height: 4_000_000_000 },
    cover: new Uint8Array([1, 2]),
    note: '',
    price: { cents: 199n },
  }
  assert.deepEqual(await client.buy(whole), whole)
  assert.deepEqual((await client.list().next()).value, { ...nothing, itemName: 'a' })
  await client.Close([{ person: 'x' }])
  assert.deepEqual(seen, [{ ...nothing, person: 'x' }])
  await assert.rejects(client.buy({ kinds: ['FOOD'] }), TypeError)
  await assert.rejects(client.buy({ size: { width: 2n ** 63n } }), TypeError)
  await client.close()
})

test('grpc: what is no .proto, or does not say enough, is told', async () => {
  for (const [text, options, what] of [
    ['syntax "proto3"', {}, /no \.proto/],
    ['', {}, /no service/],
    [shop, { imports }, /several services in it: shop\.v2\.Shop, shop\.v2\.Other/],
    [shop, { imports, service: 'Third' }, /no service "Third"/],
    [shop, { service: 'Shop' }, /imports shop\/money\.proto/],
    ['syntax = "proto3"; service A { rpc B (C) returns (C); }', {}, /C/],
  ] as const)
    await assert.rejects(
      protoContract(text, options),
      (reason: unknown) => reason instanceof TypeError && what.test(reason.message),
      text.slice(0, 60),
    )
})

test('grpc: our own .proto and descriptors are the same service again', async () => {
  for (const source of [await protoOf(bank), await descriptorSetOf(bank)]) {
    const again = await protoContract(source)
    await using service = await serve(
      again as any,
      Object.assign(answering(again), { deposit: ({ amount }: any) => ({ balance: amount + 1 }) }) as any,
      {
        listen: `grpc://${ownHost}:0`,
        token: false,
      },
    )
    const client = await connect(bank, service.addresses[0]!)
    assert.deepEqual(await client.deposit({ account: 'a', amount: 5 }), { balance: 6 })
    await client.close()
  }
})

const answering = ({ members }: { members: object }): Record<string, unknown> =>
  Object.fromEntries(Object.keys(members).map((name) => [name, () => ({})]))

test('grpc: discover() reads the reflection of ours and of others, and the contract calls them', async () => {
  await using service = await serve(
    bank,
    handlersOf(() => {}),
    { listen: `grpc://${ownHost}:0` },
  )
  const found = await discover(service.addresses[0]!, { token: service.token! })
  const client: any = await connect(found, service.addresses[0]!, { token: service.token! })
  assert.deepEqual(await client.deposit({ account: 'a', amount: 5 }), { balance: 6 })
  assert.equal((await client.watch({ account: 'a' }).next()).value.balance, 0)
  await client.close()
  await assert.rejects(discover(service.addresses[0]!), fails('UNAUTHENTICATED'))
})

test("grpc: a server of Python's grpcio that has only v1alpha reflection is discovered", async () => {
  const child = spawn(
    process.env['TALKWIRE_PYTHON'] ?? 'python3',
    [
      '-c',
      `
import sys
from concurrent import futures
import grpc
from grpc_reflection.v1alpha import reflection
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

file = descriptor_pb2.FileDescriptorProto(name='echo.proto', package='echo', syntax='proto3', dependency=['google/protobuf/timestamp.proto'])
from google.protobuf import timestamp_pb2
message = file.message_type.add(name='Text')
message.field.add(name='some_text', number=1, type=9, label=1, json_name='someText')
message.field.add(name='at', number=2, type=11, label=1, type_name='.google.protobuf.Timestamp')
service = file.service.add(name='Echo')
service.method.add(name='Say', input_type='.echo.Text', output_type='.echo.Text')
pool = descriptor_pool.Default()
pool.Add(file)
server = grpc.server(futures.ThreadPoolExecutor(4))
say = grpc.unary_unary_rpc_method_handler(lambda request, context: request)
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler('echo.Echo', {'Say': say}),))
reflection.enable_server_reflection(['echo.Echo', reflection.SERVICE_NAME], server)
print(server.add_insecure_port(sys.argv[1]), flush=True)
server.start()
sys.stdin.read()
server.stop(0).wait()
`,
      `${ownHost}:0`,
    ],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  )
  const over = once(child, 'close')
  try {
    const [port] = (await soon(once(createInterface(child.stdout), 'line'), 'the port')) as [string]
    const address = `grpc://${ownHost}:${port}`
    const client: any = await connect(await discover(address), address, { reconnect: false })
    assert.deepEqual(await client.say({ someText: 'ä', at: new Date(1) }), { someText: 'ä', at: new Date(1) })
    await client.close()
  } finally {
    child.stdin.end()
    await over
  }
})

/** Row 16 between two of ours: what `limits.depth` counts is the same over every wire, and it holds on both sides. Strangers are in `bytes` and `dialects`. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as z from 'zod'
import { isDeeper } from '../../src/codecs/depth.js'
import { connect, contract, rpc, serve, stream, TalkwireError, type ConnectOptions } from '../../src/index.js'
import { freshPath } from '../helpers/place.js'
import { fails } from '../session/harness.js'

interface Node {
  next?: Node | undefined
}
const Node: z.ZodType<Node> = z.object({
  get next() {
    return Node.optional()
  },
})
const lists = (count: number): unknown => (count === 0 ? 1 : [lists(count - 1)])
const nodes = (count: number): Node => (count === 1 ? {} : { next: nodes(count - 1) })
/** `of` is any value, or where a protocol carries only what was described, an object in an object. */
const deepContract = (of: z.ZodType) =>
  contract('org.example.deep/1', {
    take: rpc({ input: z.object({ value: of }), output: z.boolean() }),
    give: rpc({ input: z.object({ depth: z.number() }), output: z.object({ value: of }), errors: { Deep: z.object({ value: of }) } }),
  })
const streamContract = contract('org.example.deeper/1', {
  items: rpc({ input: z.object({ depth: z.number() }), output: stream(z.object({ value: z.any() })) }),
})

const atPath = (scheme: string) => (): string => `${scheme}:${freshPath('.sock')}`
const atPort = (scheme: string) => (): string => `${scheme}://127.0.0.1:0`
const WIRES: readonly (readonly [name: string, address: () => string, make: (levels: number) => unknown, options?: ConnectOptions])[] = [
  ['unix, JSON', atPath('unix'), lists, { codecs: ['json'] }],
  ['unix, MessagePack', atPath('unix'), lists, { codecs: ['msgpack'] }],
  ...['http', 'mcp+http', 'graphql+http', 'grpc', 'connect+http', 'xmlrpc+http'].map((scheme) => [scheme, atPort(scheme), lists] as const),
  ...['varlink', 'nodeipc', 'pymp', 'dbus+unix'].map((scheme) => [scheme, atPath(scheme), lists] as const),
  ['thrift+unix', atPath('thrift+unix'), nodes],
  ['soap+http', atPort('soap+http'), nodes],
]
const STREAMS = new Set(['unix, JSON', 'unix, MessagePack', 'http', 'mcp+http', 'graphql+http', 'grpc', 'connect+http', 'varlink'])

test('row 16: what is in itself is deeper than anything; Maps and Sets are levels, dates and bytes are none', () => {
  const round: unknown[] = []
  round.push(round)
  assert.equal(isDeeper(round, 1000), true)
  for (const value of [new Map([[[1], 1]]), new Map([[1, [1]]]), new Set([[1]]), { a: [1] }, [[]], { a: undefined, b: {} }])
    assert.deepEqual([isDeeper(value, 3), isDeeper(value, 2)], [false, true])
  for (const value of [1, 'x', null, undefined, new Date(), new Uint8Array(5), () => 1]) assert.equal(isDeeper(value, 1), false)
  for (const value of [[], {}, new Map(), new Set(), [1], { a: 1 }])
    assert.deepEqual([isDeeper(value, 2), isDeeper(value, 1)], [false, true])
})

for (const [wire, address, make, options] of WIRES)
  test(`row 16: ${wire}: params, results, elements and details are counted alike, without what the protocol puts around them`, async () => {
    const shape = deepContract(make === lists ? z.any() : Node)
    /** A value of that depth, in the object that is the params, the result, the element or the details. */
    const deep = (depth: number): { value: any } => ({ value: make(depth - 2) })
    const give = ({ depth }: { depth: number }): { value: any } => {
      if (depth > 0) return deep(depth)
      throw new TalkwireError('Deep', 'deep', { declared: true, details: deep(-depth) })
    }
    const service = await serve(shape, { take: () => true, give }, { listen: address(), token: false, onError() {} })
    const client = await connect(shape, service.addresses[0]!, { reconnect: false, ...options })
    for (const depth of [63, 64]) {
      assert.equal(await client.take(deep(depth)), true)
      assert.deepEqual(await client.give({ depth }), deep(depth))
      const error = await client.give({ depth: -depth }).catch((reason: TalkwireError) => reason)
      assert.equal((error as TalkwireError).code, 'Deep')
      assert.deepEqual((error as TalkwireError).details, deep(depth))
    }
    for (const depth of [65, 1000]) {
      await assert.rejects(client.take(deep(depth)), fails('TOO_DEEP', 'not-sent'))
      await assert.rejects(client.give({ depth }), fails('TOO_DEEP', 'ran'))
      await assert.rejects(client.give({ depth: -depth }), fails('INVALID_OUTPUT', 'ran'))
    }
    assert.equal(await client.take(deep(3)), true)
    // Each side holds to its own limit, whatever the other may send.
    const most = { limits: { depth: 1000 } }
    const loose = await connect(shape, service.addresses[0]!, { reconnect: false, ...options, ...most })
    await assert.rejects(loose.take(deep(65)), fails('TOO_DEEP', 'not-sent'))
    assert.equal(await loose.take(deep(64)), true)
    await loose.close()
    await client.close()
    await service.close()
    const lax = await serve(shape, { take: () => true, give }, { listen: address(), token: false, onError() {}, ...most })
    const strict = await connect(shape, lax.addresses[0]!, { reconnect: false, ...options })
    await assert.rejects(strict.take(deep(65)), fails('TOO_DEEP', 'not-sent'))
    await assert.rejects(strict.give({ depth: 65 }), fails('TOO_DEEP', 'ran'))
    assert.deepEqual(await strict.give({ depth: 64 }), deep(64))
    await strict.close()
    await lax.close()
    if (!STREAMS.has(wire)) return
    const items = async function* ({ depth }: { depth: number }): AsyncGenerator<{ value: unknown }> {
      yield deep(depth)
    }
    await using streaming = await serve(streamContract, { items }, { listen: address(), token: false, onError() {} })
    await using reader = await connect(streamContract, streaming.addresses[0]!, { reconnect: false, ...options })
    for (const depth of [63, 64]) for await (const item of reader.items({ depth })) assert.deepEqual(item, deep(depth))
    await assert.rejects(
      async () => {
        for await (const item of reader.items({ depth: 65 })) assert.fail(JSON.stringify(item))
      },
      fails('INTERNAL', 'ran'),
    )
  })

/** Rows 11, 12, 13, 33: what names and values from the wire can reach, and what errors let out. By hand, in both codecs. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { hello, pack, raw, startVictim, unpack, type Victim } from './attack.js'
import { SECRET } from './secret.js'

let victim: Victim
before(async () => {
  victim = await startVictim()
})
after(() => victim.end())

const codecs = ['json', 'msgpack'] as const
type Codec = (typeof codecs)[number]

/** A Talkwire peer that speaks one codec, and whose values are written as text or by `pack`. */
async function peer(codec: Codec) {
  const own = await hello(victim.unix, { codecs: [codec] })
  let id = 1
  return {
    ...own,
    /** `text` is JSON for both: MessagePack gets the same value. */
    async ask(method: string, text: string): Promise<{ code: number; value?: any }> {
      id++
      if (codec === 'json') {
        own.send(`{"jsonrpc":"2.0","id":${id},"method":${JSON.stringify(method)},"params":${text}}`)
        const answer = await own.next()
        return answer.error ? { code: answer.error.code } : { code: 0, value: answer.result }
      }
      own.send(pack([0, id, method, parseKeepingKeys(text)]))
      return readAnswer(await own.next())
    },
  }
}

/** JSON.parse, but every key is kept as it is, in a Map. */
function parseKeepingKeys(text: string): unknown {
  return JSON.parse(text, (_, value: unknown) =>
    typeof value === 'object' && value !== null && !Array.isArray(value) ? new Map(Object.entries(value)) : value,
  )
}

/** The outcome of a MessagePack response. */
function readAnswer(bytes: Buffer | undefined): { code: number; value?: any } {
  assert.ok(bytes, 'the connection ended')
  const [, , error, value] = unpack(bytes)
  return error ? { code: error.code } : { code: 0, value }
}

const nested = (text: string, depth: number): string =>
  depth === 0 ? text : depth % 2 ? `{"a":${nested(text, depth - 1)}}` : `[${nested(text, depth - 1)}]`

for (const codec of codecs) {
  test(`row 11: ${codec}: __proto__ and constructor as keys, at depth 0 to 5`, async () => {
    const own = await peer(codec)
    const payloads = [
      '{"__proto__":{"polluted":1}}',
      '{"__proto__":1}',
      '{"__proto__":null}',
      '{"constructor":{"prototype":{"polluted":1}}}',
      '{"a":1,"__proto__":[]}',
    ]
    for (const payload of payloads) {
      for (let depth = 0; depth <= 5; depth++) {
        const { code } = await own.ask('echo', `[${nested(payload, depth)}]`)
        assert.equal(code, -32008, `${payload} at depth ${depth}`)
      }
      assert.equal((await own.ask('echo', payload)).code, -32008, `${payload} as params`)
    }
    assert.equal((await own.ask('echo', '[{"prototype":{"a":1},"constructor":"text"}]')).code, 0, 'harmless: no way to a prototype')
    assert.equal(({} as { polluted?: number }).polluted, undefined)
    own.socket.destroy()
  })

  test(`row 12: ${codec}: 40 inherited names and more are no methods`, async () => {
    const own = await peer(codec)
    const inherited = [
      ...Object.getOwnPropertyNames(Object.prototype),
      ...Object.getOwnPropertyNames(Function.prototype),
      ...Object.getOwnPropertyNames(Map.prototype),
      'prototype',
      'then',
      'catch',
      'finally',
      '',
      ' ',
      'add ',
      'add\0',
      'ADD',
      '#',
      '#0',
      '#1',
      '#1.constructor',
      '#-1',
      '#1e3',
      'rpc.',
      'rpc.constructor',
      'rpc.__proto__',
      'rpc.auth',
      '_private',
      'length',
      '0',
    ]
    assert.ok(new Set(inherited).size >= 40)
    for (const name of inherited) assert.equal((await own.ask(name, '[]')).code, -32601, name)
    assert.equal((await own.ask('add', '[2,5]')).code, 0)
    own.socket.destroy()
  })

  test(`row 13: ${codec}: a then that is a function is refused, data named then stays data`, async () => {
    const own = await peer(codec)
    assert.equal((await own.ask('later', '[{"then":1}]')).code, 0)
    assert.equal((await own.ask('later', '[{"then":{"a":1}}]')).code, 0)
    const gadget = codec === 'json' ? '[{"then":{"$ref":[7]}}]' : undefined
    if (gadget) assert.equal((await own.ask('later', gadget)).code, -32008)
    else {
      own.send(Buffer.concat([pack([0, 90, 'later']).fill(0x94, 0, 1), pack([new Map([['then', Buffer.from([0xc7, 2, 6, 0x91, 7])]])])]))
      assert.equal(readAnswer(await own.next()).code, -32008)
    }
    own.socket.destroy()
  })
}

test('row 13: a reference to an object that claims a method "then" is never called by an await', async () => {
  const own = await peer('json')
  assert.equal((await own.ask('later', '[{"$ref":[7,["then","other"]]}]')).code, 0)
  const before = own.received().length
  assert.equal((await own.ask('add', '[1,1]')).value, 2)
  assert.ok(!own.received().subarray(before).includes('#7'), 'nothing was called')
  own.socket.destroy()
})

test('row 12: names that no text can be: a number, a map, binary', async () => {
  for (const method of [5, new Map(), null, Buffer.from([0xc4, 1, 65]), Buffer.from([0xc3])]) {
    const own = await hello(victim.unix, { codecs: ['msgpack'] })
    own.send(pack([0, 2, method, []]))
    assert.match((await own.next()).toString('latin1'), /INVALID_MESSAGE/)
    await own.ended
  }
})

for (const codec of ['plain', ...codecs] as const) {
  test(`row 33: ${codec}: an error with a secret crosses as a code and a general text`, async () => {
    const own = codec === 'plain' ? await raw(victim.unix) : await hello(victim.unix, { codecs: [codec] })
    let id = 1
    for (const how of ['throw', 'reject', 'text', 'result', 'cause']) {
      id++
      own.send(codec === 'msgpack' ? pack([0, id, 'fail', [how]]) : { jsonrpc: '2.0', id, method: 'fail', params: [how] })
      assert.ok(await own.next())
    }
    own.send(codec === 'msgpack' ? pack([0, ++id, 'failing', []]) : { jsonrpc: '2.0', id: ++id, method: 'failing', params: [] })
    assert.ok(await own.next())
    assert.ok(await own.next())
    const bytes = own.received().toString('latin1')
    assert.ok(bytes.length > 500)
    assert.equal(bytes.match(/internal error/g)?.length, 5)
    for (const leak of [SECRET, 'password', 'at ', '.js', '.ts', 'node:', 'stack', 'Symbol', 'how?'])
      assert.ok(!bytes.includes(leak), `${leak} in ${bytes}`)
    own.socket.destroy()
  })
}

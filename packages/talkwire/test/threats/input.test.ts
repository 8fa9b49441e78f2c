/** Row 16 and the list of bad input: what is no message, in every framing and codec, from a stranger and from a Talkwire peer. */
import assert from 'node:assert/strict'
import net from 'node:net'
import { after, before, test } from 'node:test'
import { connect, TalkwireError } from '../../src/index.js'
import { freshPath } from '../helpers/place.js'
import { fails, until } from '../session/harness.js'
import { fixture } from '../session/processes.js'
import {
  frame,
  framings,
  hello,
  pack,
  peerOn,
  raw,
  staysHealthy,
  startVictim,
  u32,
  unpack,
  until as eventually,
  type Victim,
} from './attack.js'

let victim: Victim
before(async () => {
  victim = await startVictim({ limits: { message: 4 * 1024 * 1024 } })
})
after(() => victim.end())

const nonsense: readonly (readonly [what: string, payload: string | Uint8Array, code: number])[] = [
  ['an empty message', '', -32700],
  ['half a text', '{"jsonrpc":"2.0","id":1,', -32700],
  ['not UTF-8', Buffer.from('{"jsonrpc":"2.0","id":1,"method":"echo","params":["\xff\xfe"]}', 'latin1'), -32700],
  ['a lone continuation byte', Buffer.from('{"a":"\x80"}', 'latin1'), -32700],
  ['an encoded surrogate', Buffer.from('{"a":"\xed\xa0\x80"}', 'latin1'), -32700],
  ['a number', '5', -32600],
  ['null', 'null', -32600],
  ['text', '"text"', -32600],
  ['a batch in a batch', '[[{"jsonrpc":"2.0","id":1,"method":"add","params":[1,2]}]]', -32600],
  ['neither request nor response', '{"jsonrpc":"2.0"}', -32600],
  ['another version', '{"jsonrpc":"1.0","id":null,"method":"add","params":[1,2]}', -32600],
  ['an id that is an object', '{"jsonrpc":"2.0","id":{"a":1},"method":"add","params":[1,2]}', -32600],
  ['an id of 10,000 characters', `{"jsonrpc":"2.0","id":"${'x'.repeat(10_000)}","method":"add","params":[1,2]}`, -32600],
  ['MessagePack without hello', pack([0, 1, 'add', [1, 2]]), -32700],
  ['attachments without hello', Buffer.concat([Buffer.from([0xc1, 0, 0, 1]), u32(2), u32(8), Buffer.from('{}'), Buffer.alloc(14)]), -32700],
  ['bytes that begin nothing', Buffer.from([0xff, 0xfe, 0xfd]), -32700],
]

for (const framing of framings) {
  for (const wire of ['unix', 'tcp'] as const) {
    test(`bad input: ${wire}, ${framing} framing: a stranger's nonsense is answered with a code, and it gets another try`, async () => {
      const peer = await raw(victim[wire], framing)
      assert.equal((await peer.call('add', [1, 2])).result, 3)
      for (const [what, payload, code] of nonsense) {
        // Empty lines are skipped, and what is binary may hold a line's end.
        if (framing === 'line' && (payload.length === 0 || typeof payload !== 'string')) continue
        peer.send(payload)
        const answer = (await peer.next()) as { error: { code: number }; id: null } | { error: { code: number } }[]
        assert.equal((Array.isArray(answer) ? answer[0]! : answer).error.code, code, what)
      }
      assert.equal((await peer.call('add', [2, 5], 'again')).result, 7)
      peer.socket.destroy()
    })
  }
}

test('bad input: stdio: the same nonsense from the parent does not end the child, and its end does', async () => {
  const child = fixture(import.meta.url, 'stdio.js')
  let received = ''
  child.child.stdout!.on('data', (bytes: Buffer) => (received += bytes.toString('latin1')))
  child.child.stdin!.write(frame('{"jsonrpc":"2.0","id":0,"method":"add","params":[1,2]}'))
  for (const [, payload] of nonsense) child.child.stdin!.write(frame(payload))
  child.child.stdin!.write(frame('{"jsonrpc":"2.0","id":"last","method":"add","params":[2,5]}'))
  await until(() => received.includes('"id":"last","result":7'))
  assert.equal(received.match(/"error"/g)?.length, nonsense.length)
  // Cut inside a message.
  child.child.stdin!.end(frame('{"jsonrpc":"2.0","id":1,"method":"add","params":[2,5]}').subarray(0, 20))
  await new Promise((resolve) => child.child.once('exit', resolve))
  assert.equal(child.child.exitCode, 0)
})

for (const codec of ['json', 'msgpack'] as const) {
  const broken: readonly (readonly [string, Uint8Array])[] =
    codec === 'json'
      ? [
          ['half a text', Buffer.from('{"a"')],
          ['not UTF-8', Buffer.from('{"a":"\xff"}', 'latin1')],
          ['a batch of 101', Buffer.from(`[${'{},'.repeat(100)}{}]`)],
          ['an unknown tag', Buffer.from('{"jsonrpc":"2.0","id":9,"method":"echo","params":[{"$what":1}]}')],
        ]
      : [
          ['cut short', Buffer.from([0x94, 0, 2])],
          ['bytes after it', Buffer.concat([pack([0, 2, 'add', [1, 2]]), Buffer.from([0xc0])])],
          ['an unknown kind', pack([17, 2, 'add', []])],
          [
            'an array of 2³²−1',
            Buffer.concat([Buffer.from([0x94, 0, 2, 0xa3]), Buffer.from('add'), Buffer.from([0xdd, 255, 255, 255, 255])]),
          ],
          [
            'a map of 2³²−1',
            Buffer.concat([Buffer.from([0x94, 0, 2, 0xa3]), Buffer.from('add'), Buffer.from([0x91, 0xdf, 255, 255, 255, 255])]),
          ],
          ['not UTF-8', Buffer.concat([Buffer.from([0x94, 0, 2, 0xa4]), Buffer.from('echo'), Buffer.from([0x91, 0xa1, 0xff])])],
          ['an unknown extension', Buffer.concat([Buffer.from([0x94, 0, 2, 0xa4]), Buffer.from('echo'), Buffer.from([0x91, 0xd4, 99, 0])])],
        ]
  for (const [what, payload] of broken) {
    test(`bad input: a Talkwire peer, ${codec}, ${what}: it is told why and cut`, async () => {
      const peer = await hello(victim.unix, { codecs: [codec] })
      peer.send(payload)
      const answer = await peer.next()
      assert.match(Buffer.isBuffer(answer) ? JSON.stringify(unpack(answer)) : JSON.stringify(answer), /INVALID_MESSAGE|LIMIT_EXCEEDED/)
      await peer.ended
    })
  }
}

test('unknown id: a stranger and a Talkwire peer that answer what nobody asked are cut, progress and credits for nothing are ignored', async () => {
  for (const open of [raw, hello]) {
    const peer = await open(victim.unix)
    peer.send({ jsonrpc: '2.0', method: '$/cancelRequest', params: { id: 99 } })
    peer.send({ jsonrpc: '2.0', method: '$/credit', params: { id: 99, bytes: 5 } })
    peer.send({ jsonrpc: '2.0', method: '$/progress', params: { token: 99, value: 5 } })
    peer.send({ jsonrpc: '2.0', method: '$/release', params: { refs: [[1, 1], [2], 'x'] } })
    peer.send({ jsonrpc: '2.0', method: '$/unknown', params: {} })
    peer.send({ jsonrpc: '2.0', method: '$/end', params: { id: 99 } })
    assert.equal((await peer.call('add', [1, 1], 50)).result, 2)
    peer.send({ jsonrpc: '2.0', id: 77, result: 1 })
    await peer.ended
  }
})

test('duplicate id: a stranger gets an error and goes on, a Talkwire peer is told and cut', async () => {
  const stranger = await raw(victim.unix)
  stranger.send({ jsonrpc: '2.0', id: 5, method: 'hang', params: ['first'] })
  assert.equal((await stranger.call('hang', ['second'], 5)).error.code, -32600)
  assert.equal((await stranger.call('add', [1, 1], 6)).result, 2)
  stranger.socket.destroy()
  const peer = await hello(victim.unix)
  peer.send({ jsonrpc: '2.0', id: 5, method: 'hang', params: ['first'] })
  assert.equal((await peer.call('hang', ['second'], 5))?.error.code, -32600)
  await peer.ended
  assert.ok(!victim.running.lines.includes('hang second'))
})

test('duplicate id: the same id twice in one batch, and a batch whose id is in flight', async () => {
  const peer = await raw(victim.unix)
  const add = '{"jsonrpc":"2.0","id":1,"method":"add","params":[1,2]}'
  peer.send(`[${add},${add},{"jsonrpc":"2.0","id":2,"method":"add","params":[1,1]}]`)
  const answers = [await peer.next(), await peer.next()].flat()
  assert.deepEqual(answers.map(({ result }) => result as number).sort(), [2, 3, 3])
  peer.send({ jsonrpc: '2.0', id: 9, method: 'hang', params: ['batch'] })
  peer.send('[{"jsonrpc":"2.0","id":9,"method":"add","params":[1,2]}]')
  const [refused] = [await peer.next()].flat()
  assert.equal(refused.error.code, -32600)
  peer.socket.destroy()
})

const deepJson = (depth: number): string =>
  `{"jsonrpc":"2.0","id":1,"method":"echo","params":${'['.repeat(depth - 1)}1${']'.repeat(depth - 1)}}`
const deepPack = (depth: number): Buffer =>
  Buffer.concat([Buffer.from([0x94, 0, 2, 0xa4]), Buffer.from('echo'), Buffer.alloc(depth - 1, 0x91), Buffer.from([1])])

for (const depth of [63, 64, 65, 1000, 1_000_000]) {
  test(`row 16: a value of depth ${depth} is ${depth <= 64 ? 'served' : 'refused, and the peer goes on'}, in JSON from a stranger and in both codecs from a Talkwire peer`, async () => {
    const stranger = await raw(victim.unix)
    stranger.send(deepJson(depth))
    const plain = await stranger.next()
    // A million brackets are too many values already, and are not parsed.
    const code = depth <= 64 ? undefined : depth < 1_000_000 ? -32007 : -32002
    assert.equal(plain.error?.code, code)
    assert.equal((await stranger.call('add', [1, 1], 5)).result, 2)
    stranger.socket.destroy()
    const json = await hello(victim.unix)
    json.send(deepJson(depth).replace('"id":1', '"id":2'))
    assert.equal((await json.next()).error?.code, code)
    assert.equal((await json.call('add', [1, 1], 5)).result, 2)
    json.socket.destroy()
    const packed = await hello(victim.unix, { codecs: ['msgpack'] })
    packed.send(deepPack(depth))
    assert.equal(unpack((await packed.next()) as Buffer)[2]?.code, depth <= 64 ? undefined : -32007)
    packed.send(pack([0, 5, 'add', [1, 1]]))
    assert.equal(unpack((await packed.next()) as Buffer)[3], 2)
    packed.socket.destroy()
  })
}

test('row 16: depth where nobody looks: in meta, in an error, in an envelope of the message, in an id', async () => {
  const deep = `${'['.repeat(100_000)}1${']'.repeat(100_000)}`
  for (const text of [
    `{"jsonrpc":"2.0","id":3,"method":"add","params":[1,1],"meta":${deep}}`,
    `{"jsonrpc":"2.0","id":3,"method":"add","params":[1,1],"meta":{"metadata":{"a":${deep}}}}`,
    `{"jsonrpc":"2.0","id":3,"error":${deep}}`,
    `{"jsonrpc":"2.0","id":${deep},"method":"add"}`,
    `{"jsonrpc":"2.0","id":3,"method":${deep}}`,
    `{"jsonrpc":"2.0","method":"$/item","params":${deep}}`,
    deep,
  ]) {
    const peer = await raw(victim.unix)
    peer.send(text)
    assert.ok((await peer.next())?.error ?? [], 'an error')
    peer.socket.destroy()
  }
  const extra = await raw(victim.unix)
  extra.send(`{"jsonrpc":"2.0","id":3,"method":"add","params":[1,1],"other":${deep}}`)
  assert.equal((await extra.next()).result, 2, 'a member that nobody reads')
  extra.socket.destroy()
})

const hellos: readonly (readonly [what: string, params: object])[] = [
  ['a maxMessage of 1', { maxMessage: 1 }],
  ['a maxMessage of 100', { maxMessage: 100 }],
  ['a window of 1', { window: 1 }],
  ['a heartbeat of 10¹², which no timer holds', { heartbeat: 1e12 }],
  ['a negative window', { window: -5 }],
  ['values of the wrong kind', { codecs: 5, attachments: 'x', window: {}, maxMessage: [], heartbeat: null, wire: 'new' }],
  ['an unknown codec', { codecs: ['constructor', '__proto__'] }],
]
for (const codec of ['json', 'msgpack']) {
  for (const [what, params] of hellos) {
    test(`bad input: hello with ${what} (${codec}): the service goes on, whatever it then has to answer`, async () => {
      const peer = await raw(victim.unix)
      await peer.call('rpc.hello', { wire: 1, codecs: [codec], contract: null, ...params }, 1)
      for (const [id, method, args] of [
        [2, 'later', ['x'.repeat(500)]],
        [3, 'echo', ['x'.repeat(500)]],
        [4, 'nothing', []],
        [5, 'fail', ['reject']],
        [6, 'failing', []],
        [7, 'big', [1000]],
      ] as const) {
        peer.send({ jsonrpc: '2.0', id, method, params: args })
      }
      peer.send({ jsonrpc: '2.0', method: '$/ping' })
      const other = await raw(victim.unix)
      for (let id = 1; id < 4; id++) assert.equal((await other.call('later', [id])).result, id)
      other.socket.destroy()
      peer.socket.destroy()
    })
  }
}

test('bad input: meta that is no meta, and timers that no timer holds', async () => {
  const peer = await hello(victim.unix)
  for (const meta of [
    5,
    'x',
    [],
    { timeout: -1 },
    { timeout: 'soon' },
    { credit: -1 },
    { credit: 1.5 },
    { input: 1 },
    { metadata: [] },
    { metadata: { a: 1 } },
  ]) {
    peer.send({ jsonrpc: '2.0', id: 2, method: 'add', params: [1, 1], meta })
    const { error, result } = await peer.next()
    assert.ok(Array.isArray(meta) ? result === 2 || error : error?.code === -32600, JSON.stringify(meta))
  }
  peer.send({ jsonrpc: '2.0', id: 3, method: 'later', params: [1], meta: { timeout: 1e300 } })
  assert.equal((await peer.next()).result, 1)
  peer.socket.destroy()
})

test('too large: one byte more than limits.message is answered with MESSAGE_TOO_LARGE and the end, in every framing; the largest is served', async () => {
  const limit = 4 * 1024 * 1024
  for (const framing of framings) {
    const head = '{"jsonrpc":"2.0","id":1,"method":"add","params":[1,2,"'
    const text = (length: number): string => `${head}${'x'.repeat(length - head.length - 3)}"]}`
    const good = await raw(victim.unix, framing)
    good.send(text(limit))
    assert.equal((await good.next()).result, 3)
    good.socket.destroy()
    const bad = await raw(victim.unix, framing)
    bad.send(text(limit + 1))
    const { error, id } = await bad.next()
    assert.deepEqual([error.code, error.data.code, id], [-32006, 'MESSAGE_TOO_LARGE', null])
    await bad.ended
  }
})

test('too large: our own client refuses to send it, and an answer that is too large is an error of that call alone', async () => {
  const client = await connect<{ measure(value: unknown): number; big(bytes: number): Uint8Array; add(a: number, b: number): number }>(
    victim.unix,
  )
  await assert.rejects(client.measure(new Uint8Array(5 * 1024 * 1024)), fails('MESSAGE_TOO_LARGE', 'not-sent'))
  await assert.rejects(client.big(5 * 1024 * 1024), fails('MESSAGE_TOO_LARGE', 'ran'))
  assert.equal(await client.add(1, 2), 3)
  await client.close()
})

test('truncated, killed mid-frame: 200 peers die inside a message, in every framing; nothing of them remains', async (t) => {
  const before = (await victim.health()).peers
  const toll = await staysHealthy(t, victim, async () => {
    const big = `{"jsonrpc":"2.0","id":1,"method":"add","params":[1,2,"${'x'.repeat(1024 * 1024)}"]}`
    for (let round = 0; round < 200; round++) {
      const peer = await raw(round % 2 ? victim.unix : victim.tcp)
      const bytes = frame(big, framings[round % 3])
      peer.socket.write(bytes.subarray(0, (round * 7919) % bytes.length))
      if (round % 3 === 0 && round % 2 === 0) peer.socket.resetAndDestroy()
      else if (round % 3 === 1) peer.socket.end()
      peer.socket.destroy()
    }
    // The honest client is one more.
    await eventually('the dead are gone', async () => (await victim.health()).peers <= before + 1)
  })
  assert.ok(toll.descriptors[1] <= toll.descriptors[0], `descriptors ${toll.descriptors.join(' -> ')}`)
})

test('bad input: a service that answers nonsense: the client rejects with a typed error and does not hang', async () => {
  const answers: readonly (readonly [string, (hello: any) => (string | Uint8Array)[], RegExp])[] = [
    ['nothing but the end', () => [], /CONNECTION_(LOST|CLOSED)/],
    ['not JSON', () => ['{'], /DEADLINE_EXCEEDED/],
    ['another id', () => ['{"jsonrpc":"2.0","id":99,"result":{}}'], /CONNECTION_LOST/],
    [
      'a hello of the wrong kind',
      ({ id }) => [`{"jsonrpc":"2.0","id":${id},"result":5}`, '{"jsonrpc":"2.0","id":2,"result":{"__proto__":1}}'],
      /FORBIDDEN_KEY/,
    ],
    [
      'a polluting result',
      ({ id }) => [
        `{"jsonrpc":"2.0","id":${id},"result":{"codec":"json","window":-1,"maxMessage":"x","heartbeat":{},"streams":[5,{}]}}`,
        '{"jsonrpc":"2.0","id":2,"result":{"a":{"__proto__":1}}}',
      ],
      /FORBIDDEN_KEY/,
    ],
    [
      'a thenable result',
      ({ id }) => [`{"jsonrpc":"2.0","id":${id},"result":{}}`, '{"jsonrpc":"2.0","id":2,"result":{"then":{"$ref":[1]}}}'],
      /FORBIDDEN_KEY/,
    ],
    [
      'a result that is too deep',
      ({ id }) => [`{"jsonrpc":"2.0","id":${id},"result":{}}`, `{"jsonrpc":"2.0","id":2,"result":${'['.repeat(1e5)}${']'.repeat(1e5)}}`],
      /TOO_DEEP/,
    ],
    [
      'an error that is none',
      ({ id }) => [`{"jsonrpc":"2.0","id":${id},"result":{}}`, '{"jsonrpc":"2.0","id":2,"error":[[[]]]}'],
      /UNKNOWN/,
    ],
    [
      'a frame of 2 GiB',
      ({ id }) => [`{"jsonrpc":"2.0","id":${id},"result":{}}`, Buffer.from([0x80, 0, 0, 0])],
      /CONNECTION_LOST|MESSAGE_TOO_LARGE/,
    ],
  ]
  for (const [what, respond, expected] of answers) {
    const path = freshPath('.sock')
    const server = net.createServer((socket) => {
      const peer = peerOn(socket, 'length')
      void (async () => {
        const [first, ...rest] = respond(await peer.next())
        if (first === undefined) return socket.destroy()
        peer.send(first)
        await peer.next()
        for (const each of rest)
          if (typeof each === 'string') peer.send(each)
          else socket.write(each)
      })()
    })
    await new Promise<void>((resolve) => server.listen(path, resolve))
    const error: unknown = await (async () => {
      const client = await connect<{ ask(): unknown }>(`unix:${path}`, { reconnect: false, limits: { handshake: 500 } })
      try {
        return await client.ask()
      } finally {
        server.close()
        void client.close()
      }
    })().catch((reason: unknown) => reason)
    server.close()
    assert.ok(error instanceof TalkwireError, `${what}: ${String(error)}`)
    assert.match(error.message, expected, what)
  }
  assert.equal(({} as { polluted?: number }).polluted, undefined)
})

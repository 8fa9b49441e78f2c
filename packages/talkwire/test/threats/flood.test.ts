/** Rows 14, 15, 17: batch bombs, storms of tiny frames, lengths that nothing follows; and peers that ask and never read. */
import assert from 'node:assert/strict'
import { afterEach, beforeEach, test } from 'node:test'
import {
  frame,
  framings,
  hello,
  memoryOf,
  pack,
  pause,
  raw,
  staysHealthy,
  startVictim,
  u32,
  until,
  type Framing,
  type Raw,
  type Victim,
  unpack,
} from './attack.js'

let victim: Victim
beforeEach(async () => {
  victim = await startVictim()
})
afterEach(() => victim.end())

const entry = '{"jsonrpc":"2.0","id":1,"method":"add","params":[1,2]}'

/** Writes all of it, as fast as the victim takes it, or until it is cut off. */
async function pour({ socket }: Raw, bytes: Buffer): Promise<void> {
  if (socket.write(bytes)) return
  await new Promise<void>((resolve) => socket.once('drain', resolve).once('close', resolve))
}

test('row 14: a batch of 1e6 entries (20 MB) gets one error, and the others are served', async (t) => {
  await staysHealthy(t, victim, async () => {
    for (const text of [`[${'{"jsonrpc":"2.0"},'.repeat(999_999)}{}]`, `[${'1,'.repeat(9_999_999)}1]`]) {
      const peer = await raw(victim.unix)
      await pour(peer, frame(text))
      const { error, id } = await peer.next()
      assert.deepEqual([error.code, id], [-32002, null])
      peer.socket.destroy()
    }
  })
})

test('row 14: batches in batches, and 1000 batches of 100 in one write', async (t) => {
  await staysHealthy(t, victim, async () => {
    const peer = await raw(victim.unix)
    const batch = `[${`${entry},`.repeat(99)}${entry}]`
    await pour(peer, Buffer.concat(Array.from({ length: 1000 }, () => frame(batch))))
    for (let answers = 0; answers < 100_000;) {
      const answer = await peer.next()
      assert.ok(answer !== undefined, 'cut')
      answers += Array.isArray(answer) ? answer.length : 1
    }
    peer.socket.destroy()
    const nested = await raw(victim.tcp)
    nested.send(`[[${entry}],[[${entry}]],${entry}]`)
    const answer = (await nested.next()) as { error?: { code: number }; result?: number }[]
    assert.deepEqual(answer.map(({ error, result }) => error?.code ?? result).sort(), [-32600, -32600, 3])
    nested.socket.destroy()
  })
})

test('row 14: 1e5 notifications, to a method, to nothing, and to one that throws', async (t) => {
  const toll = await staysHealthy(t, victim, async () => {
    for (const method of ['add', 'nothing', 'fail']) {
      const peer = await raw(victim.unix)
      await pour(peer, Buffer.concat(Array.from({ length: 100_000 }, () => frame(`{"jsonrpc":"2.0","method":"${method}","params":[1,2]}`))))
      assert.equal((await peer.call('add', [1, 2]))?.result, 3)
      peer.socket.destroy()
    }
  })
  assert.ok(toll.health.handled >= 100_000)
})

for (const framing of framings) {
  for (const [what, size] of [
    ['100 KB', 100_000],
    ['10 MB', 10_000_000],
  ] as const) {
    test(`row 15: ${what} of tiny frames in one write, ${framing} framing: the sender is cut after 100 errors`, async (t) => {
      await staysHealthy(t, victim, async () => {
        for (const payload of ['{}', '[]', '1']) {
          const one = frame(payload, framing)
          const peer = await raw(victim[framing === 'header' ? 'tcp' : 'unix'], framing === 'line' && payload === '1' ? 'line' : framing)
          if (framing === 'line') peer.socket.write(frame(entry, 'line'))
          await pour(peer, Buffer.alloc(Math.ceil(size / one.length) * one.length, one))
          await peer.ended
          const errors =
            peer
              .received()
              .toString('latin1')
              .match(/"error"/g)?.length ?? 0
          assert.ok(errors >= 1 && errors <= 102, `${errors} errors`)
        }
      })
      await until('all three are counted', async () => (await victim.health()).ends['CONNECTION_LOST']! >= 3)
    })
  }
}

test('row 15: 10 MB of tiny valid frames in one write: all are served, nobody else waits', async (t) => {
  await staysHealthy(t, victim, async () => {
    const peer = await hello(victim.unix, { codecs: ['msgpack'] })
    const ping = frame(pack([2, '$/x']))
    await pour(peer, Buffer.alloc(Math.ceil(10_000_000 / ping.length) * ping.length, ping))
    peer.send(pack([0, 2, 'add', [1, 2]]))
    assert.ok(await peer.next())
    peer.socket.destroy()
  })
})

const announced: Record<Framing, (bytes: number) => Buffer> = {
  length: u32,
  header: (bytes) => Buffer.from(`Content-Length: ${bytes}\r\n\r\n`),
  line: () => Buffer.from('{'),
}

for (const framing of framings) {
  test(`row 17: ${framing} framing: 2 GiB announced is refused at once; 1000 connections that announce the largest message cost no memory`, async (t) => {
    if (framing !== 'line') {
      const peer = await raw(victim.unix, framing)
      // A first length frame is below 2^27, or the first byte would be no length.
      if (framing === 'length') assert.equal((await peer.call('add', [1, 2])).result, 3)
      peer.socket.write(announced[framing](2 ** 31))
      assert.equal((await peer.next()).error.data.code, 'MESSAGE_TOO_LARGE')
      await peer.ended
    }
    await pause(100)
    const peers: Raw[] = []
    for (let i = 0; i < 1000; i++) {
      const peer = await raw(victim.unix, framing)
      // Each has spoken, at once since there is a time for that, so that its connection is as large as any.
      assert.equal((await peer.call('add', [1, 2])).result, 3)
      peers.push(peer)
    }
    const before = memoryOf(victim.pid)
    for (const peer of peers) peer.socket.write(announced[framing](67_108_864 - 1))
    assert.equal((await victim.health()).peers, 1000)
    await pause(300)
    const growth = memoryOf(victim.pid) - before
    t.diagnostic(`${growth.toFixed(1)} MiB for 1000 connections`)
    assert.ok(growth < 16, `${growth} MiB for 1000 announced messages`)
    for (const { socket } of peers) socket.destroy()
    await until('the peers are gone', async () => (await victim.health()).peers === 0)
  })
}

test('16 MiB of tiny values fail their call before they are parsed, in both codecs, and the others are served', async (t) => {
  const MESSAGE = 16 * 1024 * 1024
  const json = (one: string): Buffer =>
    frame(`{"jsonrpc":"2.0","id":2,"method":"measure","params":[[${one.repeat(Math.floor(MESSAGE / one.length) - 100)}1]]}`)
  const head = Buffer.concat([Buffer.from([0x94, 0, 2, 0xa7]), Buffer.from('measure'), Buffer.from([0x91])])
  const packed = (one: readonly number[], tag: number): Buffer => {
    const count = Math.floor((MESSAGE - 100) / one.length)
    return frame(Buffer.concat([head, Buffer.from([tag]), u32(count), Buffer.alloc(count * one.length, Buffer.from(one))]))
  }
  const { memory } = await staysHealthy(t, victim, async () => {
    for (const one of ['[],', '1,', '{"a":1},', '"",']) {
      const plain = await raw(victim.unix)
      await pour(plain, json(one))
      const { error, id } = await plain.next()
      assert.deepEqual([error.code, id], [-32002, 2], one)
      assert.equal((await plain.call('add', [1, 1], 5)).result, 2)
      plain.socket.destroy()
    }
    // Empty arrays, nil, and a map of them.
    for (const [one, tag] of [
      [[0x90], 0xdd],
      [[0xc0], 0xdd],
      [[0xa1, 0x61, 0x90], 0xdf],
    ] as const) {
      const peer = await hello(victim.tcp, { codecs: ['msgpack'] })
      await pour(peer, packed(one, tag))
      const answer = unpack((await peer.next()) as Buffer)
      assert.deepEqual([answer[1], answer[2].code], [2, -32002], String(one))
      peer.send(pack([0, 3, 'add', [1, 1]]))
      assert.equal(unpack((await peer.next()) as Buffer)[3], 2)
      peer.socket.destroy()
    }
  })
  t.diagnostic(`memory ${memory.join(' -> ')} MiB`)
})

test('a peer that asks and never reads: held at the limit, cut after 10 s, counted; memory is back', async (t) => {
  const { memory, health } = await staysHealthy(t, victim, async () => {
    const greedy: Raw[] = []
    for (const [address, open] of [
      [victim.unix, raw],
      [victim.tcp, hello],
    ] as const) {
      const peer = await open(address)
      peer.socket.pause()
      const all = Array.from({ length: 5000 }, (_, id) =>
        frame(`{"jsonrpc":"2.0","id":${id + 10},"method":"echo","params":["${'x'.repeat(10_000)}"]}`),
      )
      peer.socket.write(Buffer.concat(all))
      greedy.push(peer)
    }
    await until('both are cut', async () => (await victim.health()).peers <= 1, 15_000)
    for (const { socket } of greedy) socket.destroy()
  })
  assert.ok(memory[1] - memory[0] < 200, `at most ${memory.join(', ')} MiB`)
  assert.equal(health.ends['LIMIT_EXCEEDED'], 2, JSON.stringify(health.ends))
})

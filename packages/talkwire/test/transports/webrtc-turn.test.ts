/** Data channels with a real STUN and TURN server, coturn. */
import assert from 'node:assert/strict'
import dgram from 'node:dgram'
import { once } from 'node:events'
import { test } from 'node:test'
import { connect, serve, signalling } from '../../src/index.js'
import type { Signal } from '../../src/transports/webrtc-signals.js'
import { fails } from '../helpers/expect.js'
import { freshPort, ownHost } from '../helpers/loopback.js'
import { freshName } from '../helpers/place.js'
import { startTurn } from '../helpers/turn.js'

const turn = await startTurn()
const { by } = turn

test('webrtc: through a TURN server alone', async () => {
  const functions = { add: (a: number, b: number) => a + b, size: (bytes: Uint8Array) => bytes.length }
  await using service = await serve('calc', functions, { listen: `webrtc:tcp://${ownHost}:${freshPort()}`, rtc: by('secret') })
  await using client = await connect<typeof functions>(service.addresses[0]!, { rtc: by('secret'), reconnect: false })
  assert.equal(await client.add(2, 5), 7)
  assert.equal(await client.size(new Uint8Array(1_000_000)), 1_000_000)
  assert.equal(turn.relays(), 2)
})

test('webrtc: a TURN server that does not know us is told at once, whoever of the two it is', async () => {
  const functions = { add: (a: number, b: number) => a + b }
  for (const [served, called] of [
    ['secret', 'wrong'],
    ['wrong', 'secret'],
  ] as const) {
    await using service = await serve('calc', functions, { listen: `webrtc:tcp://${ownHost}:${freshPort()}`, rtc: by(served) })
    await assert.rejects(connect(service.addresses[0]!, { rtc: by(called), reconnect: false }), (error) => {
      assert.match(String(error), /no TURN server of iceServers gave a relay/)
      return fails('PEER_NOT_FOUND')(error)
    })
  }
})

// ── STUN ─────────────────────────────────────────────────────────────────────────────────────────

/** What stands between a private network and the server: each who asks has another address there. */
async function openNat() {
  const inner = dgram.createSocket('udp4').bind(freshPort(), ownHost)
  await once(inner, 'listening')
  const outer = new Map<number, dgram.Socket>()
  inner.on('message', (bytes, { address, port }) => {
    const known = outer.get(port)
    if (known) return known.send(bytes, turn.port, turn.host)
    const opened = dgram.createSocket('udp4').bind(freshPort(), ownHost)
    outer.set(port, opened)
    opened.on('message', (back) => inner.send(back, port, address))
    opened.send(bytes, turn.port, turn.host)
  })
  return {
    url: `stun:${ownHost}:${inner.address().port}`,
    /** Where those who asked are seen. */
    seen: (): string[] => Array.from(outer.values(), (each) => `${each.address().address} ${each.address().port}`),
    [Symbol.dispose]() {
      for (const each of [inner, ...outer.values()]) each.close()
    },
  }
}

test('webrtc: each side asks a STUN server behind a NAT, and tells the other where it is seen from there', async () => {
  using nat = await openNat()
  const rtc = { iceServers: [{ urls: nat.url }], bindAddress: '127.0.0.1' }
  const functions = { add: (a: number, b: number) => a + b }
  const [behind, relay] = [freshName(), freshName()]
  const told = { offer: new Set<string>(), answer: new Set<string>() }
  let look = (): void => {}
  const reflexive = (by: 'offer' | 'answer', signal: Signal): void => {
    const [, place] = ('candidate' in signal && / ([\d.]+ \d+) typ srflx/.exec(signal.candidate)) || []
    if (place !== undefined) told[by].add(place)
    look()
  }
  async function* watched(by: 'offer' | 'answer', signals: AsyncIterable<Signal>): AsyncGenerator<Signal> {
    for await (const each of signals) {
      reflexive(by, each)
      yield each
    }
  }
  await using _service = await serve('calc', functions, { listen: `webrtc:memory:${behind}`, rtc })
  await using there = await connect(signalling, `memory:${behind}`)
  await using passing = await serve(
    signalling,
    { meet: (signals, { signal }) => watched('answer', there.meet(watched('offer', signals), { signal })) },
    { listen: `memory:${relay}` },
  )
  await using by = await connect(signalling, passing.addresses[0]!)
  await using client = await connect<typeof functions>('webrtc:', { signalling: by, rtc, reconnect: false })
  assert.equal(await client.add(2, 5), 7)
  // A way that was found sooner than the server answered does not keep it from being told.
  await new Promise<void>((resolve) => {
    look = () => told.offer.size > 0 && told.answer.size > 0 && resolve()
    look()
  })
  assert.deepEqual([...told.offer, ...told.answer].sort(), nat.seen().sort())
})

/** Data channels through a real TURN server, coturn, and by no other way. */
import assert from 'node:assert/strict'
import dgram from 'node:dgram'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { connect, serve } from '../../src/index.js'
import { startBroker } from '../helpers/broker.js'
import { fails } from '../helpers/expect.js'
import { freshPort, ownHost } from '../helpers/loopback.js'

/** STUN's binding request, which asks for nothing: RFC 8489 § 5. */
const BINDING = Buffer.from('000100002112a442000102030405060708090a0b', 'hex')

const turn = await startBroker({
  command: (host, port, folder) => {
    const plain =
      '-n --no-tls --no-dtls --no-cli --allow-loopback-peers --lt-cred-mech --simple-log --verbose --realm talkwire --user ada:secret'
    const places = `--listening-ip ${host} --relay-ip ${host} --listening-port ${port}`
    const files = ['--userdb', path.join(folder, 'users'), '--pidfile', path.join(folder, 'pid'), '--log-file', path.join(folder, 'log')]
    return ['turnserver', ...`${plain} ${places}`.split(' '), ...files]
  },
  answers: (host, port) =>
    new Promise<void>((resolve, reject) => {
      const socket = dgram.createSocket('udp4')
      const timer = setTimeout(() => socket.close(() => reject(new Error('no answer'))), 200)
      socket.once('message', () => {
        clearTimeout(timer)
        socket.close(() => resolve())
      })
      socket.send(BINDING, port, host)
    }),
})
const by = (credential: string) => ({
  iceServers: [{ urls: `turn:${turn.host}:${turn.port}`, username: 'ada', credential }],
  iceTransportPolicy: 'relay' as const,
})
const relays = (): number =>
  readFileSync(path.join(turn.folder, 'log'), 'utf8').split('user <ada>: incoming packet ALLOCATE processed, success').length - 1

test('webrtc: through a TURN server alone', async () => {
  const functions = { add: (a: number, b: number) => a + b, size: (bytes: Uint8Array) => bytes.length }
  await using service = await serve('calc', functions, { listen: `webrtc:tcp://${ownHost}:${freshPort()}`, rtc: by('secret') })
  await using client = await connect<typeof functions>(service.addresses[0]!, { rtc: by('secret'), reconnect: false })
  assert.equal(await client.add(2, 5), 7)
  assert.equal(await client.size(new Uint8Array(1_000_000)), 1_000_000)
  assert.equal(relays(), 2)
})

test('webrtc: a TURN server that does not know us is told at once, whoever of the two it is', async () => {
  const functions = { add: (a: number, b: number) => a + b }
  for (const [served, called] of [
    ['secret', 'wrong'],
    ['wrong', 'secret'],
  ] as const) {
    await using service = await serve('calc', functions, { listen: `webrtc:tcp://${ownHost}:${freshPort()}`, rtc: by(served) })
    await assert.rejects(connect(service.addresses[0]!, { rtc: by(called), reconnect: false }), (error) => {
      assert.match(String(error), /no TURN server of rtc\.iceServers gave a relay/)
      return fails('PEER_NOT_FOUND')(error)
    })
  }
})

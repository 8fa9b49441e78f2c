/** coturn, a real STUN and TURN server. */
import dgram from 'node:dgram'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { startBroker, type Broker } from './broker.js'

/** STUN's binding request, which asks for nothing: RFC 8489 § 5. */
const BINDING = Buffer.from('000100002112a442000102030405060708090a0b', 'hex')

const command = (host: string, port: number, folder: string): [string, ...string[]] => {
  const plain =
    '-n --no-tls --no-dtls --no-cli --allow-loopback-peers --lt-cred-mech --simple-log --verbose --realm talkwire --user ada:secret'
  const places = `--listening-ip ${host} --relay-ip ${host} --listening-port ${port}`
  const files = ['--userdb', path.join(folder, 'users'), '--pidfile', path.join(folder, 'pid'), '--log-file', path.join(folder, 'log')]
  return ['turnserver', ...`${plain} ${places}`.split(' '), ...files]
}

const answers = (host: string, port: number): Promise<void> =>
  new Promise((resolve, reject) => {
    const socket = dgram.createSocket('udp4')
    const timer = setTimeout(() => socket.close(() => reject(new Error('no answer'))), 200)
    socket.once('message', () => {
      clearTimeout(timer)
      socket.close(() => resolve())
    })
    socket.send(BINDING, port, host)
  })

export interface Turn extends Broker {
  /** Options for who goes through it alone; the credential is "secret". */
  by(credential: string): { iceServers: { urls: string; username: string; credential: string }[]; iceTransportPolicy: 'relay' }
  /** How many it has given. */
  relays(): number
}

export async function startTurn(): Promise<Turn> {
  const broker = await startBroker({ command, answers })
  const { host, port, folder } = broker
  return {
    ...broker,
    by: (credential) => ({ iceServers: [{ urls: `turn:${host}:${port}`, username: 'ada', credential }], iceTransportPolicy: 'relay' }),
    relays: () =>
      readFileSync(path.join(folder, 'log'), 'utf8').split('user <ada>: incoming packet ALLOCATE processed, success').length - 1,
  }
}

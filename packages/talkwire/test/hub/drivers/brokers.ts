/** How each broker of the tests is started: everything on disk at once, as far as it can. */
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { asks, type BrokerPlan } from '../../helpers/broker.js'

export const REDIS: BrokerPlan = {
  command: (host, port, folder) => [
    'redis-server',
    '--bind',
    host,
    '--port',
    String(port),
    '--dir',
    folder,
    '--save',
    '',
    '--appendonly',
    'yes',
    '--appendfsync',
    'always',
  ],
  answers: (host, port) => asks(host, port, 'PING\r\n', '+PONG'),
}

export const NATS: BrokerPlan = {
  command: (host, port, folder) => ['nats-server', '-a', host, '-p', String(port), '-js', '-sd', folder],
  answers: (host, port) => asks(host, port, 'CONNECT {"verbose":false}\r\nPING\r\n', 'PONG'),
}

/** A CONNECT of 3.1.1 without a name, and its CONNACK. */
const HELLO = '\x10\x0c\0\x04MQTT\x04\x02\0\x0a\0\0'
const WELCOME = ' \x02\0\0'

export const MOSQUITTO: BrokerPlan = {
  command(host, port, folder) {
    const config = path.join(folder, 'mosquitto.conf')
    writeFileSync(config, `listener ${port} ${host}\nallow_anonymous true\n`)
    return ['mosquitto', '-c', config]
  },
  answers: (host, port) => asks(host, port, HELLO, WELCOME),
}

/** How each broker of the tests is started: everything on disk at once, as far as it can. */
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

/**
 * A connection to an engine in one process; what an engine does not have it leaves out. Bodies are 64 bytes, not copied.
 * @typedef {object} End
 * @property {() => Promise<void>} [listen] where the publisher itself is what subscribers connect to
 * @property {(count: number) => Promise<void>} [joined] there, where subscribing does not tell: resolves when so many have subscribed
 * @property {(body: Uint8Array) => unknown} [publish] a promise where the engine says that it has it
 * @property {() => Promise<unknown>} [settled] what was published has left this process
 * @property {(take: (body: Uint8Array) => void) => Promise<unknown>} [subscribe]
 * @property {(body: Uint8Array) => Promise<unknown>} [push] resolves when it is as safe as the engine makes it
 * @property {(bodies: Uint8Array[]) => Promise<unknown>} [pushAll]
 * @property {(take: (body: Uint8Array) => void) => Promise<void>} [work] takes and acknowledges, 256 at a time
 * @property {(key: string, value: Uint8Array) => Promise<unknown>} [set]
 * @property {(key: string) => Promise<unknown>} [get]
 * @property {() => Promise<void>} [turn] a lock, taken and given back
 * @property {() => Promise<unknown>} close
 */

/**
 * `module` is the file that opens it, `broker` the program it needs. `pair`: the bare client that a driver is compared with. `wish`: stands
 * behind the address.
 * @type {Record<string, { what: string, module: string, broker?: 'hub' | 'redis' | 'nats' | 'rabbitmq', cases: string[], pair?: string, wish?: string }>}
 */
export const engines = {
  talkwire: { what: 'Talkwire, embedded', module: 'talkwire', broker: 'hub', cases: ['fan', 'queue', 'state', 'lease'] },
  redis: { what: 'Redis, @redis/client', module: 'redis', broker: 'redis', cases: ['fan', 'queue', 'state', 'lease'] },
  nats: { what: 'NATS, @nats-io', module: 'nats', broker: 'nats', cases: ['fan', 'queue'] },
  rabbitmq: { what: 'RabbitMQ quorum queue, amqplib', module: 'rabbitmq', broker: 'rabbitmq', cases: ['queue'] },
  'rabbitmq-classic': {
    what: 'RabbitMQ priority queue, amqplib',
    module: 'rabbitmq',
    broker: 'rabbitmq',
    cases: ['queue'],
    wish: '?kind=classic',
  },
  zeromq: { what: 'zeromq.js, ipc', module: 'zeromq', cases: ['fan'] },
  sockets: { what: 'Unix sockets by hand', module: 'sockets', cases: ['fan'] },
  'nats-named': {
    what: 'NATS, a subject of 18 bytes',
    module: 'nats',
    broker: 'nats',
    cases: ['fan'],
    wish: '?subject=beside_1.bench.fan',
  },
  'talkwire-redis': {
    what: 'Talkwire on Redis',
    module: 'talkwire',
    broker: 'redis',
    cases: ['fan', 'queue', 'state', 'lease'],
    pair: 'redis',
  },
  'talkwire-nats': { what: 'Talkwire on NATS', module: 'talkwire', broker: 'nats', cases: ['fan', 'queue'], pair: 'nats' },
  'talkwire-nats-core': {
    what: 'Talkwire on NATS, topics=core',
    module: 'talkwire',
    broker: 'nats',
    cases: ['fan'],
    pair: 'nats-named',
    wish: '?topics=core',
  },
  'talkwire-rabbitmq': {
    what: 'Talkwire on RabbitMQ',
    module: 'talkwire',
    broker: 'rabbitmq',
    cases: ['queue'],
    pair: 'rabbitmq-classic',
  },
}

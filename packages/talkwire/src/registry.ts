/** Every way processes talk: from an address's scheme to its transport, or to a protocol of its own, loaded when it is first used. */
import { TalkwireError } from './error.js'
import type { Dialect } from './protocols/dialect.js'
import type { Transport } from './transports/transport.js'

type Adapter = Transport<any> | Dialect
type Load = () => Promise<Adapter>

export const registry: Readonly<Record<string, Load>> = {
  memory: async () => (await import('./transports/memory.js')).memory,
  unix: async () => (await import('./transports/unix.js')).unix,
  shm: async () => (await import('./transports/shm.js')).shm,
  mmap: async () => (await import('./transports/mmap.js')).mmap,
  tcp: async () => (await import('./transports/tcp.js')).tcp,
  udp: async () => (await import('./transports/udp.js')).udp,
  tls: async () => (await import('./transports/tls.js')).tlsTransport,
  ws: async () => (await import('./transports/ws.js')).ws,
  wss: async () => (await import('./transports/ws.js')).wss,
  webrtc: async () => (await import('./transports/webrtc.js')).webrtc,
  fork: async () => (await import('./transports/fork.js')).fork,
  ipc: async () => (await import('./transports/ipc.js')).ipc,
  fifo: async () => (await import('./transports/fifo.js')).fifo,
  file: async () => (await import('./transports/file.js')).file,
  mq: async () => (await import('./transports/mq.js')).mq,
  sysv: async () => (await import('./transports/sysv.js')).sysv,
  worker: async () => (await import('./transports/worker.js')).worker,
  stdio: async () => (await import('./transports/stdio.js')).stdio,
  spawn: async () => (await import('./transports/spawn.js')).spawn,
  'spawn+stdio': async () => (await import('./transports/spawn.js')).spawnStdio,
  http: async () => (await import('./protocols/http.js')).http,
  https: async () => (await import('./protocols/http.js')).https,
  'xmlrpc+http': async () => (await import('./protocols/xmlrpc.js')).xmlrpc,
  'xmlrpc+https': async () => (await import('./protocols/xmlrpc.js')).xmlrpcs,
  mcp: async () => (await import('./protocols/mcp.js')).mcp,
  'mcp+spawn': async () => (await import('./protocols/mcp.js')).mcpSpawn,
  'mcp+http': async () => (await import('./protocols/mcp.js')).mcpHttp,
  'mcp+https': async () => (await import('./protocols/mcp.js')).mcpHttps,
  pymp: async () => (await import('./protocols/pymp.js')).pymp,
  dbus: async () => (await import('./protocols/dbus.js')).dbus,
  'thrift+tcp': async () => (await import('./protocols/thrift.js')).thrift,
  'thrift+unix': async () => (await import('./protocols/thrift.js')).thriftUnix,
  'thrift+http': async () => (await import('./protocols/thrift.js')).thriftHttp,
  'thrift+https': async () => (await import('./protocols/thrift.js')).thriftHttps,
  'dbus+unix': async () => (await import('./protocols/dbus.js')).dbusPeer,
  grpc: async () => (await import('./protocols/grpc.js')).grpc,
  grpcs: async () => (await import('./protocols/grpc.js')).grpcs,
  'grpc+unix': async () => (await import('./protocols/grpc.js')).grpcUnix,
  'connect+http': async () => (await import('./protocols/connectrpc.js')).connectHttp,
  'connect+https': async () => (await import('./protocols/connectrpc.js')).connectHttps,
  'connect+h2c': async () => (await import('./protocols/connectrpc.js')).connectH2c,
  'grpcweb+http': async () => (await import('./protocols/connectrpc.js')).webHttp,
  'grpcweb+https': async () => (await import('./protocols/connectrpc.js')).webHttps,
  'soap+http': async () => (await import('./protocols/soap.js')).soap,
  'soap+https': async () => (await import('./protocols/soap.js')).soaps,
  nodeipc: async () => (await import('./protocols/nodeipc.js')).nodeipc,
  varlink: async () => (await import('./protocols/varlink.js')).varlink,
  'varlink+stdio': async () => (await import('./protocols/varlink.js')).varlinkStdio,
  'varlink+spawn': async () => (await import('./protocols/varlink.js')).varlinkSpawn,
  'graphql+http': async () => (await import('./protocols/graphql.js')).graphql,
  'graphql+https': async () => (await import('./protocols/graphql.js')).graphqls,
  amqp: async () => (await import('./protocols/broker.js')).amqp,
  amqps: async () => (await import('./protocols/broker.js')).amqps,
  amqp1: async () => (await import('./protocols/broker.js')).amqp1,
  amqp1s: async () => (await import('./protocols/broker.js')).amqp1s,
  kafka: async () => (await import('./protocols/broker.js')).kafka,
  kafkas: async () => (await import('./protocols/broker.js')).kafkas,
  nats: async () => (await import('./protocols/broker.js')).nats,
  mqtt: async () => (await import('./protocols/broker.js')).mqtt,
  mqtts: async () => (await import('./protocols/broker.js')).mqtts,
  redis: async () => (await import('./protocols/broker.js')).redis,
  rediss: async () => (await import('./protocols/broker.js')).rediss,
  stomp: async () => (await import('./protocols/broker.js')).stomp,
  stomps: async () => (await import('./protocols/broker.js')).stomps,
}

/**
 * Protocols that answer beside others on one listener of bytes, by their names in `protocols` of serve: their schemes on each kind of
 * listener. On a Unix socket HTTP has no scheme, and is answered all the same.
 */
export const shareable: Readonly<Record<string, Readonly<Partial<Record<'tcp' | 'tls' | 'unix', string>>>>> = {
  http: { tcp: 'http', tls: 'https' },
  xmlrpc: { tcp: 'xmlrpc+http', tls: 'xmlrpc+https' },
  soap: { tcp: 'soap+http', tls: 'soap+https' },
  mcp: { tcp: 'mcp+http', tls: 'mcp+https' },
  grpc: { tcp: 'grpc', tls: 'grpcs', unix: 'grpc+unix' },
  graphql: { tcp: 'graphql+http', tls: 'graphql+https' },
  thrift: { tcp: 'thrift+tcp', unix: 'thrift+unix' },
  varlink: { tcp: 'varlink', unix: 'varlink' },
  dbus: { unix: 'dbus+unix' },
}

const ONLY_QUEUES = 'has queues and no topics, so nobody can ask all instances of a service who is there'
const NO_BROKER = 'is no broker that stands between'
const DATABASE = 'is a database, which does not hand on requests'
/** What a hub takes, and calls do not: why. */
const NO_CALLS: Readonly<Record<string, string>> = {
  beanstalk: ONLY_QUEUES,
  'sqs+http': ONLY_QUEUES,
  'sqs+https': ONLY_QUEUES,
  'zmq+ipc': NO_BROKER,
  'zmq+tcp': NO_BROKER,
  couchdb: DATABASE,
  couchdbs: DATABASE,
  mongodb: DATABASE,
  'mongodb+srv': DATABASE,
  hub: 'finds services by their names: connect(name, { hub })',
}

/** Throws INVALID_ADDRESS for a scheme that nobody serves, UNSUPPORTED for one that is only a hub's. */
export async function adapterFor(scheme: string): Promise<Adapter> {
  const load = Object.hasOwn(registry, scheme) ? registry[scheme] : undefined
  if (load) return load()
  if (Object.hasOwn(NO_CALLS, scheme))
    throw new TalkwireError('UNSUPPORTED', `"${scheme}:" is for openHub() and carries no calls: it ${NO_CALLS[scheme]}`)
  const { suggestion } = await import('./suggest.js')
  const schemes = Object.keys(registry).map((each) => `${each}:`)
  const host = /^localhost$/.test(scheme) ? '; for a host and its port write tcp://host:port' : ''
  throw new TalkwireError('INVALID_ADDRESS', `"${scheme}:" is no known address${host || suggestion(`${scheme}:`, schemes, Infinity)}`)
}

/** Throws INVALID_ADDRESS, also for a protocol of its own. */
export async function transportFor(scheme: string): Promise<Transport<any>> {
  const adapter = await adapterFor(scheme)
  if (!isDialect(adapter)) return adapter
  throw new TalkwireError('INVALID_ADDRESS', `"${scheme}:" carries calls of its own, not messages`)
}

export const isDialect = (adapter: Adapter): adapter is Dialect => 'speaks' in adapter

/** How each broker of the tests is started: everything on disk at once, as far as it can. */
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import path, { join } from 'node:path'
import { after } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Waiting } from '../../../compliance/hub-kit.js'
import { asks, type Broker, type BrokerPlan } from '../../helpers/broker.js'
import { startEpmd } from '../../helpers/epmd.js'
import { freshPort } from '../../helpers/loopback.js'
import { authority, server } from './certificates.js'

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

const natsAt = (program: string): BrokerPlan => ({
  command: (host, port, folder) => [program, '-a', host, '-p', String(port), '-js', '-sd', folder],
  answers: (host, port) => asks(host, port, 'CONNECT {"verbose":false}\r\nPING\r\n', 'PONG'),
})

/** Debian's, 2.9. */
export const NATS = natsAt('nats-server')
/** PyPI's, beside the interpreter of the tests: clients/python/requirements-dev.txt has its version. */
export const NATS_NOW = natsAt(join(path.dirname(process.env['TALKWIRE_PYTHON'] ?? 'python3'), 'nats-server'))

/** Over TLS only, with whoever shows a certificate of ours. */
export const NATS_TLS: BrokerPlan = {
  command(host, port, folder) {
    const [ca, cert, key] = Object.entries({ 'ca.pem': authority.cert, 'cert.pem': server.cert, 'key.pem': server.key }).map(
      ([name, text]) => {
        const path = join(folder, name)
        writeFileSync(path, text)
        return path
      },
    )
    return [...NATS.command(host, port, folder), '--tlsverify', '--tlscacert', ca!, '--tlscert', cert!, '--tlskey', key!]
  },
  answers: (host, port) => asks(host, port, '', 'INFO'),
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

export const RABBITMQ: BrokerPlan = {
  // Debian's own script wants to be the user of its service, and another in between would be killed instead of the server.
  command: () => ['/usr/lib/rabbitmq/bin/rabbitmq-server'],
  env: async (host, port, folder) => ({
    HOME: folder,
    RABBITMQ_CONF_ENV_FILE: join(folder, 'none'),
    RABBITMQ_CONFIG_FILE: join(folder, 'rabbitmq'),
    RABBITMQ_ENABLED_PLUGINS_FILE: join(folder, 'plugins'),
    RABBITMQ_MNESIA_BASE: join(folder, 'data'),
    RABBITMQ_LOG_BASE: join(folder, 'log'),
    RABBITMQ_LOGS: '-',
    RABBITMQ_NODENAME: 'talkwire@localhost',
    RABBITMQ_NODE_IP_ADDRESS: host,
    RABBITMQ_NODE_PORT: String(port),
    // It has to be free on every host of this machine: below what tests and the kernel give out.
    RABBITMQ_DIST_PORT: String(10_000 + (process.pid % 10_000)),
    RABBITMQ_FEATURE_FLAGS: 'quorum_queue,stream_queue,implicit_default_bindings',
    // The server itself instead of a shell that waits for it.
    RABBITMQ_ALLOW_INPUT: '1',
    RABBITMQ_SERVER_START_ARGS: [
      '-noinput',
      `-kernel inet_dist_use_interface {${host.replaceAll('.', ',')}}`,
      // What was on its way between two queues when it was killed is tried again after that, three minutes otherwise.
      '-rabbit dead_letter_worker_publisher_confirm_timeout 2000',
    ].join(' '),
    ERL_EPMD_PORT: String(await startEpmd()),
  }),
  answers: (host, port) => asks(host, port, 'AMQP\0\0\x09\x01', 'PLAIN'),
}

export const BEANSTALKD: BrokerPlan = {
  command: (host, port, folder) => ['beanstalkd', '-l', host, '-p', String(port), '-b', folder, '-f', '0', '-z', '2000000'],
  answers: (host, port) => asks(host, port, 'stats\r\n', 'OK '),
}

/** scripts/system.mjs puts them there. */
const jarsOf = (name: string): string => fileURLToPath(new URL(`../../../../../../.jars/${name}/`, import.meta.url))
/** Metadata, version 1, of no topic; the answer has one broker. */
const WHO = '\0\0\0\x0e\0\x03\0\x01\0\0\0\x07\0\0\0\0\0\0'
const ONE = '\0\0\0\x07\0\0\0\x01'

export const KAFKA: BrokerPlan = {
  command(host, port, folder) {
    const [config, data] = [join(folder, 'server.properties'), join(folder, 'data')]
    // What Kafka's own tool writes, which would be another start of a JVM.
    if (!existsSync(config)) {
      mkdirSync(data)
      writeFileSync(join(data, 'meta.properties'), 'version=1\ncluster.id=dGFsa3dpcmUtdGVzdHMhIQ\nnode.id=1\n')
      writeFileSync(config, settings(host, port, freshPort(), freshPort(), freshPort(), data))
      writeFileSync(join(data, 'broker.pem'), server.key + server.cert)
    }
    const java = ['-Xmx256m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', '-Dorg.slf4j.simpleLogger.defaultLogLevel=warn']
    return ['java', ...java, '-cp', join(jarsOf('kafka-4.1.1'), '*'), 'kafka.Kafka', config]
  },
  answers: (host, port) => asks(host, port, WHO, ONE),
}

/** A broker that was killed comes back when its controller knows that it was gone: after the session's time. */
const settings = (host: string, port: number, controller: number, known: number, secure: number, data: string): string => `
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://${host}:${port},SASL_PLAINTEXT://${host}:${known},SSL://${host}:${secure},CONTROLLER://${host}:${controller}
advertised.listeners=PLAINTEXT://${host}:${port},SASL_PLAINTEXT://${host}:${known},SSL://${host}:${secure}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,SSL:SSL,CONTROLLER:PLAINTEXT
sasl.enabled.mechanisms=PLAIN
listener.name.sasl_plaintext.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_known="se cret";
ssl.keystore.type=PEM
ssl.keystore.location=${data}/broker.pem
controller.listener.names=CONTROLLER
controller.quorum.voters=1@${host}:${controller}
log.dirs=${data}
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
group.initial.rebalance.delay.ms=0
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
num.network.threads=1
num.io.threads=2
num.recovery.threads.per.data.dir=1
background.threads=1
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=2000
`

/** Debian's ActiveMQ, which has no AMQP in it: scripts/system.mjs gets that elsewhere. */
const ACTIVEMQ_JARS = `
  activemq-broker activemq-client activemq-console activemq-jaas activemq-kahadb-store activemq-openwire-legacy
  activemq-protobuf activemq-stomp activemq-spring xbean-spring hawtbuf slf4j-api slf4j-nop jcl-over-slf4j
  geronimo-jms_1.1_spec geronimo-j2ee-management-1.1-spec geronimo-jta-1.2-spec spring3-beans spring3-context spring3-core
  spring3-expression jackson-annotations jackson-core jackson-databind
`
  .trim()
  .split(/\s+/)
  .map((name) => `/usr/share/java/${name}.jar`)
const AMQP_JARS = ['activemq-amqp-5.17.2.jar', 'proton-j-0.33.10.jar'].map((name) => join(jarsOf('activemq-amqp-5.17.2'), name))

/** How it hands on what came in AMQP: as JMS has it, or as it came. */
type Transformer = 'jms' | 'native'
const TRANSFORMERS: readonly Transformer[] = ['jms', 'native']

/** Priorities and delays are there only if they are asked for; a hub of the prefix `plain` has no priorities. */
const activemqXml = (
  stomp: string,
  amqp: readonly (readonly [Transformer, string])[],
  folder: string,
): string => `<beans xmlns="http://www.springframework.org/schema/beans"
  xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
  xsi:schemaLocation="http://www.springframework.org/schema/beans http://www.springframework.org/schema/beans/spring-beans.xsd
    http://activemq.apache.org/schema/core http://activemq.apache.org/schema/core/activemq-core.xsd">
  <broker xmlns="http://activemq.apache.org/schema/core" brokerName="talkwire" useJmx="false" schedulerSupport="true" dataDirectory="${folder}">
    <destinationPolicy><policyMap><policyEntries>
      <policyEntry queue=">" prioritizedMessages="true" />
      <policyEntry queue="plain.>" prioritizedMessages="false" />
    </policyEntries></policyMap></destinationPolicy>
    <plugins>
      <simpleAuthenticationPlugin anonymousAccessAllowed="true">
        <users><authenticationUser username="guest" password="right" groups="users" /></users>
      </simpleAuthenticationPlugin>
    </plugins>
    <transportConnectors>
${amqp.map(([transformer, uri]) => `      <transportConnector uri="${uri}?transport.tcpNoDelay=true&amp;transport.transformer=${transformer}" />`).join('\n')}
      <transportConnector uri="${stomp}?transport.tcpNoDelay=true&amp;wireFormat.maxDataLength=4000000" />
    </transportConnectors>
  </broker>
</beans>`

export const ACTIVEMQ: BrokerPlan = {
  command(host, port, folder) {
    const config = path.join(folder, 'activemq.xml')
    const amqp = TRANSFORMERS.map((each) => [each, `amqp://${host}:${freshPort()}`] as const)
    if (!existsSync(config)) writeFileSync(config, activemqXml(`stomp://${host}:${port}`, amqp, folder))
    const java = '-Xmx256m -Xss512k -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto'.split(' ')
    const places = ['home', 'base', 'data', 'conf'].map((name) => `-Dactivemq.${name}=${folder}`)
    return [
      'java',
      ...java,
      ...places,
      '-cp',
      [...ACTIVEMQ_JARS, ...AMQP_JARS].join(':'),
      'org.apache.activemq.console.Main',
      'start',
      `xbean:file:${config}`,
    ]
  },
  answers: (host, port) => asks(host, port, 'CONNECT\naccept-version:1.2\nhost:talkwire\n\n\0', 'CONNECTED'),
}

/** Of a program that has imported `queue` and `stomp`, and knows `host` and `port`: its connection, and what came. */
export const STOMP_EAR = `came = queue.Queue()
class Ear(stomp.ConnectionListener):
    def on_message(self, frame): came.put(frame)
    def on_receipt(self, frame): came.put(frame)
connection = stomp.Connection12([(host, int(port))])
connection.set_listener('', Ear())
connection.connect(wait=True)
`

/** Where it speaks AMQP. */
export function amqpOf({ folder }: Broker, transformer: Transformer): string {
  const lines = readFileSync(join(folder, 'activemq.xml'), 'utf8').split('\n')
  return /amqp:\/\/([\d.:]+)/.exec(lines.find((line) => line.includes(`transformer=${transformer}`))!)![1]!
}

/** A way to a broker that can be cut, or the first connection of it. */
export interface Way {
  readonly place: string
  cut(): void
  cutOne(): void
  /** What the broker says does not come any more. */
  deafen(): void
  readonly lines: Waiting & { count: number }
}

export interface Place {
  readonly host: string
  readonly port: number
}

/** `serverOf`: what takes connections, in another way than plain TCP. */
export async function cuttable(
  { host, port }: Place,
  serverOf: (take: (near: net.Socket) => void) => net.Server = (take) => net.createServer(take),
): Promise<Way> {
  const pairs = new Set<{ readonly near: net.Socket; readonly far: net.Socket }>()
  const lines = Object.assign(new Waiting(), { count: 0 })
  const listener = serverOf((near) => {
    const pair = { near, far: net.connect(port, host) }
    pairs.add(pair)
    lines.count++
    near.once('close', () => (lines.count--, lines.happened()))
    for (const [one, other] of [
      [pair.near, pair.far],
      [pair.far, pair.near],
    ] as const) {
      one.on('error', () => {}).on('close', () => (pairs.delete(pair), other.destroy()))
      one.pipe(other)
    }
  })
  listener.listen(0, host)
  await once(listener, 'listening')
  const cut = (): void => {
    for (const { near } of pairs) near.destroy()
  }
  after(() => (listener.close(), cut()))
  return {
    place: `${host}:${(listener.address() as net.AddressInfo).port}`,
    cut,
    cutOne: () => void [...pairs][0]!.near.destroy(),
    deafen() {
      for (const { near, far } of pairs) far.unpipe(near)
    },
    lines,
  }
}

/** scripts/system.mjs puts them there. */
const SQS_JARS = new URL('../../../../../../.jars/elasticmq-1.7.1/', import.meta.url)
const LIST =
  'POST / HTTP/1.1\r\nHost: sqs\r\nContent-Type: application/x-amz-json-1.0\r\nX-Amz-Target: AmazonSQS.ListQueues\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}'

/** What stands in for Amazon's SQS. With its limits, and with every message on disk when it was sent. */
export const ELASTICMQ: BrokerPlan = {
  command(host, port, folder) {
    const config = join(folder, 'elasticmq.conf')
    writeFileSync(config, elasticmqConf(host, port, folder))
    const java = '-Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto'.split(' ')
    return ['java', ...java, `-Dconfig.file=${config}`, '-cp', join(fileURLToPath(SQS_JARS), '*'), 'org.elasticmq.server.Main']
  },
  answers: (host, port) => asks(host, port, LIST, ' 200 '),
}

const elasticmqConf = (host: string, port: number, folder: string): string => `include classpath("application.conf")
node-address { protocol = http, host = "${host}", port = ${port}, context-path = "" }
rest-sqs { enabled = true, bind-port = ${port}, bind-hostname = "${host}", sqs-limits = strict }
rest-stats { enabled = false }
messages-storage {
  enabled = true
  driver-class = "org.h2.Driver"
  uri = "jdbc:h2:${folder}/messages;WRITE_DELAY=0"
  username = "sa"
  password = ""
  prune-data-on-init = false
}
`

const SECANTUS = fileURLToPath(new URL('../../../../test/hub/fixtures/secantus_server.py', import.meta.url))

/** What stands in for MongoDB: SecantusDB, with every change on disk when it is acknowledged. `words`: such as `--auth`. */
export const mongoWith = (words: readonly string[]): BrokerPlan => ({
  command(host, port, folder) {
    const place = ['--host', host, '--port', String(port), '--storage-path', join(folder, 'data')]
    const python = process.env['TALKWIRE_PYTHON'] ?? 'python3'
    return [python, SECANTUS, ...place, '--sync-on-commit', '--cache-size', '64M', '--log-level', 'WARNING', ...words]
  },
  async answers(host, port) {
    const socket = net.connect(port, host)
    try {
      await once(socket, 'connect')
    } finally {
      socket.destroy()
    }
  },
})
export const MONGODB = mongoWith([])

/** scripts/system.mjs puts it there. What stands in for CouchDB; who knows the password of `ada` may make databases. */
const POUCHDB = fileURLToPath(
  new URL('../../../../../../.servers/pouchdb-server-4.2.0/node_modules/pouchdb-server/bin/pouchdb-server', import.meta.url),
)

export const COUCHDB: BrokerPlan = {
  command(host, port, folder) {
    const config = join(folder, 'config.json')
    if (!existsSync(config)) writeFileSync(config, JSON.stringify({ admins: { ada: 's3cret' }, log: { level: 'error' } }))
    const words = ['--host', host, '--port', String(port), '--dir', join(folder, 'data'), '--config', config, '--no-stdout-logs']
    return [process.execPath, POUCHDB, ...words]
  },
  answers: (host, port) => asks(host, port, 'GET / HTTP/1.1\r\nHost: couch\r\nConnection: close\r\n\r\n', 'Welcome'),
}

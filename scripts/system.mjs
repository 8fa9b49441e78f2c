// Programs of the system that tests call as foreign partners, and who needs them. As root on Debian they are installed; elsewhere
// the files that need a missing one are left out loudly, and under CI that is a failure.
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import path from 'node:path'
import { inPath } from '../packages/talkwire/dist/test/helpers/in-path.js'
import { folderOf, installJars } from './maven.mjs'
import { installApart, placeOf } from './npm-apart.mjs'

const DBUS = /\/protocols\/dbus-bus\.test\.|\/bridge-strangers\.test\.|\/every-protocol\//

const KAFKA = /\/hub\/drivers\/kafka[^/]*\.test\.|\/protocols\/broker-kafka\.test\./

/** With something that writes down what it has to say. */
const KAFKA_JARS = {
  name: 'kafka',
  version: '4.1.1',
  packages: ['org.apache.kafka:kafka_2.13:4.1.1', 'org.slf4j:slf4j-simple:1.7.36'],
}

const ACTIVEMQ = /\/hub\/drivers\/activemq[^/]*\.test\.|\/protocols\/broker-activemq\.test\./

const SQS = /\/hub\/drivers\/sqs[^/]*\.test\./

const SQS_JARS = { name: 'elasticmq', version: '1.7.1', packages: ['org.elasticmq:elasticmq-server_2.13:1.7.1'] }

const COUCHDB = /\/hub\/drivers\/couchdb[^/]*\.test\./

const POUCHDB = { name: 'pouchdb-server', version: '4.2.0' }

const JAVA = new RegExp(`${KAFKA.source}|${ACTIVEMQ.source}|${SQS.source}`)

/** Debian's ActiveMQ has no AMQP in it. */
const AMQP_JARS = { name: 'activemq-amqp', version: '5.17.2', packages: ['org.apache.activemq:activemq-amqp:5.17.2'] }

/** What starts NATS, Mosquitto and Redis at once. */
const CALLS = /\/protocols\/broker(-dialect)?\.test\./

const MQTT = new RegExp(`/hub/drivers/mqtt[^/]*\\.test\\.|${CALLS.source}`)

const PHP = /\/protocols\/soap-php\.test\./

const THRIFT = /\/protocols\/thrift-apache\.test\./

/**
 * Of a program: its Debian package, and parts of the paths of the test files that need it. `file`: what is no program is there when this is.
 * `jars`: it comes from Maven, after those of Debian; `apart`: from npm.
 * @type {Record<string, { debian?: string, tests: RegExp, file?: string, jars?: import('./maven.mjs').Jars, apart?: import('./npm-apart.mjs').Apart }>}
 */
const PROGRAMS = {
  chromium: { debian: 'chromium', tests: /\/browser[^/]*\.test\.|\/web-page\// },
  'dbus-daemon': { debian: 'dbus-daemon', tests: DBUS },
  busctl: { debian: 'systemd', tests: DBUS },
  gdbus: { debian: 'libglib2.0-bin', tests: DBUS },
  'python3-dbus': { debian: 'python3-dbus', tests: DBUS, file: '/usr/lib/python3/dist-packages/dbus/__init__.py' },
  strace: { debian: 'strace', tests: /\/hub\/log-killed\.test\./ },
  java: { debian: 'default-jre-headless', tests: JAVA },
  mvn: { debian: 'maven', tests: JAVA },
  kafka: { jars: KAFKA_JARS, tests: KAFKA, file: path.join(folderOf(KAFKA_JARS), 'kafka_2.13-4.1.1.jar') },
  elasticmq: { jars: SQS_JARS, tests: SQS, file: path.join(folderOf(SQS_JARS), 'elasticmq-server_2.13-1.7.1.jar') },
  'pouchdb-server': { apart: POUCHDB, tests: COUCHDB, file: path.join(placeOf(POUCHDB), 'node_modules/pouchdb-server/package.json') },
  beanstalkd: { debian: 'beanstalkd', tests: /\/hub\/drivers\/beanstalk[^/]*\.test\./ },
  mosquitto: { debian: 'mosquitto', tests: MQTT },
  mosquitto_pub: { debian: 'mosquitto-clients', tests: MQTT },
  'rabbitmq-server': {
    debian: 'rabbitmq-server',
    tests: /\/hub\/drivers\/amqp[^/]*\.test\.|\/protocols\/broker-amqp\.test\.|\/rabbitmq-worker\//,
    file: '/usr/lib/rabbitmq/bin/rabbitmq-server',
  },
  activemq: { debian: 'libactivemq-java', tests: ACTIVEMQ, file: '/usr/share/java/activemq-stomp.jar' },
  'activemq-amqp': { jars: AMQP_JARS, tests: ACTIVEMQ, file: path.join(folderOf(AMQP_JARS), 'activemq-amqp-5.17.2.jar') },
  'python3-qpid-proton': {
    debian: 'python3-qpid-proton',
    tests: /\/hub\/drivers\/activemq-amqp1\.test\.|\/protocols\/broker-activemq\.test\./,
    file: '/usr/lib/python3/dist-packages/proton/__init__.py',
  },
  'nats-server': { debian: 'nats-server', tests: new RegExp(`/hub/drivers/nats[^/]*\\.test\\.|${CALLS.source}`) },
  'redis-server': { debian: 'redis-server', tests: new RegExp(`/hub/drivers/redis[^/]*\\.test\\.|${CALLS.source}`) },
  turnserver: { debian: 'coturn', tests: /\/transports\/webrtc-turn\.test\.|\/browser\/browser-webrtc\.test\./ },
  thrift: { debian: 'thrift-compiler', tests: THRIFT },
  php: { debian: 'php-cli', tests: PHP },
  'php-soap': { debian: 'php-soap', tests: PHP, file: '/var/lib/dpkg/info/php-soap.list' },
  'python3-thrift': { debian: 'python3-thrift', tests: THRIFT, file: '/usr/lib/python3/dist-packages/thrift/__init__.py' },
}

/** @param {string} program */
export function isInstalled(program) {
  const file = PROGRAMS[program]?.file
  if (file !== undefined) return existsSync(file)
  return inPath(program) !== undefined
}

/** Installs what these test files need and this machine lacks, if it may. @param {readonly string[]} files */
export function install(files) {
  const missing = [...missingFor(files).keys()]
  installDebian(missing.flatMap((program) => PROGRAMS[program]?.debian ?? []))
  for (const program of missing) {
    const { jars, apart } = PROGRAMS[program] ?? {}
    if (jars && isInstalled('mvn')) installWith('mvn', program, () => installJars(jars))
    if (apart) installWith('npm', program, () => installApart(apart))
  }
}

/** @param {string} tool @param {string} program @param {() => string | undefined} run */
function installWith(tool, program, run) {
  console.log(`system: installing ${program} with ${tool}`)
  const refusal = run()
  if (refusal !== undefined) console.log(`system: ${tool} could not install ${program}\n${refusal}`)
}

/** @param {readonly string[]} names */
function installDebian(names) {
  const packages = [...new Set(names)]
  if (packages.length === 0 || process.getuid?.() !== 0 || !isInstalled('apt-get')) return
  console.log(`system: installing ${packages.join(', ')}`)
  const apt = (/** @type {string[]} */ ...args) =>
    spawnSync('apt-get', args, { env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }, encoding: 'utf8' })
  const get = () => apt('install', '--yes', '--quiet', '--no-install-recommends', ...packages)
  // Lists of packages may be missing or of another day.
  if (get().status !== 0) apt('update', '--quiet')
  const { status, stderr } = get()
  if (status !== 0) console.log(`system: apt-get could not install ${packages.join(', ')}\n${stderr}`)
}

/** Missing programs, and which of these files need each. @param {readonly string[]} files @returns {Map<string, string[]>} */
export function missingFor(files) {
  const missing = new Map()
  for (const [program, { tests }] of Object.entries(PROGRAMS)) {
    const needed = files.filter((file) => tests.test(file))
    if (needed.length && !isInstalled(program)) missing.set(program, needed)
  }
  return missing
}

/** What a person types to have the program. @param {string} program */
export function advice(program) {
  const { jars, apart, debian = program } = PROGRAMS[program] ?? {}
  if (jars || apart) return `npm test installs ${program} with ${jars ? 'mvn' : 'npm'}`
  return `install ${program} (Debian: apt-get install ${debian})`
}

// Starts what an engine needs, in a folder and on a port of its own. What is on disk is on disk before it is answered, where it can.
import { fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import net from 'node:net'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const HOST = '127.0.0.1'

/** @returns {Promise<number>} */
const freePort = () =>
  new Promise((resolve) => {
    const server = net.createServer().listen(0, HOST, () => {
      const { port } = /** @type {net.AddressInfo} */ (server.address())
      server.close(() => resolve(port))
    })
  })

/** @typedef {{ address: string, end: () => Promise<unknown> }} Broker */
/** @typedef {(folder: string, started: Set<import('node:child_process').ChildProcess>) => Promise<Broker>} Start */

/** @param {import('node:child_process').ChildProcess} child @param {Set<import('node:child_process').ChildProcess>} started */
function ender(child, started) {
  started.add(child)
  const gone = once(child, 'exit')
  return async () => {
    started.delete(child)
    child.kill('SIGKILL')
    await gone
  }
}

/** Does it answer with this? @param {number} port @param {string} question @param {string} wanted @returns {Promise<boolean>} */
const answers = (port, question, wanted) =>
  new Promise((resolve) => {
    let said = ''
    const socket = net.connect(port, HOST, () => socket.write(question))
    socket
      .setTimeout(1000, () => socket.destroy())
      .on('data', (data) => {
        said += data
        if (said.includes(wanted)) socket.destroy()
      })
      .on('error', () => {}) // it does not listen yet
      .on('close', () => resolve(said.includes(wanted)))
  })

/**
 * @typedef {object} Plan
 * @property {string} scheme
 * @property {(port: number, folder: string) => string[]} command
 * @property {(port: number, folder: string, helpers: import('node:child_process').ChildProcess[]) => Promise<Record<string, string>>} [env] `helpers` end with it
 * @property {[question: string, wanted: string]} answers
 */
/** @param {Plan} plan @returns {Start} */
const program = (plan) => async (folder, started) => {
  const port = await freePort()
  const [command, ...words] = plan.command(port, folder)
  /** @type {import('node:child_process').ChildProcess[]} */
  const helpers = []
  const env = { ...process.env, ...(await plan.env?.(port, folder, helpers)) }
  const child = spawn(command, words, { cwd: folder, env, stdio: 'ignore' })
  await once(child, 'spawn') // rejects with ENOENT where it is not installed
  const ends = [child, ...helpers].map((one) => ender(one, started))
  const end = () => Promise.all(ends.map((each) => each()))
  while (!(await answers(port, ...plan.answers))) {
    if (child.exitCode !== null) throw new Error(`${command} ended with ${child.exitCode}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  return { address: `${plan.scheme}://${HOST}:${port}`, end }
}

/** @param {number} port @param {string} folder @param {import('node:child_process').ChildProcess[]} helpers */
async function rabbitEnv(port, folder, helpers) {
  const [epmd, dist] = [await freePort(), await freePort()]
  // Erlang's directory of names, which would be started and live on.
  const daemon = spawn('epmd', ['-port', String(epmd), '-address', HOST], { stdio: 'ignore' })
  await once(daemon, 'spawn')
  helpers.push(daemon)
  return {
    HOME: folder,
    RABBITMQ_CONF_ENV_FILE: path.join(folder, 'none'),
    RABBITMQ_CONFIG_FILE: path.join(folder, 'rabbitmq'),
    RABBITMQ_ENABLED_PLUGINS_FILE: path.join(folder, 'plugins'),
    RABBITMQ_MNESIA_BASE: path.join(folder, 'data'),
    RABBITMQ_LOG_BASE: path.join(folder, 'log'),
    RABBITMQ_NODENAME: 'bench@localhost',
    RABBITMQ_NODE_IP_ADDRESS: HOST,
    RABBITMQ_NODE_PORT: String(port),
    RABBITMQ_DIST_PORT: String(dist),
    RABBITMQ_FEATURE_FLAGS: 'quorum_queue,stream_queue,implicit_default_bindings',
    // The server itself instead of a shell that waits for it.
    RABBITMQ_ALLOW_INPUT: '1',
    RABBITMQ_SERVER_START_ARGS: '-noinput -kernel inet_dist_use_interface {127,0,0,1}',
    ERL_EPMD_PORT: String(epmd),
  }
}

/** @type {Record<string, Start>} */
export const brokers = {
  none: async (folder) => ({ address: folder, end: async () => {} }),
  async hub(folder, started) {
    const name = path.basename(folder)
    const child = fork(fileURLToPath(new URL('../lib/hub-process.mjs', import.meta.url)), [name, path.join(folder, 'store')])
    const end = ender(child, started)
    await once(child, 'message')
    return { address: `hub:${name}`, end }
  },
  redis: program({
    scheme: 'redis',
    command: (port, folder) =>
      `redis-server --bind ${HOST} --port ${port} --dir ${folder} --appendonly yes --appendfsync always --save`.split(' ').concat(''),
    answers: ['PING\r\n', '+PONG'],
  }),
  nats: program({
    scheme: 'nats',
    command: (port, folder) => ['nats-server', '-a', HOST, '-p', String(port), '-js', '-sd', folder],
    answers: ['CONNECT {"verbose":false}\r\nPING\r\n', 'PONG'],
  }),
  rabbitmq: program({
    scheme: 'amqp',
    command: () => ['/usr/lib/rabbitmq/bin/rabbitmq-server'],
    env: rabbitEnv,
    answers: ['AMQP\0\0\x09\x01', 'PLAIN'],
  }),
}

/** A child that runs a Node module: `fork:./child.js args`. Node's own IPC channel stays free for the two programs' messages. */
import { fork as start } from 'node:child_process'
import type net from 'node:net'
import { parseAddress, parseWords } from '../address.js'
import { ChildConnection, childEnvironment, startChild, type ChildOptions } from './child.js'
import { adopt } from './stream-connection.js'
import type { Traits, Transport } from './transport.js'

/** After stdio and Node's channel. */
const WIRE = 4
const traits: Traits = {
  ordered: true,
  reliable: true,
  backpressure: true,
  crossProcess: true,
  crossHost: false,
  manyConnections: false,
  peerCredentials: true,
}

export const fork: Transport<ChildOptions> = {
  scheme: 'fork',
  traits,

  async connect(address, sink, options = {}) {
    const [module, ...args] = parseWords(parseAddress(address).rest)
    const child = await startChild(module!, options, (how) =>
      start(module!, args, {
        ...how,
        env: childEnvironment(options, WIRE),
        serialization: 'advanced',
        stdio: ['ignore', 2, how.stderr, 'ipc', 'pipe'],
      }),
    )
    const wire = adopt(child.handle.stdio[WIRE] as net.Socket)
    // Nobody listens to Node's channel here, so it must not keep us.
    child.handle.channel?.unref()
    return new ChildConnection(wire, address, child, { maxMessage: options.maxMessage, framing: 'length' }).attach(sink)
  },
}

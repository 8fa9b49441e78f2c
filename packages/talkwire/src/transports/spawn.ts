/**
 * A child process: `spawn:python3 worker.py`. Its wire is descriptor 3, so that it may print what it likes.
 * `spawn+stdio:` is for programs that know nothing of that: JSON-RPC lines on their stdin and stdout.
 */
import { spawn as start } from 'node:child_process'
import type net from 'node:net'
import { parseAddress, parseWords } from '../address.js'
import { ChildConnection, childEnvironment, startChild, type Child, type ChildOptions } from './child.js'
import type { Framing } from './framing.js'
import { PipePair } from './pipe-pair.js'
import { adopt } from './stream-connection.js'
import type { Traits, Transport } from './transport.js'

const WIRE = 3
const traits: Traits = {
  ordered: true,
  reliable: true,
  backpressure: true,
  crossProcess: true,
  crossHost: false,
  manyConnections: false,
  peerCredentials: true,
}

export interface SpawnOptions extends ChildOptions {
  /** Program and arguments as they are; the address then only tells of them. */
  readonly command?: readonly string[]
  /** How messages are delimited on stdin and stdout of `spawn+stdio:`. Default `line`. */
  readonly framing?: Framing
}

const wordsOf = (address: string, { command }: SpawnOptions): readonly string[] => command ?? parseWords(parseAddress(address).rest)

export const spawn: Transport<SpawnOptions> = {
  scheme: 'spawn',
  traits,

  async connect(address, sink, options = {}) {
    const [program, ...args] = wordsOf(address, options)
    // The child's stdout is our stderr: what it prints is neither lost nor mixed into our own output.
    const child = await startChild(program!, options, (how) =>
      start(program!, args, { ...how, env: childEnvironment(options, WIRE), stdio: ['ignore', 2, how.stderr, 'pipe'] }),
    )
    const wire = adopt(child.handle.stdio[WIRE] as net.Socket)
    return new ChildConnection(wire, address, child, { maxMessage: options.maxMessage, framing: 'length' }).attach(sink)
  },
}

export const spawnStdio: Transport<SpawnOptions> = {
  scheme: 'spawn+stdio',
  traits,

  async connect(address, sink, options = {}) {
    const { framing = 'line', maxMessage } = options
    const { child, wire } = await startPiped(address, options)
    return new ChildConnection(wire, address, child, { maxMessage, framing }).attach(sink)
  },
}

/** A program with its stdin and stdout as a stream. Rejects with START_FAILED, INVALID_ADDRESS. Whoever has it ends the child. */
export async function startPiped(address: string, options: SpawnOptions): Promise<{ readonly child: Child; readonly wire: PipePair }> {
  const [program, ...args] = wordsOf(address, options)
  const child = await startChild(program!, options, (how) =>
    start(program!, args, { ...how, env: childEnvironment(options), stdio: ['pipe', 'pipe', how.stderr] }),
  )
  return { child, wire: new PipePair(child.handle.stdout!, child.handle.stdin!) }
}

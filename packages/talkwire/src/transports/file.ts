/**
 * Commands in a JSON file, guarded by a lock file: `file:/path/calc.json`. Any program that can lock a file and knows JSON
 * is a client: docs/transports/file.md.
 */
import { linuxLibc } from '../kernel/libc.js'
import { memoryError } from '../memory/errors.js'
import { CommandClient, isServed } from './command-client.js'
import { claimFile, CommandService, type ServiceOptions } from './command-service.js'
import { MessageConnection } from './message-connection.js'
import { filePathOf, nobodyListens } from './refusals.js'
import type { Traits, Transport } from './transport.js'

const traits: Traits = {
  ordered: false,
  reliable: true,
  backpressure: false,
  crossProcess: true,
  crossHost: false,
  manyConnections: true,
  peerCredentials: false,
}

export const file: Transport<ServiceOptions> = {
  scheme: 'file',
  traits,
  carries: 'calls',

  async connect(address, sink, options = {}) {
    options.signal?.throwIfAborted()
    const path = pathOf(address)
    if (!isServed(path)) throw nobodyListens(address)
    return memoryError(path, () => new MessageConnection(new CommandClient(path, address, sink, options)))
  },

  async listen(address, accept, options = {}) {
    options.signal?.throwIfAborted()
    const path = pathOf(address)
    const claimed = await claimFile(address, path)
    try {
      return await new CommandService(address, path, claimed, accept, options).open()
    } catch (reason) {
      claimed.release()
      throw reason
    }
  },
}

/** Throws INVALID_ADDRESS, UNSUPPORTED and MISSING_PACKAGE. */
function pathOf(address: string): string {
  linuxLibc('file:')
  return filePathOf(address)
}

/**
 * `node far.js`: on each line of stdin [CONTROL, ADDRESS, OPTIONS], far ends of transports of ours, one after the other
 * in a process of its own.
 */
import { createInterface } from 'node:readline'
import { parseAddress } from '../src/address.js'
import { transportFor } from '../src/registry.js'
import { playOneFarEnd } from './ends.js'

for await (const line of createInterface(process.stdin)) {
  const [control, address, options] = JSON.parse(line) as [string, string, object]
  await playOneFarEnd(control, async (accept, overrides) => {
    const transport = await transportFor(parseAddress(address).scheme)
    if (!transport.listen) throw new TypeError(`nobody can listen on ${address}`)
    return transport.listen(address, accept, { ...options, ...overrides })
  })
}
process.exit()

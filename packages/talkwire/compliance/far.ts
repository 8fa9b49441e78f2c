/** `node far.js CONTROL ADDRESS OPTIONS`: the far end of a transport of ours in a process of its own. */
import { parseAddress } from '../src/address.js'
import { transportFor } from '../src/registry.js'
import { playFarEnd } from './ends.js'

const [control, address, options] = process.argv.slice(2) as [string, string, string]
await playFarEnd(control, async (accept, overrides) => {
  const transport = await transportFor(parseAddress(address).scheme)
  if (!transport.listen) throw new TypeError(`nobody can listen on ${address}`)
  return transport.listen(address, accept, { ...JSON.parse(options), ...overrides })
})

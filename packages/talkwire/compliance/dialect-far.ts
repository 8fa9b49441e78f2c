/**
 * `node dialect-far.js serve ADDRESS OPTIONS` or `… call ADDRESS OPTIONS`, with an IPC channel: the other side of a dialect in a
 * process of its own, to be killed. Says `{ address, token }` or nothing, then what its handlers do.
 */
import { parseAddress } from '../src/address.js'
import { connect } from '../src/connect.js'
import { adapterFor, isDialect } from '../src/registry.js'
import { serve } from '../src/serve.js'
import { handlersFor, proofFor } from './dialect-proof.js'

const [role, address, json] = process.argv.slice(2) as ['serve' | 'call', string, string]
const options = JSON.parse(json) as object
const dialect = await adapterFor(parseAddress(address).scheme)
if (!isDialect(dialect)) throw new TypeError(`${address} is no dialect's`)
const proof = proofFor(dialect.traits)
const tell = (message: unknown): void => void process.send!(message)
process.on('disconnect', () => process.exit(0))
if (role === 'serve') {
  const state = { notes: [], produced: 0, onHappening: tell, answer: new Promise<string>(() => {}) }
  const service = await serve(proof, handlersFor(dialect.traits, state), { listen: address, ...options })
  tell({ address: service.addresses[0], token: service.token })
} else {
  const client: any = await connect(proof, address, { reconnect: false, ...options })
  await client.wait({ text: '' })
}

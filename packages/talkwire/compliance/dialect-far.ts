/**
 * `node dialect-far.js serve ADDRESS OPTIONS` or `… call ADDRESS OPTIONS`, with an IPC channel: the other side of a dialect in a
 * process of its own, to be killed. Says `{ address, token }` or nothing, then what its handlers do.
 * `… child ADDRESS PORT`: a service that its client has started, and a line to who tests it: dialect-child.ts.
 */
import net from 'node:net'
import { createInterface } from 'node:readline'
import { parseAddress } from '../src/address.js'
import { connect } from '../src/connect.js'
import { adapterFor, isDialect } from '../src/registry.js'
import { serve } from '../src/serve.js'
import type { Order, Told } from './dialect-child.js'
import { handlersFor, proofFor } from './dialect-proof.js'

const [role, address, json] = process.argv.slice(2) as ['serve' | 'call' | 'child', string, string]
const dialect = await adapterFor(parseAddress(address).scheme)
if (!isDialect(dialect)) throw new TypeError(`${address} is no dialect's`)
const { traits } = dialect
const proof = proofFor(traits)
if (role === 'child') await serveChild(Number(json))
else await playFar(JSON.parse(json) as object)

async function serveChild(port: number): Promise<void> {
  // What keeps the process alive is its stdin.
  const line = net.connect(port, '127.0.0.1').unref()
  const tell = (told: Told): void => void line.write(`${JSON.stringify(told)}\n`)
  let answer!: (text: string) => void
  const state = {
    notes: [],
    produced: 0,
    onHappening: (happened: string) => tell({ happened }),
    answer: new Promise<string>((resolve) => (answer = resolve)),
  }
  const service: any = await serve(proof, handlersFor(traits, state), { listen: address, onError() {} })
  createInterface({ input: line }).on('line', (text) => {
    const order = JSON.parse(text) as Order
    if (order.answer !== undefined) answer(order.answer)
    if (order.emit) service.emit(order.emit.event, order.emit.value)
    if (order.look) tell({ looked: { notes: state.notes, produced: state.produced } })
    // Without its only connection nothing keeps the process.
    if (order.close !== undefined) void service.close({ ...(order.close !== null && { timeout: order.close }) })
  })
  tell({ pid: process.pid })
}

async function playFar(options: object): Promise<void> {
  const tell = (message: unknown): void => void process.send!(message)
  process.on('disconnect', () => process.exit(0))
  if (role === 'serve') {
    const state = { notes: [], produced: 0, onHappening: tell, answer: new Promise<string>(() => {}) }
    const service = await serve(proof, handlersFor(traits, state), { listen: address, ...options })
    tell({ address: service.addresses[0], token: service.token })
  } else {
    const client: any = await connect(proof, address, { reconnect: false, ...options })
    await client.wait({ text: '' })
  }
}

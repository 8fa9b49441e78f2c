// Talkwire in one of its protocols, with its default options: the token is asked for, input and output are checked.
import { connect, contract, rpc, serve } from 'talkwire'
import * as z from 'zod'
import { add } from '../lib/service.mjs'

const calc = contract('org.example.Calc/1', {
  add: rpc({ input: z.object({ a: z.number(), b: z.number() }), output: z.number(), idempotent: true }),
})

/** @param {(place: import('./index.mjs').Place) => string} addressOf @returns {import('./index.mjs').Side} */
export const talkwire = (addressOf) => ({
  async server(place) {
    const service = await serve(calc, { add: ({ a, b }) => add(a, b) }, { listen: addressOf(place) })
    return JSON.stringify([service.addresses[0], service.token])
  },
  async client(told) {
    const [address, token] = JSON.parse(told)
    const client = await connect(calc, address, token ? { token } : {})
    return { add: (a, b) => client.add({ a, b }), close: () => client.close() }
  },
})

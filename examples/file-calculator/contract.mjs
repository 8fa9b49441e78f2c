import { contract, rpc } from 'talkwire'
import * as z from 'zod'

const Two = z.object({ a: z.number(), b: z.number() })

export const calculator = contract('calculator/1', {
  add: rpc({ input: Two, output: z.number() }),
  divide: rpc({ input: Two, output: z.number(), errors: { DivisionByZero: z.object({ dividend: z.number() }) } }),
})

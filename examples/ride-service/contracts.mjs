// What the two services offer.
import { contract, rpc } from 'talkwire'
import * as z from 'zod'

const Trip = z.object({
  from: z.string(),
  to: z.string(),
  /** Ask for the traffic at each crossing: exact, and slow. */
  traffic: z.boolean().default(false),
})

export const paths = contract('paths/1', {
  shortest: rpc({
    input: Trip,
    output: z.object({ way: z.array(z.string()), km: z.number() }),
    errors: { NoWay: z.object({ from: z.string(), to: z.string() }), UnknownPlace: z.object({ place: z.string() }) },
    idempotent: true,
  }),
})

export const rides = contract('rides/1', {
  offer: rpc({
    input: Trip,
    output: z.object({ way: z.array(z.string()), km: z.number(), euros: z.number() }),
    errors: { NotServed: z.object({ why: z.string() }) },
    idempotent: true,
  }),
})

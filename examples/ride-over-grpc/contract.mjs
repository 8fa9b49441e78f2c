// What the ride service offers. New properties go to the end: their order gives them their numbers in ride.proto.
import { contract, rpc, stream } from 'talkwire'
import * as z from 'zod'

const Line = z.object({ from: z.string(), text: z.string() })

export const ride = contract('ride/1', {
  request: rpc({
    input: z.object({ from: z.string(), to: z.string() }),
    output: z.object({ ride: z.int(), driver: z.string(), euros: z.number() }),
    errors: { NoDriver: z.object({ waitMinutes: z.int() }) },
  }),
  /** Where the car is, until it has arrived. */
  positions: rpc({ input: z.object({ ride: z.int() }), output: stream(z.object({ street: z.string(), kmLeft: z.number() })) }),
  /** The customer and the driver talk. */
  chat: rpc({ input: stream(Line), output: stream(Line) }),
})

// The ride service: node service.mjs. Prints where it listens; `node service.mjs proto` prints its .proto instead.
import { serve } from 'talkwire'
import { protoOf } from 'talkwire/protocols/grpc'
import { ride } from './contract.mjs'

if (process.argv[2] === 'proto') {
  process.stdout.write(await protoOf(ride))
  process.exit()
}

const streets = ['Station Road', 'Market Square', 'Bridge', 'Airport']
let rides = 0

const service = await serve(
  ride,
  {
    request({ from, to }, ctx) {
      if (to === 'moon') throw ctx.error('NoDriver', { waitMinutes: 600_000 }, `nobody drives from ${from} to the moon`)
      return { ride: ++rides, driver: 'Ada', euros: 19.7 }
    },
    async *positions(_, ctx) {
      for (const [index, street] of streets.entries()) {
        if (ctx.signal.aborted) return
        yield { street, kmLeft: 3 * (streets.length - 1 - index) }
      }
    },
    async *chat(lines) {
      for await (const { from, text } of lines) yield { from: 'Ada', text: text.endsWith('?') ? `Soon, ${from}.` : 'Good.' }
    },
  },
  { listen: process.env.RIDE_ADDRESS ?? 'grpc://127.0.0.1:0', token: process.env.RIDE_TOKEN ?? false },
)

console.log(`ride: ${service.addresses[0]}`)
process.once('SIGTERM', () => service.close())

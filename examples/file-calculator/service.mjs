// Answers commands in a file: node service.mjs /path/calc.json
import { serve } from 'talkwire'
import { calculator } from './contract.mjs'

const service = await serve(
  calculator,
  {
    add: ({ a, b }) => a + b,
    divide({ a, b }, ctx) {
      if (b === 0) throw ctx.error('DivisionByZero', { dividend: a })
      return a / b
    },
  },
  { listen: `file:${process.argv[2] ?? '/tmp/calc.json'}` },
)
console.log(`calculating in ${service.addresses[0]}`)
process.once('SIGTERM', () => service.close())

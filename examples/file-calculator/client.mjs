// Calls the calculator with its types: node client.mjs /path/calc.json 6 3
import { connect } from 'talkwire'
import { calculator } from './contract.mjs'

const [, , file = '/tmp/calc.json', a = '6', b = '3'] = process.argv
const client = await connect(calculator, `file:${file}`)
console.log(await client.divide({ a: Number(a), b: Number(b) }))
await client.close()

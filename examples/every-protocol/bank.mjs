// node bank.mjs [port]: one bank, every protocol. TOKEN is what clients of HTTP show.
import { serve } from 'talkwire'
import { bank } from './contract.mjs'

const port = process.argv[2] ?? 7000
const balances = new Map()
const service = await serve(
  bank,
  {
    deposit({ account, amount }, ctx) {
      if (account === 'closed') throw ctx.error('AccountClosed', { since: 'Monday' })
      balances.set(account, (balances.get(account) ?? 0) + amount)
      return balances.get(account)
    },
    balance: ({ account }) => balances.get(account) ?? 0,
  },
  {
    listen: [`tcp://127.0.0.1:${port}`, 'unix:bank', ...(process.env.PYMP ? [`pymp:${process.env.PYMP}`] : [])],
    protocols: 'all',
    token: process.env.TOKEN,
  },
)
for (const address of service.addresses) console.log(address)
console.log('the bank is open')
process.once('SIGTERM', () => service.close())

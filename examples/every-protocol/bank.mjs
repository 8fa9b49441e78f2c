// node bank.mjs [port]: one bank, every protocol. TOKEN is what clients of HTTP show; PYMP, THRIFT, VARLINK, NODEIPC and WEBRTC are
// paths, BUS the address of a bus.
import { serve } from 'talkwire'
import { bank } from './contract.mjs'

const port = process.argv[2] ?? 7000
const { PYMP, THRIFT, VARLINK, NODEIPC, WEBRTC, BUS } = process.env
const places = { 'pymp:': PYMP, 'thrift+unix:': THRIFT, 'varlink:': VARLINK, 'nodeipc:': NODEIPC, 'webrtc:unix:': WEBRTC, 'dbus:': BUS }
const more = Object.entries(places)
  .filter(([, where]) => where)
  .map(([scheme, where]) => scheme + where)
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
    listen: [`tcp://127.0.0.1:${port}`, 'unix:bank', ...more],
    protocols: 'all',
    token: process.env.TOKEN,
    // A channel that stays on this machine.
    rtc: { bindAddress: '127.0.0.1' },
  },
)
for (const address of service.addresses) console.log(address)
console.log('the bank is open')
process.once('SIGTERM', () => service.close())

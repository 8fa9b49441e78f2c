// The bank: node bank.mjs. One process owns the accounts, and applies one change after the other.
import { serve } from 'talkwire'
import { bank } from './contract.mjs'

/** @typedef {{ balance: number, closed?: string }} Account */
/** @type {Map<string, Account>} */
const accounts = new Map()

/** @param {string} name @returns {Account} */
function find(name) {
  const account = accounts.get(name) ?? { balance: 0 }
  accounts.set(name, account)
  return account
}

/** An account that may be changed. @param {string} name @param {{ error(name: 'AccountClosed', details: { since: string }): Error }} ctx */
function usable(name, ctx) {
  const account = find(name)
  if (account.closed) throw ctx.error('AccountClosed', { since: account.closed })
  return account
}

/** @type {(() => void)[]} */
let waiting = []

const service = await serve(bank, {
  balance: ({ account }) => ({ account, balance: find(account).balance }),

  // No `await` between reading and writing: nobody comes in between.
  deposit({ account, amount }, ctx) {
    const balance = (usable(account, ctx).balance += amount)
    return { account, balance }
  },

  withdraw({ account, amount }, ctx) {
    const balance = (usable(account, ctx).balance -= amount)
    if (balance < 0) service.emit('overdrawn', { account, balance })
    return { account, balance }
  },

  setBalance({ account, balance }, ctx) {
    usable(account, ctx).balance = balance
  },

  closeAccount({ account }) {
    find(account).closed ??= new Date().toISOString().slice(0, 10)
  },

  async meet({ count }) {
    const together = new Promise((resolve) => waiting.push(() => resolve(undefined)))
    if (waiting.length === count) for (const go of waiting.splice(0)) go()
    await together
  },
})

console.log(`the bank is open: ${service.addresses.join(' ')}`)
for (const signal of ['SIGTERM', 'SIGINT']) process.once(signal, () => void service.close())

// One of many: node teller.mjs careless|careful <account> <times> <tellers>. Puts 1 into the account, many times.
import { connect } from 'talkwire'
import { bank } from './contract.mjs'

const [mode, account = 'savings', times, tellers] = process.argv.slice(2)
const client = await connect(bank)

await client.meet({ count: Number(tellers) }) // all begin at the same moment
for (let i = 0; i < Number(times); i++) {
  if (mode === 'careful') await client.deposit({ account, amount: 1 })
  else {
    const { balance } = await client.balance({ account })
    await client.setBalance({ account, balance: balance + 1 }) // what others put in meanwhile is gone
  }
}
await client.close()

// Many processes change one account at once, in two ways: node main.mjs [tellers] [times]
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { connect, isError } from 'talkwire'
import { bank } from './contract.mjs'

const tellers = Number(process.argv[2] ?? 4)
const times = Number(process.argv[3] ?? 200)
const cwd = fileURLToPath(new URL('.', import.meta.url))

const client = await connect(bank)

/** @param {'careless' | 'careful'} mode */
async function run(mode) {
  const children = Array.from({ length: tellers }, () =>
    spawn(process.execPath, ['teller.mjs', mode, mode, String(times), String(tellers)], { cwd, stdio: 'inherit' }),
  )
  const codes = await Promise.all(children.map(async (child) => (await once(child, 'exit'))[0]))
  if (codes.some((code) => code !== 0)) throw new Error(`a teller failed: ${codes.join(' ')}`)
  const { balance } = await client.balance({ account: mode })
  return { expected: tellers * times, balance, lost: tellers * times - balance }
}

const careless = await run('careless')
console.log(`read and write back: ${careless.expected} put in, ${careless.balance} there, ${careless.lost} lost`)
const careful = await run('careful')
console.log(`deposit:             ${careful.expected} put in, ${careful.balance} there, ${careful.lost} lost`)

await client.on('overdrawn', ({ account, balance }) => console.log(`event overdrawn:     ${account} ${balance}`))
await client.withdraw({ account: 'careful', amount: careful.balance + 50 })

await client.closeAccount({ account: 'careful' })
try {
  await client.deposit({ account: 'careful', amount: 1 })
} catch (error) {
  if (!isError(error, bank, 'deposit', 'AccountClosed')) throw error
  console.log(`AccountClosed:       since ${error.details.since}`)
}
await client.close()

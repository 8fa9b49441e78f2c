// Tellers move money in shared memory, and one is killed in the middle: node main.mjs [transfers]
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { connect } from 'talkwire'
import { ACCOUNTS, openVault, START } from './vault.mjs'

const TELLERS = 3
const here = fileURLToPath(new URL('.', import.meta.url))
const transfers = Number(process.argv[2] ?? 300)
const name = `bank-in-memory-${process.pid}`
const vault = openVault(name, 'create')

/** @returns {Promise<import('talkwire').FunctionsClient<typeof import('./teller.mjs').functions>>} */
const startTeller = () => connect([process.execPath, 'teller.mjs'], { cwd: here })
const tellers = await Promise.all(Array.from({ length: TELLERS }, startTeller))

const victim = spawn(process.execPath, ['victim.mjs', name], { cwd: here, stdio: ['ignore', 'pipe', 'inherit'] })
const [said] = await once(victim.stdout, 'data')
console.log(`teller ${String(said).trim()}`)

const work = tellers.map((teller) => teller.work(name, transfers))
victim.kill('SIGKILL')
const repairs = await Promise.all(work)
for (const [n, repaired] of repairs.entries())
  for (const missing of repaired) console.log(`teller ${n + 1} was told of the death, and put ${missing} back`)

console.log(`${TELLERS * transfers} transfers later: ${vault.total()}, expected ${ACCOUNTS * START}`)
await Promise.all(tellers.map((teller) => teller.close()))
vault.unlink()
vault.close()

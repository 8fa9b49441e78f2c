// Takes 50 from the first account, says so, and never comes to putting it into the second: node victim.mjs name
import { openVault } from './vault.mjs'

const vault = openVault(process.argv[2])
await vault.mutex.acquire()
vault.transfer(0, 1, 50, () => {
  process.stdout.write(`${process.pid} has taken 50, ${vault.total()} are left\n`)
  // Whoever stands here is killed here.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
})

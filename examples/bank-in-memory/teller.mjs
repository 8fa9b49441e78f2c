// Moves money, for whoever started it.
import { serve } from 'talkwire'
import { ACCOUNTS, openVault } from './vault.mjs'

export const functions = {
  /** @param {string} name @param {number} transfers @returns {Promise<number[]>} what it had to put back, each time that somebody had died */
  async work(name, transfers) {
    const vault = openVault(name)
    const repaired = []
    for (let n = 0; n < transfers; n++) {
      const lock = await vault.mutex.acquire()
      if (lock.abandoned) {
        repaired.push(vault.repair())
        lock.repaired()
      }
      vault.transfer(n % ACCOUNTS, (n + 1 + (n % (ACCOUNTS - 1))) % ACCOUNTS, 1 + (n % 7))
      lock.release()
    }
    vault.close()
    return repaired
  },
}

await serve('teller', functions)

// Accounts in shared memory, and how money moves between them so that a death in the middle can be undone.
import { SharedArray } from 'talkwire/memory'
import { Mutex } from 'talkwire/sync'

export const ACCOUNTS = 4
export const START = 1000
/** The journal stands behind the accounts: whether a transfer is under way, its accounts, and what was in them. */
const [UNDER_WAY, FROM, TO, FROM_HAD, TO_HAD, LENGTH] = [ACCOUNTS, ACCOUNTS + 1, ACCOUNTS + 2, ACCOUNTS + 3, ACCOUNTS + 4, ACCOUNTS + 5]

/** @param {string} name @param {'create' | 'open'} how */
export function openVault(name, how = 'open') {
  const array = how === 'create' ? SharedArray.create(name, 'i4', LENGTH) : SharedArray.open(name, { dtype: 'i4' })
  const words = array.values
  if (how === 'create') words.fill(START, 0, ACCOUNTS)
  const mutex = new Mutex(name, { label: 'the vault' })

  /** Under the lock. `halfway` is called when the money is nowhere. @param {number} from @param {number} to @param {number} amount */
  function transfer(from, to, amount, halfway = () => {}) {
    words[FROM] = from
    words[TO] = to
    words[FROM_HAD] = words[from]
    words[TO_HAD] = words[to]
    Atomics.store(words, UNDER_WAY, 1)
    words[from] -= amount
    halfway()
    words[to] += amount
    Atomics.store(words, UNDER_WAY, 0)
  }

  /** Under the lock, when its owner before died: undoes what it had begun. Returns what was missing. */
  function repair() {
    const before = total()
    if (Atomics.load(words, UNDER_WAY) === 1) {
      words[words[FROM]] = words[FROM_HAD]
      words[words[TO]] = words[TO_HAD]
      Atomics.store(words, UNDER_WAY, 0)
    }
    return total() - before
  }

  const total = () => words.subarray(0, ACCOUNTS).reduce((a, b) => a + b, 0)

  return { mutex, transfer, repair, total, close: () => array.close(), unlink: () => (array.unlink(), Mutex.unlink(name)) }
}

// Sums a part of a shared array, for whoever started it.
import { serve } from 'talkwire'
import { SharedArray } from 'talkwire/memory'

export const functions = {
  /** @param {string} name @param {number} from @param {number} to */
  sum(name, from, to) {
    const array = SharedArray.open(name, { dtype: 'f8', readOnly: true })
    let sum = 0
    for (const value of array.values.subarray(from, to)) sum += value
    array.close()
    return sum
  },
}

await serve('adder', functions)

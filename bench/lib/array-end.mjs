// `array-end.mjs NAME` serves what bench/arrays.mjs calls. array-end.py is the same in Python.
import { serve } from 'talkwire'
import { SharedArray } from 'talkwire/memory'

/** @type {SharedArray<'f8'>} */
let array
/** @param {Float64Array} values */
const sumOf = (values) => {
  let sum = 0
  for (let n = 0; n < values.length; n++) sum += /** @type {number} */ (values[n])
  return sum
}

await serve(/** @type {string} */ (process.argv[2]), {
  /** @param {number} a @param {number} b */
  add: (a, b) => a + b,
  /** @param {string} name */
  open(name) {
    array = SharedArray.open(name, { dtype: 'f8' })
    return array.values.length
  },
  last: () => /** @type {number} */ (array.values.at(-1)),
  sum: () => sumOf(array.values),
  /** @param {Float64Array} values */
  sum_of: (values) => sumOf(values),
})
process.stdout.write('ready\n')

// Calls that wait for their answer: one promise a call, no closure.

/** @type {(value: any) => void} */
let resolveLast
const executor = (/** @type {(value: any) => void} */ resolve) => void (resolveLast = resolve)

const SLOTS = 8192

export class Pending {
  /** @type {(((value: any) => void) | undefined)[]} */
  slots = new Array(SLOTS).fill(undefined)
  id = 0

  /** @returns {Promise<any>} the promise of the call `this.id` */
  open() {
    this.id = (this.id + 1) >>> 0
    const slot = this.id & (SLOTS - 1)
    if (this.slots[slot]) throw new Error(`more than ${SLOTS} calls in flight`)
    const promise = new Promise(executor)
    this.slots[slot] = resolveLast
    return promise
  }

  /** @param {number} id @param {any} value */
  settle(id, value) {
    const slot = id & (SLOTS - 1)
    const resolve = this.slots[slot]
    if (!resolve) throw new Error(`an answer to ${id}, which nobody waits for`)
    this.slots[slot] = undefined
    resolve(value)
  }
}

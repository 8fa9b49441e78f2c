/** A counter is the document `~counter:NAME` with its number as `value`, changed by its revision; what is added in one turn is one change. */
import type { CountersDriver } from '../../driver.js'
import { gather } from '../gather.js'
import { pathOf } from './documents.js'
import type { Store } from './store.js'

export function counters({ couch, read, write, inTurn }: Store): CountersDriver {
  /** What the counter is after each. */
  const addAll = async (id: string, amounts: readonly number[]): Promise<readonly number[]> => {
    for (;;) {
      const found = await read(id)
      let now = Number(found?.['value'] ?? 0)
      const before = now
      const after = amounts.map((amount) => (now += amount))
      if (now === before || (await write(id, `"value":${now}`, found?._rev)) !== undefined) return after
    }
  }
  const added = gather({ send: (id, amounts: readonly number[]) => inTurn(id, () => addAll(id, amounts)) })
  return {
    async add(name, amount) {
      const id = `~counter:${couch.prefix}${name}`
      pathOf(id)
      return (await added(id, [amount]))[0]!
    },
  }
}

/** What is due when, in hub time: a heap of numbers and items, without a timer of its own. */

/** An item's `due` says when it is due by now; what stands here with another time is left out. */
export interface Due {
  due: number
}

/** Below so many nothing is tidied. */
const FEW = 1024

export class Deadlines<T extends Due> {
  private times: number[] = []
  private items: T[] = []
  private tidied = 0

  get size(): number {
    return this.times.length
  }

  add(item: T): void {
    if (item.due === Infinity) return
    if (this.times.length >= this.tidied * 2 + FEW) this.tidy()
    this.times.push(item.due)
    this.items.push(item)
    this.up(this.times.length - 1)
  }

  /** When the next item is due; Infinity: none. May be a time that no item has any more. */
  get next(): number {
    return this.times.length > 0 ? this.times[0]! : Infinity
  }

  /** The next item that is due; undefined: none is. */
  take(now: number): T | undefined {
    while (this.times.length > 0 && this.times[0]! <= now) {
      const time = this.times[0]!
      const item = this.items[0]!
      this.removeFirst()
      if (item.due === time) return item
    }
    return undefined
  }

  clear(): void {
    this.times = []
    this.items = []
    this.tidied = 0
  }

  /** Deadlines that were moved or met stay here: without this, a queue that is worked off quickly would collect them for the whole visibility time. */
  private tidy(): void {
    const { times, items } = this
    this.times = []
    this.items = []
    for (const [index, item] of items.entries()) {
      if (item.due !== times[index]) continue
      this.times.push(item.due)
      this.items.push(item)
    }
    for (let index = (this.times.length >> 1) - 1; index >= 0; index--) this.down(index)
    this.tidied = this.times.length
  }

  private removeFirst(): void {
    const time = this.times.pop()!
    const item = this.items.pop()!
    if (this.times.length === 0) return
    this.times[0] = time
    this.items[0] = item
    this.down(0)
  }

  private up(from: number): void {
    const { times, items } = this
    const time = times[from]!
    const item = items[from]!
    let index = from
    while (index > 0) {
      const parent = (index - 1) >> 1
      if (times[parent]! <= time) break
      times[index] = times[parent]!
      items[index] = items[parent]!
      index = parent
    }
    times[index] = time
    items[index] = item
  }

  private down(from: number): void {
    const { times, items } = this
    const time = times[from]!
    const item = items[from]!
    const end = times.length
    let index = from
    for (;;) {
      let child = index * 2 + 1
      if (child >= end) break
      if (child + 1 < end && times[child + 1]! < times[child]!) child++
      if (times[child]! >= time) break
      times[index] = times[child]!
      items[index] = items[child]!
      index = child
    }
    times[index] = time
    items[index] = item
  }
}

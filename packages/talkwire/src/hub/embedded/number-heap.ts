/** A heap of numbers: the smallest first. Numbers only, in one typed array: a million of them are 8 MB and no work for the collector. */
const FIRST = 64

export class NumberHeap {
  private numbers = new Float64Array(FIRST)
  private used = 0

  get size(): number {
    return this.used
  }

  get first(): number {
    return this.used > 0 ? this.numbers[0]! : Infinity
  }

  push(value: number): void {
    if (this.used === this.numbers.length) this.resize(this.used * 2)
    const { numbers } = this
    let index = this.used++
    while (index > 0) {
      const parent = (index - 1) >> 1
      if (numbers[parent]! <= value) break
      numbers[index] = numbers[parent]!
      index = parent
    }
    numbers[index] = value
  }

  pop(): number {
    const { numbers } = this
    const first = numbers[0]!
    const value = numbers[--this.used]!
    const end = this.used
    let index = 0
    for (let child = 1; child < end; child = index * 2 + 1) {
      if (child + 1 < end && numbers[child + 1]! < numbers[child]!) child++
      if (numbers[child]! >= value) break
      numbers[index] = numbers[child]!
      index = child
    }
    numbers[index] = value
    if (end > FIRST && end < numbers.length >> 2) this.resize(numbers.length >> 1)
    return first
  }

  clear(): void {
    this.numbers = new Float64Array(FIRST)
    this.used = 0
  }

  private resize(length: number): void {
    const other = new Float64Array(length)
    other.set(this.numbers.subarray(0, this.used))
    this.numbers = other
  }
}

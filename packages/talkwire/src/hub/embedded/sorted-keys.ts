/**
 * Keys in order. Sorted pieces of at most 512 in one list: a key is found by two binary searches, and put in by moving at most a
 * piece, so that a million keys cost what a thousand do, and far less than a tree of objects.
 */
const MOST = 512

export class SortedKeys {
  private readonly pieces: string[][] = []
  private count = 0

  get size(): number {
    return this.count
  }

  /** A key that is there already is not put in again. */
  add(key: string): void {
    if (this.pieces.length === 0) this.pieces.push([])
    const index = this.pieceOf(key)
    const piece = this.pieces[index]!
    const at = lowerBound(piece, key)
    if (piece[at] === key) return
    piece.splice(at, 0, key)
    this.count++
    if (piece.length > MOST) this.pieces.splice(index + 1, 0, piece.splice(MOST >> 1))
  }

  delete(key: string): void {
    if (this.pieces.length === 0) return
    const index = this.pieceOf(key)
    const piece = this.pieces[index]!
    const at = lowerBound(piece, key)
    if (piece[at] !== key) return
    piece.splice(at, 1)
    this.count--
    if (piece.length === 0) this.pieces.splice(index, 1)
  }

  /** At most so many keys that begin with the prefix and stand behind `after`. */
  list(prefix: string, after: string | undefined, most: number): string[] {
    const found: string[] = []
    const from = after !== undefined && after >= prefix ? after : prefix
    for (let index = this.pieces.length > 0 ? this.pieceOf(from) : 0; index < this.pieces.length; index++) {
      const piece = this.pieces[index]!
      for (let at = lowerBound(piece, from); at < piece.length; at++) {
        const key = piece[at]!
        if (key === after) continue
        if (!key.startsWith(prefix) || found.length >= most) return found
        found.push(key)
      }
    }
    return found
  }

  /** The last piece that begins at or before the key. */
  private pieceOf(key: string): number {
    let low = 0
    let high = this.pieces.length - 1
    while (low < high) {
      const middle = (low + high + 1) >> 1
      if (this.pieces[middle]![0]! <= key) low = middle
      else high = middle - 1
    }
    return low
  }
}

function lowerBound(piece: readonly string[], key: string): number {
  let low = 0
  let high = piece.length
  while (low < high) {
    const middle = (low + high) >> 1
    if (piece[middle]! < key) low = middle + 1
    else high = middle
  }
  return low
}

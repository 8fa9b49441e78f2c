/** What somebody who mistyped a name may have meant. */

/** Insertions, removals, replacements and swaps of neighbours between two texts. */
function distance(a: string, b: string): number {
  let before: number[] = []
  let last = Array.from({ length: b.length + 1 }, (_, column) => column)
  for (let row = 1; row <= a.length; row++) {
    const current = [row]
    for (let column = 1; column <= b.length; column++) {
      const same = a[row - 1] === b[column - 1]
      let least = Math.min(last[column]! + 1, current[column - 1]! + 1, last[column - 1]! + (same ? 0 : 1))
      if (row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1])
        least = Math.min(least, before[column - 2]! + 1)
      current.push(least)
    }
    before = last
    last = current
  }
  return last[b.length]!
}

/** The nearest of the known names; undefined when none is near. */
export function nearest(name: string, known: readonly string[]): string | undefined {
  const limit = Math.max(1, Math.floor(name.length / 3))
  const ranked = known
    .filter((each) => Math.abs(each.length - name.length) <= limit || each.startsWith(name))
    .map((each) => ({ each, far: each.startsWith(name) ? 1 : distance(name.toLowerCase(), each.toLowerCase()) }))
    .sort((a, b) => a.far - b.far)
  return ranked[0] && ranked[0].far <= limit ? ranked[0].each : undefined
}

/** The end of an error's text: what was meant, or else what there is. */
export function suggestion(name: string, known: readonly string[], most = 8): string {
  const near = nearest(name, known)
  if (near !== undefined) return `; did you mean "${near}"?`
  if (known.length === 0) return ''
  return `; there is ${known.slice(0, most).join(', ')}${known.length > most ? ' …' : ''}`
}

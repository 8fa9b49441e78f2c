/** A value in the text of an error: short, and nothing of what is inside. */
export function described(value: unknown): string {
  if (typeof value === 'string' || typeof value === 'number') return JSON.stringify(value).slice(0, 40)
  if (value === null) return 'null'
  return Array.isArray(value) ? 'a list' : `this ${typeof value}`
}

/** Numbers that come again with the same seed (mulberry32). */
export interface Random {
  /** A whole number from 0 up to, without, `limit`. */
  below(limit: number): number
}

export function randomOf(seed: number): Random {
  let state = seed >>> 0
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let value = Math.imul(state ^ (state >>> 15), state | 1)
    value ^= value + Math.imul(value ^ (value >>> 7), value | 61)
    return (value ^ (value >>> 14)) >>> 0
  }
  return { below: (limit) => Math.floor((next() / 2 ** 32) * limit) }
}

/** A seed that a failing test prints; TALKWIRE_SEED brings it back. */
export function seedOf(): number {
  const given = Number(process.env['TALKWIRE_SEED'])
  return given > 0 ? given : 1 + Math.floor(Math.random() * 2 ** 31)
}

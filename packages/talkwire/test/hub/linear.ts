/**
 * Whether the calls of a history can be put in one order that every answer fits, and in which nobody stands behind a call that began
 * after it had ended: linearizability, by the search of Wing and Gong, with Lowe's memory of what was tried. A call whose answer was
 * lost may stand anywhere behind its beginning, or nowhere.
 */
export interface Call<T> {
  readonly what: T
  readonly begin: number
  /** Infinity: nobody knows whether it ran. */
  readonly end: number
}

export interface Model<S, T> {
  readonly initial: S
  /** The state behind this call; undefined: its answer does not fit. */
  step(state: S, what: T): S | undefined
  /** Equal for equal states. */
  key(state: S): string
}

interface Choice<S> {
  readonly state: S
  /** So many of the known calls, from the first one on, are taken. */
  readonly first: number
  readonly candidates: readonly number[]
  next: number
  /** The call that led here. */
  readonly taken: number
}

/** Undefined: they can. Else the longest order that was found, for whoever looks what is wrong. */
export function misfit<S, T>(history: readonly Call<T>[], { initial, step, key }: Model<S, T>): readonly T[] | undefined {
  const calls = history.toSorted((one, other) => one.begin - other.begin)
  const numbers = [...calls.keys()]
  const known = numbers.filter((index) => calls[index]!.end !== Infinity)
  const lost = numbers.filter((index) => calls[index]!.end === Infinity)
  const taken = new Set<number>()
  const tried = new Set<string>()
  let longest: readonly number[] = []

  /** What began before all that is not taken ended. What was answered is tried first. */
  const candidatesFrom = (first: number): number[] => {
    const open: number[] = []
    let end = Infinity
    for (let at = first; at < known.length && calls[known[at]!]!.begin <= end; at++) {
      const index = known[at]!
      if (taken.has(index)) continue
      open.push(index)
      end = Math.min(end, calls[index]!.end)
    }
    return [...open, ...lost.filter((index) => !taken.has(index))].filter((index) => calls[index]!.begin <= end)
  }
  /** False: this state behind the same calls led nowhere before. */
  const isNew = (state: S, first: number): boolean => {
    const others = [...taken].filter((index) => index > known[first]! || calls[index]!.end === Infinity)
    return tried.size < tried.add(`${first} ${others.toSorted((one, other) => one - other).join()} ${key(state)}`).size
  }

  const path: Choice<S>[] = [{ state: initial, first: 0, candidates: candidatesFrom(0), next: 0, taken: -1 }]
  for (let choice = path.at(-1); choice; choice = path.at(-1)) {
    if (choice.first === known.length) return undefined
    const index = choice.candidates[choice.next++]
    if (index === undefined) {
      taken.delete(choice.taken)
      path.pop()
      continue
    }
    const state = step(choice.state, calls[index]!.what)
    if (state === undefined) continue
    taken.add(index)
    let { first } = choice
    while (first < known.length && taken.has(known[first]!)) first++
    if (isNew(state, first)) path.push({ state, first, candidates: candidatesFrom(first), next: 0, taken: index })
    else taken.delete(index)
    if (taken.size > longest.length) longest = [...taken]
  }
  return longest.map((index) => calls[index]!.what)
}

/** What is asked of one key, with what was answered. Every value is written once, so that a value tells who wrote it. */
export type KeyCall =
  /** `revision`: null, it had another one; undefined, the answer was lost. `expected`: 0, only if there is none. */
  | { readonly op: 'set'; readonly value: string; readonly expected?: number; readonly revision?: number | null }
  /** `value` null: there is none. */
  | { readonly op: 'get'; readonly value: string | null; readonly revision?: number }
  | { readonly op: 'delete'; readonly expected?: number; readonly done?: boolean }

interface Held {
  readonly value: string | null
  /** 0: there is none. */
  readonly revision: number
  /** The largest that was ever given. */
  readonly top: number
}

/** One key with a revision, as the hub promises it: compare-and-set, and revisions that only grow. */
export const keyModel: Model<Held, KeyCall> = {
  initial: { value: null, revision: 0, top: 0 },
  key: ({ revision, top }) => `${revision} ${top}`,
  step(held, call) {
    if (call.op === 'get') return call.value === held.value && (call.revision ?? 0) === held.revision ? held : undefined
    const fits = call.expected === undefined || call.expected === held.revision
    if (call.op === 'delete') {
      const is = fits && held.revision !== 0
      if (call.done !== undefined && call.done !== is) return undefined
      return is ? { value: null, revision: 0, top: held.top } : held
    }
    if (call.revision === null) return fits ? undefined : held
    const revision = call.revision!
    if (!fits || (revision > 0 && revision <= held.top)) return undefined
    return { value: call.value, revision, top: Math.max(held.top, revision) }
  },
}

/** What the calls on one key contradict; undefined: nothing. */
export function keyMisfit(history: readonly Call<KeyCall>[]): readonly KeyCall[] | undefined {
  const seen = new Map<string, number>()
  for (const { what } of history) if (what.op === 'get' && what.value !== null) seen.set(what.value, what.revision!)
  let unseen = 0
  // Of a set whose answer was lost a reader may know the revision; one that nobody knows is like no other.
  const told = history.map((call): Call<KeyCall> =>
    call.what.op === 'set' && call.what.revision === undefined
      ? { ...call, what: { ...call.what, revision: seen.get(call.what.value) ?? --unseen } }
      : call,
  )
  return misfit(told, keyModel)
}

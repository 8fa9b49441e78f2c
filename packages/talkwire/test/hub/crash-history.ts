/** What the clients of crash-storm.ts note, a line of JSON for each call, and what has to be true of all their lines together. */
import { keyMisfit, type Call, type KeyCall } from './linear.js'

/** Milliseconds of the monotonic clock, which all processes share. `end` null: the answer was lost with the hub. */
interface Span {
  readonly begin: number
  readonly end: number | null
}

export type Note =
  | (Span & { readonly kind: 'key'; readonly key: string; readonly what: KeyCall })
  | (Span & { readonly kind: 'push'; readonly bodies: readonly string[]; readonly ids?: readonly number[] })
  /** A job came. */
  | { readonly kind: 'given'; readonly id: number; readonly receipt: number; readonly body: string }
  | (Span & { readonly kind: 'ack'; readonly id: number; readonly receipt: number; readonly done?: boolean })
  | (Span & { readonly kind: 'add'; readonly value?: number })
  /** Held from `end` on, for `ttl` from `begin` on, if it is not renewed. */
  | (Span & { readonly kind: 'grant'; readonly name: string; readonly token: number; readonly ttl: number })
  | (Span & { readonly kind: 'renew'; readonly token: number; readonly ttl: number })
  | { readonly kind: 'release'; readonly begin: number; readonly token: number }
  | (Span & { readonly kind: 'publish'; readonly body: string })
  | { readonly kind: 'heard'; readonly stream: string; readonly position: number; readonly body: string }
  /** What was kept of the topic, in the end. */
  | { readonly kind: 'kept'; readonly position: number; readonly body: string }
  /** What the counter was, in the end. */
  | { readonly kind: 'counted'; readonly value: number }

type Of<K extends Note['kind']> = Extract<Note, { kind: K }>
type Complain = (what: string) => void

/** What is wrong; empty: nothing. */
export function faultsIn(notes: readonly Note[]): readonly string[] {
  const faults: string[] = []
  const complain = (what: string): void => void faults.push(what)
  const of = <K extends Note['kind']>(kind: K): Of<K>[] => notes.filter((note): note is Of<K> => note.kind === kind)
  checkKeys(of('key'), complain)
  checkJobs(of('push'), of('given'), of('ack'), complain)
  checkCounter(of('add'), of('counted'), complain)
  checkLeases(of('grant'), of('renew'), of('release'), complain)
  checkTopic(of('publish'), of('heard'), of('kept'), complain)
  return faults
}

function checkKeys(notes: readonly Of<'key'>[], complain: Complain): void {
  for (const [key, calls] of grouped(notes, (note) => note.key)) {
    const wrong = keyMisfit(calls.map(({ begin, end, what }): Call<KeyCall> => ({ begin, end: end ?? Infinity, what })))
    if (wrong) complain(`${key}: no order of its ${calls.length} calls fits; the longest has ${wrong.length}`)
  }
}

function checkJobs(pushes: readonly Of<'push'>[], given: readonly Of<'given'>[], acks: readonly Of<'ack'>[], complain: Complain): void {
  isUnique(
    given.map(({ receipt }) => receipt),
    'receipt of two jobs that were handed out',
    complain,
  )
  const done = new Map<number, number>()
  for (const { id, receipt, done: isDone } of acks) {
    if (isDone !== true) continue
    if (done.has(id)) complain(`job ${id} was acknowledged twice`)
    done.set(id, receipt)
  }
  for (const { id, receipt } of given)
    // Receipts only grow, so this one is of a later time than the one that was acknowledged.
    if (receipt > (done.get(id) ?? Infinity)) complain(`job ${id} was handed out after it was acknowledged`)
  const maybeDone = new Set(acks.filter(({ end }) => end === null).map(({ id }) => id))
  const confirmed = new Map(pushes.flatMap(({ ids, bodies }) => (ids ?? []).map((id, index) => [id, bodies[index]!] as const)))
  isUnique(
    pushes.flatMap(({ ids }) => ids ?? []),
    'id of two jobs',
    complain,
  )
  for (const id of confirmed.keys()) if (!done.has(id) && !maybeDone.has(id)) complain(`job ${id} was lost`)
  const pushed = new Set(pushes.flatMap(({ bodies }) => bodies))
  for (const { id, body } of given)
    if ((confirmed.get(id) ?? body) !== body || !pushed.has(body)) complain(`job ${id} came with a body that is not its own`)
}

function checkCounter(adds: readonly Of<'add'>[], counted: readonly Of<'counted'>[], complain: Complain): void {
  const known = adds.filter((note) => note.value !== undefined)
  inOrder(known, ({ value }) => value!, 'count', complain)
  for (const { value } of counted)
    if (value < known.length || value > adds.length) complain(`the counter is ${value} after ${known.length} to ${adds.length} additions`)
}

function checkLeases(
  grants: readonly Of<'grant'>[],
  renewals: readonly Of<'renew'>[],
  releases: readonly Of<'release'>[],
  complain: Complain,
): void {
  const released = new Map(releases.map(({ token, begin }) => [token, begin]))
  const renewed = grouped(renewals, ({ token }) => token)
  isUnique(
    grants.map(({ token }) => token),
    'token of two grants',
    complain,
  )
  for (const [name, all] of grouped(grants, (note) => note.name)) {
    inOrder(all, ({ token }) => token, `token of ${name}`, complain)
    const held = all
      .map((grant) => {
        const ends = [grant, ...(renewed.get(grant.token) ?? [])].map(({ begin, ttl }) => begin + ttl)
        return { token: grant.token, from: grant.end!, to: Math.min(Math.max(...ends), released.get(grant.token) ?? Infinity) }
      })
      .toSorted((one, other) => one.from - other.from)
    for (const [index, { token, to }] of held.entries()) {
      const next = held[index + 1]
      if (next && next.from < to) complain(`${name} was held with ${token} and with ${next.token}`)
    }
  }
}

function checkTopic(
  published: readonly Of<'publish'>[],
  heard: readonly Of<'heard'>[],
  kept: readonly Of<'kept'>[],
  complain: Complain,
): void {
  isUnique(
    kept.map(({ body }) => body),
    'message that is kept twice',
    complain,
  )
  const positions = new Map(kept.map(({ body, position }) => [body, position]))
  const confirmed = published.filter(({ end }) => end !== null)
  for (const { body } of confirmed) if (!positions.has(body)) complain(`the message ${body} was lost`)
  inOrder(
    confirmed.filter(({ body }) => positions.has(body)),
    ({ body }) => positions.get(body)!,
    'position',
    complain,
  )
  for (const { body, position } of heard)
    if (positions.get(body) !== position) complain(`the message ${body} was shown at ${position} and is kept at ${positions.get(body)}`)
  for (const [stream, all] of grouped(heard, (note) => note.stream))
    for (const [index, { position }] of all.entries())
      if (index > 0 && position <= all[index - 1]!.position) complain(`${stream} heard ${position} after ${all[index - 1]!.position}`)
}

function grouped<T, K>(all: readonly T[], keyOf: (one: T) => K): Map<K, T[]> {
  const groups = new Map<K, T[]>()
  for (const each of all) {
    const group = groups.get(keyOf(each)) ?? []
    group.push(each)
    groups.set(keyOf(each), group)
  }
  return groups
}

function isUnique<T>(all: readonly T[], what: string, complain: Complain): void {
  const seen = new Set<T>()
  for (const each of all) if (seen.size === seen.add(each).size) complain(`${String(each)} is the ${what}`)
}

/** Whatever ended before another began has the smaller number. */
function inOrder<T extends Span>(all: readonly T[], numberOf: (one: T) => number, what: string, complain: Complain): void {
  let end = Infinity
  let last: number | undefined
  for (const one of all.toSorted((left, right) => numberOf(right) - numberOf(left))) {
    const number = numberOf(one)
    if (number === last) complain(`${what} ${number} was given twice`)
    if (one.begin > end) complain(`${what} ${number} is smaller than one that was given before`)
    end = Math.min(end, one.end ?? Infinity)
    last = number
  }
}

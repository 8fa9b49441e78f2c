/** What the clients of crash-storm.ts note, a line of JSON for each call, and what has to be true of all their lines together. */
import { keyMisfit, type Call, type KeyCall } from './linear.js'

/** Milliseconds of the monotonic clock, which all processes share. `end` null: the answer was lost with the hub. */
interface Span {
  readonly begin: number
  readonly end: number | null
}

type Id = number | string

export type Note =
  | (Span & { readonly kind: 'key'; readonly key: string; readonly what: KeyCall })
  | (Span & { readonly kind: 'push'; readonly bodies: readonly string[]; readonly ids?: readonly Id[] })
  /** A job came. `receipt`, which only grows, tells which time it was, else `at` does. */
  | { readonly kind: 'given'; readonly id: Id; readonly receipt?: number; readonly at?: number; readonly body: string }
  | (Span & { readonly kind: 'ack'; readonly id: Id; readonly receipt?: number; readonly done?: boolean })
  | (Span & { readonly kind: 'add'; readonly value?: number })
  /** Held from `end` on, for `ttl` from `begin` on, if it is not renewed. */
  | (Span & { readonly kind: 'grant'; readonly name: string; readonly token: number; readonly ttl: number })
  | (Span & { readonly kind: 'renew'; readonly name: string; readonly token: number; readonly ttl: number })
  | { readonly kind: 'release'; readonly begin: number; readonly name: string; readonly token: number }
  | (Span & { readonly kind: 'publish'; readonly body: string })
  | { readonly kind: 'heard'; readonly stream: string; readonly position: number; readonly body: string }
  /** What was kept of the topic, in the end. */
  | { readonly kind: 'kept'; readonly position: number; readonly body: string }
  /** What the counter was, in the end. */
  | { readonly kind: 'counted'; readonly value: number }

type Of<K extends Note['kind']> = Extract<Note, { kind: K }>
type Complain = (what: string) => void

/** When a broker was killed, and there again. */
export interface Away {
  readonly from: number
  readonly to: number
}

/** What is wrong; empty: nothing. `aways`: what was acknowledged before one of them may be handed out again after it. */
export function faultsIn(notes: readonly Note[], aways: readonly Away[] = []): readonly string[] {
  const faults: string[] = []
  const complain = (what: string): void => void faults.push(what)
  const of = <K extends Note['kind']>(kind: K): Of<K>[] => notes.filter((note): note is Of<K> => note.kind === kind)
  checkKeys(of('key'), complain)
  checkJobs(of('push'), of('given'), of('ack'), aways, complain)
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

function checkJobs(
  pushes: readonly Of<'push'>[],
  given: readonly Of<'given'>[],
  acks: readonly Of<'ack'>[],
  aways: readonly Away[],
  complain: Complain,
): void {
  isUnique(
    given.map(({ receipt }) => receipt).filter((receipt) => receipt !== undefined),
    'receipt of two jobs that were handed out',
    complain,
  )
  const done = new Map<Id, number>()
  for (const { id, receipt, end, done: isDone } of acks) {
    if (isDone !== true) continue
    if (done.has(id) && aways.length === 0) complain(`job ${id} was acknowledged twice`)
    done.set(id, receipt ?? end!)
  }
  for (const { id, receipt, at } of given)
    // This one is of a later time than the one that was acknowledged.
    if ((receipt ?? at!) > (done.get(id) ?? Infinity) && !aways.some(({ from, to }) => done.get(id)! <= to && at! >= from))
      complain(`job ${id} was handed out after it was acknowledged`)
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
  const grantOf = ({ name, token }: { readonly name: string; readonly token: number }): string => `${token} of ${name}`
  const released = new Map(releases.map((release) => [grantOf(release), release.begin]))
  const renewed = grouped(renewals, grantOf)
  isUnique(grants.map(grantOf), 'token of two grants', complain)
  for (const [name, all] of grouped(grants, (note) => note.name)) {
    inOrder(all, ({ token }) => token, `token of ${name}`, complain)
    const held = all
      .map((grant) => {
        const ends = [grant, ...(renewed.get(grantOf(grant)) ?? [])].map(({ begin, ttl }) => begin + ttl)
        return { token: grant.token, from: grant.end!, to: Math.min(Math.max(...ends), released.get(grantOf(grant)) ?? Infinity) }
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
  const order = new Map([...positions.values()].toSorted((one, other) => one - other).map((position, index) => [position, index]))
  for (const [stream, all] of grouped(heard, (note) => note.stream))
    for (const [index, { position }] of all.entries()) {
      const before = all[index - 1]?.position
      if (before === undefined) continue
      if (position <= before) complain(`${stream} heard ${position} after ${before}`)
      else if (order.get(position)! - order.get(before)! > 1) complain(`${stream} missed what is between ${before} and ${position}`)
    }
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

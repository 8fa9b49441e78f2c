/** In which order locks are taken, and who contradicts that: docs/sync/mutex.md. What is known is known in this thread. */
import { AsyncLocalStorage } from 'node:async_hooks'
import { TalkwireError } from '../error.js'

/** A task's locks, those that were let go of too until it wants the next one. */
export type Task = { readonly title: string; readonly isHeld: () => boolean }[]

const tasks = new AsyncLocalStorage<Task>()
let anybody = false

/** Runs it as one task: what runs within it at the same time counts as one. */
export function asTask<T>(work: () => T): T {
  anybody = true
  return tasks.run([], work)
}

/** The task that runs here. Costs nothing where there never was one. */
export const currentTask = (): Task | undefined => (anybody ? tasks.getStore() : undefined)

/** Where a lock was wanted first while another one was held: `orders.get(held).get(wanted)`. */
const orders = new Map<string, Map<string, string>>()
/** More are forgotten, those that came first before the others: names may be made of anything. */
const MOST = 10_000
let count = 0

/** To be called before a task waits. Throws LOCK_ORDER when others were seen to take the two in the other order; DEADLOCK when it has it. */
export function want(task: Task, wanted: string): void {
  const held = task.filter(({ isHeld }) => isHeld())
  task.splice(0, task.length, ...held)
  for (const { title } of held) {
    if (title === wanted) throw new TalkwireError('DEADLOCK', `${wanted} is held by this very task, which could never let go`)
    if (orders.get(title)?.has(wanted)) continue
    const here = placeOf()
    const way = wayFrom(wanted, title)
    if (way) throw contradiction(title, wanted, here, way)
    remember(title, wanted, here)
  }
}

function remember(held: string, wanted: string, place: string): void {
  const wants = orders.get(held) ?? new Map<string, string>()
  orders.set(held, wants.set(wanted, place))
  count++
  while (count > MOST) {
    const [oldest, those] = orders.entries().next().value!
    orders.delete(oldest)
    count -= those.size
  }
}

interface Step {
  readonly held: string
  readonly wanted: string
  readonly place: string
}

/** The steps that were seen from one lock to another. */
function wayFrom(from: string, to: string): Step[] | undefined {
  const came = new Map<string, Step | undefined>([[from, undefined]])
  for (const held of came.keys())
    for (const [wanted, place] of orders.get(held) ?? []) if (!came.has(wanted)) came.set(wanted, { held, wanted, place })
  if (!came.has(to)) return undefined
  const way: Step[] = []
  for (let step = came.get(to); step; step = came.get(step.held)) way.unshift(step)
  return way
}

function contradiction(held: string, wanted: string, here: string, way: readonly Step[]): TalkwireError {
  const before = way.map((step) => `${step.wanted} while ${step.held} was held, at ${step.place}`).join('; ')
  return new TalkwireError(
    'LOCK_ORDER',
    `${wanted} is wanted while ${held} is held, at ${here}; before, somebody wanted ${before}. Two who do both wait for each other for ever: take them in one order everywhere`,
  )
}

const OWN = new URL('.', import.meta.url).href

/** Of the first caller that is none of ours. */
function placeOf(): string {
  const lines = (new Error().stack ?? '').split('\n').slice(1)
  return lines.find((line) => !line.includes(OWN))?.replace(/^\s*at (?:async )?/, '') ?? 'a place that is not known'
}

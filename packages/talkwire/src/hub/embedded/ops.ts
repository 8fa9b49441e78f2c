/** What drivers ask for in `do`: by name, with arguments by position, bodies as bytes. Each is checked here. */
import { TalkwireError, plainMessage } from '../../error.js'
import { isVisible } from '../../session/validate.js'
import { validatePattern, validateTopic } from '../topic-names.js'
import { headersOf, listOf, nameOf, numberOf, visibleInput, wholeOf } from './checks.js'
import type { Client } from './clients.js'
import { keepRule } from './kept.js'
import type { HubLimits } from './limits.js'
import { mustHold, type Job, type NewJob } from './queue.js'
import { defaultSettings } from './queues.js'
import type { Change, Entry } from './state.js'
import type { Shell } from './shell.js'
import type { Subscriber } from './subscriber.js'

/** What one call has to wait for. */
export interface Turn {
  stamp: number
  readonly slow: Set<Subscriber>
}

export interface Hub {
  readonly shell: Shell
  readonly limits: HubLimits
}

type Op = (hub: Hub, client: Client, args: readonly unknown[], turn: Turn) => unknown

/** A value as it travels: revision, type, bytes. */
export type RawEntry = readonly [revision: number, type: number, value: Uint8Array]
export type RawKey = readonly [key: string, ...rest: RawEntry]

/** What is answered while there is no room on the disk; of what is published, what is not kept. */
const GOES_ON = new Set(['publish', 'extend', 'unhand', 'want', 'counts', 'get', 'list', 'renew', 'inspect'])

const LONGEST_DELAY = 10 * 365 * 86_400_000
const MOST_LISTED = 1000

const wrote = ({ shell }: Hub, turn: Turn): void => {
  turn.stamp = Math.max(turn.stamp, shell.machine.effects.count)
}
const saw = (turn: Turn, stamp: number): void => {
  turn.stamp = Math.max(turn.stamp, stamp)
}

export const ops: Readonly<Record<string, Op>> = {
  publish({ shell }, client, [bytes], turn) {
    const { slow, stamp, unheard } = shell.machine.topics.publish(asBuffer(bytes), shell.now(), shell.wall(), (topic, isKept) => {
      checked(validateTopic, topic)
      if (!client.everything) client.may('topics', topic)
      if (isKept && shell.full) throw shell.full
    })
    saw(turn, stamp)
    for (const each of slow) turn.slow.add(each)
    return unheard
  },
  keep(hub, client, [rule], turn) {
    const wish = keepRule(rule)
    checked(validatePattern, wish.pattern)
    client.may('topics', wish.pattern)
    hub.shell.machine.topics.keeper.keep(wish, hub.shell.now())
    wrote(hub, turn)
    return null
  },

  declare(hub, client, [name, visibility, attempts, dedupe], turn) {
    const settings = {
      visibility: numberOf(visibility, 'visibility, milliseconds,', 1, LONGEST_DELAY, defaultSettings.visibility),
      attempts: wholeOf(attempts, 'attempts', 1, 1e9, defaultSettings.attempts),
      dedupe: numberOf(dedupe, 'dedupe, milliseconds,', 0, LONGEST_DELAY, defaultSettings.dedupe),
    }
    saw(turn, hub.shell.machine.queues.declare(queueName(client, name), settings))
    return null
  },
  push(hub, client, [name, jobs], turn) {
    const queue = hub.shell.machine.queues.open(queueName(client, name))
    const { ids } = queue.push(listOf(jobs, 'jobs').map(newJob), hub.shell.now(), hub.shell.wall())
    wrote(hub, turn)
    return ids
  },
  ack(hub, client, [name, receipts], turn) {
    const queue = hub.shell.machine.queues.find(queueName(client, name))
    const pairs = listOf(receipts, 'receipts') as readonly (readonly [number, number])[]
    const answers = queue ? queue.ack(pairs, hub.shell.now()) : pairs.map(() => false)
    wrote(hub, turn)
    return answers
  },
  nack(hub, client, [name, id, receipt, delay], turn) {
    const job = held(hub, client, name, id, receipt)
    job.queue.nack(job, numberOf(delay, 'delay, milliseconds,', 0, LONGEST_DELAY, 0), hub.shell.now())
    wrote(hub, turn)
    return null
  },
  /** It was handed out and never seen: that was no attempt. */
  unhand(hub, client, [name, id, receipt]) {
    const job = held(hub, client, name, id, receipt)
    job.queue.unhand(job, hub.shell.now())
    return null
  },
  dead(hub, client, [name, id, receipt, reason], turn) {
    const job = held(hub, client, name, id, receipt)
    job.queue.bury(job, (optionalText(reason, 'reason') ?? '').slice(0, 1000), hub.shell.now())
    wrote(hub, turn)
    return null
  },
  extend(hub, client, [name, id, receipt, milliseconds]) {
    const job = held(hub, client, name, id, receipt)
    job.queue.extend(job, numberOf(milliseconds, 'milliseconds', 1, LONGEST_DELAY), hub.shell.now())
    return null
  },
  want({ limits, shell }, client, [number, jobs]) {
    const consumer = client.consumers.get(number as number)
    if (!consumer) return null
    consumer.want = wholeOf(jobs, 'jobs', 0, limits.taken)
    consumer.queue.dispatch(shell.now())
    return null
  },
  counts(hub, client, [name], turn) {
    wrote(hub, turn)
    const { ready = 0, delayed = 0, taken = 0, dead = 0 } = hub.shell.machine.queues.find(queueName(client, name))?.tally() ?? {}
    return [ready, delayed, taken, dead]
  },
  purge(hub, client, [name], turn) {
    const count = hub.shell.machine.queues.find(queueName(client, name))?.purge() ?? 0
    wrote(hub, turn)
    return count
  },
  revive(hub, client, [name, ids], turn) {
    const count = hub.shell.machine.queues.find(queueName(client, name))?.revive(listOf(ids, 'ids') as readonly number[], hub.shell.now())
    wrote(hub, turn)
    return count ?? 0
  },

  get({ shell }, client, [key], turn): RawEntry | null {
    const name = keyName(client, key)
    const entry = shell.machine.state.get(name, shell.now())
    saw(turn, shell.machine.state.stampOf(name))
    return entry ? [entry.revision, entry.type, entry.value] : null
  },
  set(hub, client, [key, value, type, ttl, revision], turn) {
    return changed(hub, turn, change(client, [key, asBuffer(value), type, ttl, revision]))
  },
  delete(hub, client, [key, revision], turn) {
    return changed(hub, turn, change(client, [key, null, 0, undefined, revision])) !== null
  },
  batch(hub, client, [changes], turn) {
    const wishes = listOf(changes, 'changes').map((each) => change(client, listOf(each, 'a change')))
    const answer = hub.shell.machine.state.batch(wishes, hub.shell.now())
    wrote(hub, turn)
    return answer ?? null
  },
  list({ shell, limits }, client, [prefix, after, limit], turn): RawKey[] {
    const { state } = shell.machine
    const entries = state.list(
      prefixOf(client, prefix),
      optionalText(after, 'after'),
      wholeOf(limit, 'limit', 1, MOST_LISTED, MOST_LISTED),
      shell.now(),
    )
    saw(turn, state.goneStamp)
    let bytes = 0
    const found: RawKey[] = []
    for (const entry of entries) {
      // One answer is one message.
      if (found.length > 0 && (bytes += entry.value.length) > limits.message) break
      saw(turn, entry.stamp)
      found.push(rawKey(entry))
    }
    return found
  },

  add(hub, client, [name, amount], turn) {
    const { counters } = hub.shell.machine
    const key = nameOf(name, 'a counter')
    client.may('counters', key)
    const by = numberOf(amount, 'amount', -Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER)
    const known = counters.get(key, hub.shell.now())
    const before = known ? Buffer.from(known.value).readDoubleLE() : 0
    if (by === 0) {
      saw(turn, counters.stampOf(key))
      return before
    }
    const value = Buffer.allocUnsafe(8)
    value.writeDoubleLE(before + by)
    counters.change({ key, value, type: 0, ttl: undefined, revision: undefined }, hub.shell.now())
    wrote(hub, turn)
    return before + by
  },
  renew(hub, client, [name, token, ttl], turn) {
    const { effects, leases } = hub.shell.machine
    const before = effects.count
    const answer = leases.renew(leaseName(client, name), token as number, ttlOf(ttl), hub.shell.now())
    // Whoever holds it goes on holding it, whatever else waits for the disk.
    if (!answer || effects.count > before) wrote(hub, turn)
    return answer
  },
  release(hub, client, [name, token], turn) {
    const answer = hub.shell.machine.leases.release(leaseName(client, name), token as number, hub.shell.now())
    wrote(hub, turn)
    return answer
  },
  inspect({ shell }, client, [name], turn) {
    const now = shell.now()
    const { holders, waiters, stamp } = shell.machine.leases.inspect(leaseName(client, name), now)
    saw(turn, stamp)
    return [holders.map(({ token, holder, label, due }) => [token, holder, label, due - now]), waiters]
  },
}

export const rawKey = ({ key, revision, type, value }: Entry): RawKey => [key, revision, type, value]

/** What went wrong with one request of many. */
export interface OpError {
  readonly code: string
  readonly message: string
}

/** All requests in order; what one throws is its answer. */
export function runAll(
  hub: Hub,
  client: Client,
  requests: readonly unknown[],
  turn: Turn,
  onError: (reason: unknown, what: string) => void,
): unknown[] {
  return requests.map((request) => {
    const [name, ...args] = listOf(request, 'a request')
    try {
      return run(hub, client, name, args, turn)
    } catch (reason) {
      if (reason instanceof TalkwireError && isVisible(reason))
        return { code: reason.code, message: plainMessage(reason) } satisfies OpError
      onError(reason, String(name))
      return { code: 'INTERNAL', message: 'internal error' } satisfies OpError
    }
  })
}

export function run(hub: Hub, client: Client, name: unknown, args: readonly unknown[], turn: Turn): unknown {
  const op = typeof name === 'string' && Object.hasOwn(ops, name) ? ops[name] : undefined
  if (!op) throw visibleInput(`there is no request ${JSON.stringify(name)?.slice(0, 64)}; there are ${Object.keys(ops).join(', ')}`)
  if (hub.shell.full && !GOES_ON.has(name as string)) throw hub.shell.full
  return op(hub, client, args, turn)
}

export function queueName(client: Client, value: unknown): string {
  const name = nameOf(value, 'a queue')
  client.may('queues', name)
  return name
}

export function leaseName(client: Client, value: unknown): string {
  const name = nameOf(value, 'a lease')
  client.may('leases', name)
  return name
}

export function prefixOf(client: Client, value: unknown): string {
  if (typeof value !== 'string') throw visibleInput('prefix is a text; "" is all')
  client.may('keys', value)
  return value
}

/** Runs a check of ours on what a client said. */
export function checked<T>(check: (value: T) => void, value: T): void {
  try {
    check(value)
  } catch (reason) {
    throw reason instanceof TalkwireError ? visibleInput(plainMessage(reason)) : reason
  }
}

export const ttlOf = (value: unknown): number => numberOf(value, 'ttl, milliseconds,', 1, LONGEST_DELAY)

export function asBuffer(value: unknown): Buffer {
  if (!(value instanceof Uint8Array)) throw visibleInput('bytes are wanted here')
  return Buffer.isBuffer(value) ? value : Buffer.from(value.buffer, value.byteOffset, value.byteLength)
}

export const optionalText = (value: unknown, what: string): string | undefined => {
  if (value === undefined || value === null) return undefined
  if (typeof value === 'string') return value
  throw visibleInput(`${what} is a text`)
}

function keyName(client: Client, key: unknown): string {
  if (typeof key !== 'string') throw visibleInput('a key is a text')
  client.may('keys', key)
  return key
}

function change(client: Client, [key, value, type, ttl, revision]: readonly unknown[]): Change {
  return {
    key: keyName(client, key),
    value: value === null ? undefined : asBuffer(value),
    type: wholeOf(type, 'type', 0, 3, 0),
    ttl: ttl === undefined || ttl === null ? undefined : ttlOf(ttl),
    revision: revision === undefined || revision === null ? undefined : wholeOf(revision, 'revision', -1, Number.MAX_SAFE_INTEGER),
  }
}

function changed(hub: Hub, turn: Turn, wish: Change): number | null {
  const { state } = hub.shell.machine
  const revision = state.change(wish, hub.shell.now())
  saw(turn, state.stampOf(wish.key))
  return revision ?? null
}

function held({ shell }: Hub, client: Client, name: unknown, id: unknown, receipt: unknown): Job {
  const queue = shell.machine.queues.find(queueName(client, name))
  const job = queue?.held(id as number, receipt as number)
  if (!job && queue) {
    queue.settleLate(receipt as number)
    queue.dispatch(shell.now())
  }
  return mustHold(job)
}

function newJob(value: unknown): NewJob {
  const [body, type, headers, delay, priority, key] = listOf(value, 'a job')
  return {
    body: asBuffer(body),
    type: wholeOf(type, 'type', 0, 3, 0),
    headers: headers === undefined || headers === null ? undefined : headersOf(headers),
    delay: numberOf(delay, 'delay, milliseconds,', 0, LONGEST_DELAY, 0),
    priority: wholeOf(priority, 'priority', 0, 9, 0),
    key: optionalText(key, 'key'),
  }
}

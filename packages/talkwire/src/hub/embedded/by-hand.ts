/** The methods that are written by hand, in any language: values are `data` (JSON), `text` or `bytes`. */
import type { Context } from '../../contract/contract.js'
import { visibleError } from '../../session/validate.js'
import { fromJson, toJson } from '../../codecs/plain-json.js'
import { validatePattern } from '../topic-names.js'
import * as packed from '../packed.js'
import { headersOf, isObject, listOf, nameOf, numberOf, visibleInput, wholeOf } from './checks.js'
import type { Client } from './clients.js'
import { asBuffer, checked, leaseName, optionalText, prefixOf, queueName, ttlOf, type RawEntry } from './ops.js'
import { feed, jobBody, look, takeByHand, type RawJob } from './streams.js'
import type { Hub } from './ops.js'
import { SLOW, type Slow } from './subscriber.js'
import type { Start, Subscribe } from './topics.js'
import { acquire } from './waiting.js'

type Values = Record<string, unknown>
/** Runs requests of ops.ts and waits for what they wait for. */
export type Ask = (client: Client, name: string, ...args: unknown[]) => Promise<unknown> | unknown

const LONGEST_WAIT = 3_600_000
const MOST_TAKEN = 1000
const HOUR = 3_600_000

export function byHand(hub: Hub, clientOf: (ctx: Context<any>) => Client, ask: Ask) {
  const { shell } = hub
  return {
    async publish(input: Values, ctx: Context<any>) {
      const { bytes, type } = bodyOf(input)
      const topic = nameOf(input['topic'], 'topic')
      const isRequest = input['request'] === true
      const flags = type | (isRequest ? packed.REQUEST : input['retain'] === true ? packed.RETAIN : 0)
      const unheard = (await ask(clientOf(ctx), 'publish', packed.pack(flags, topic, headersOf(input['headers']), bytes))) as number[]
      return isRequest ? { heard: unheard.length === 0 } : null
    },
    async *subscribe(input: Values, ctx: Context<any>) {
      const client = clientOf(ctx)
      for await (const [lost, bytes] of feed(hub, client, subscribeOf(client, input), ctx.signal)) {
        // By hand nobody goes on after a lost connection: where it begins is left out.
        if (bytes === undefined) yield { ready: true }
        else yield* messagesOf(lost as number, bytes as Uint8Array)
      }
    },
    keep: (input: Values, ctx: Context<any>) => ask(clientOf(ctx), 'keep', input),

    queue: (input: Values, ctx: Context<any>) =>
      ask(clientOf(ctx), 'declare', input['queue'], input['visibility'], input['attempts'], input['dedupe']),
    async push(input: Values, ctx: Context<any>) {
      const jobs = (input['jobs'] === undefined ? [input] : listOf(input['jobs'], 'jobs')).map((each) => {
        if (!isObject(each)) throw visibleInput('a job is { data, delay, priority, key }')
        const { bytes, type } = bodyOf(each)
        return [bytes, type, each['headers'], each['delay'], each['priority'], each['key']]
      })
      return { ids: await ask(clientOf(ctx), 'push', input['queue'], jobs) }
    },
    async take(input: Values, ctx: Context<any>) {
      const client = clientOf(ctx)
      const queue = shell.machine.queues.open(queueName(client, input['queue']))
      const most = wholeOf(input['max'], 'max', 1, MOST_TAKEN, 1)
      const wait = numberOf(input['wait'], 'wait, milliseconds,', 0, LONGEST_WAIT, 0)
      return (await takeByHand(hub, client, queue, most, wait, ctx.signal)).map(jobOf)
    },
    async ack(input: Values, ctx: Context<any>) {
      const receipts = input['receipts'] === undefined ? [input['receipt']] : listOf(input['receipts'], 'receipts')
      const done = (await ask(clientOf(ctx), 'ack', input['queue'], receipts.map(receiptOf))) as boolean[]
      if (input['receipts'] === undefined && !done[0])
        throw visibleError('NOT_FOUND', 'no job is out with this receipt: its time was over, or it is done')
      return { done }
    },
    nack: (input: Values, ctx: Context<any>) => ask(clientOf(ctx), 'nack', input['queue'], ...receiptOf(input['receipt']), input['delay']),
    dead: (input: Values, ctx: Context<any>) => ask(clientOf(ctx), 'dead', input['queue'], ...receiptOf(input['receipt']), input['reason']),
    extend: (input: Values, ctx: Context<any>) =>
      ask(clientOf(ctx), 'extend', input['queue'], ...receiptOf(input['receipt']), input['milliseconds']),
    async counts(input: Values, ctx: Context<any>) {
      const [ready, delayed, taken, dead] = (await ask(clientOf(ctx), 'counts', input['queue'])) as number[]
      return { ready, delayed, taken, dead }
    },
    async purge(input: Values, ctx: Context<any>) {
      return { jobs: await ask(clientOf(ctx), 'purge', input['queue']) }
    },
    async deadLetters(input: Values, ctx: Context<any>) {
      const queue = shell.machine.queues.find(queueName(clientOf(ctx), input['queue']))
      const jobs = queue?.deadLetters(wholeOf(input['limit'], 'limit', 1, MOST_TAKEN, 100)) ?? []
      await shell.after(shell.machine.effects.count)
      return Promise.all(
        jobs.map(async (job) => ({
          id: job.id,
          reason: job.reason,
          attempts: job.attempts,
          headers: job.headers ?? {},
          ...valueOf(job.type, await jobBody(shell, job), input['raw'] === true),
        })),
      )
    },
    async revive(input: Values, ctx: Context<any>) {
      return { jobs: await ask(clientOf(ctx), 'revive', input['queue'], input['ids']) }
    },

    async get(input: Values, ctx: Context<any>) {
      const entry = (await ask(clientOf(ctx), 'get', input['key'])) as RawEntry | null
      return entry && { revision: entry[0], ...valueOf(entry[1], entry[2]) }
    },
    async set(input: Values, ctx: Context<any>) {
      const { bytes, type } = bodyOf(input)
      return revisionOf(await ask(clientOf(ctx), 'set', input['key'], bytes, type, input['ttl'], input['revision']))
    },
    async delete(input: Values, ctx: Context<any>) {
      return { done: await ask(clientOf(ctx), 'delete', input['key'], input['revision']) }
    },
    async batch(input: Values, ctx: Context<any>) {
      const changes = listOf(input['changes'], 'changes').map((each) => {
        if (!isObject(each)) throw visibleInput('a change is { key, data, revision, ttl } or { key, delete: true }')
        if (each['delete'] === true) return [each['key'], null, 0, undefined, each['revision']]
        const { bytes, type } = bodyOf(each)
        return [each['key'], bytes, type, each['ttl'], each['revision']]
      })
      const revisions = await ask(clientOf(ctx), 'batch', changes)
      return revisions === null ? { conflict: true } : { revisions }
    },
    async list(input: Values, ctx: Context<any>) {
      const found = (await ask(clientOf(ctx), 'list', input['prefix'] ?? '', input['after'], input['limit'])) as [
        string,
        number,
        number,
        Uint8Array,
      ][]
      return found.map(([key, revision, type, value]) => ({ key, revision, ...valueOf(type, value) }))
    },
    async *watch(input: Values, ctx: Context<any>) {
      const client = clientOf(ctx)
      let ready = false
      for await (const changes of look(hub, client, prefixOf(client, input['prefix'] ?? ''), ctx.signal)) {
        if (!ready) yield { ready: true }
        ready = true
        for (const [key, revision, type, value] of changes)
          yield revision === undefined ? { key, gone: true } : { key, revision, ...valueOf(type!, value!) }
      }
    },
    async add(input: Values, ctx: Context<any>) {
      return { value: await ask(clientOf(ctx), 'add', input['name'], input['amount'] ?? 1) }
    },

    async acquire(input: Values, ctx: Context<any>) {
      const client = clientOf(ctx)
      const wish = {
        holder: nameOf(input['holder'] ?? `${ctx.peer.pid ?? 'somebody'}`, 'holder'),
        label: optionalText(input['label'], 'label') ?? '',
        ttl: ttlOf(input['ttl']),
        wait: numberOf(input['wait'], 'wait, milliseconds,', 0, HOUR * 24, 0),
        permits: wholeOf(input['permits'], 'permits', 1, 1_000_000, 1),
      }
      const granted = await acquire(hub, leaseName(client, input['name']), wish, ctx.signal)
      return granted ? { token: granted.token, ttl: granted.ttl } : null
    },
    renew: (input: Values, ctx: Context<any>) => ask(clientOf(ctx), 'renew', input['name'], input['token'], input['ttl']),
    release: (input: Values, ctx: Context<any>) => ask(clientOf(ctx), 'release', input['name'], input['token']),
    async inspect(input: Values, ctx: Context<any>) {
      const [holders, waiters] = (await ask(clientOf(ctx), 'inspect', input['name'])) as [[number, string, string, number][], number]
      return { holders: holders.map(([token, holder, label, left]) => ({ token, holder, label, left })), waiters }
    },
  }
}

/** A job by hand: its receipt is one text. */
const jobOf = ([id, receipt, attempt, time, type, headers, body]: RawJob): Values => ({
  id,
  receipt: `${id}-${receipt}`,
  attempt,
  time,
  headers: headers ?? {},
  ...valueOf(type, body),
})

function receiptOf(value: unknown): [number, number] {
  const [, id, receipt] = (typeof value === 'string' && /^(\d{1,16})-(\d{1,16})$/.exec(value)) || []
  if (id === undefined) throw visibleInput('receipt is what came with the job')
  return [Number(id), Number(receipt)]
}

export function subscribeOf(client: Client, input: Values): Subscribe {
  const { pattern, group, slow = 'drop-oldest' } = input
  checked(validatePattern, pattern as string)
  client.may('topics', pattern as string)
  if (!SLOW.includes(slow as Slow)) throw visibleInput(`slow is one of ${SLOW.join(', ')}`)
  return {
    pattern: pattern as string,
    from: startOf(input['from']),
    group: group === undefined || group === null ? undefined : nameOf(group, 'group'),
    slow: slow as Slow,
    requests: input['requests'] === true,
  }
}

function startOf(from: unknown): Start {
  if (from === undefined || from === null || from === 'new') return 'new'
  if (from === 'all') return 'all'
  if (isObject(from) && 'after' in from) return { after: numberOf(Number(from['after']), 'after, a position,', 0, Number.MAX_SAFE_INTEGER) }
  if (isObject(from) && 'time' in from)
    return { time: numberOf(from['time'], 'time, milliseconds since 1970,', 0, Number.MAX_SAFE_INTEGER) }
  throw visibleInput('from is "new", "all", { after: position } or { time: milliseconds since 1970 }')
}

function* messagesOf(lost: number, bytes: Uint8Array): Generator<Values> {
  const found: packed.Packed[] = []
  packed.unpack(bytes, (message) => found.push(message))
  for (const [index, { flags, topic, headers, position, time, body }] of found.entries())
    yield {
      topic,
      ...valueOf(flags & packed.TYPE_MASK, body),
      headers,
      ...(position > 0 && { position, time }),
      retained: (flags & packed.RETAIN) > 0,
      lost: index === 0 ? lost : 0,
    }
}

function bodyOf(input: Values): { bytes: Uint8Array; type: number } {
  if (input['bytes'] !== undefined) return { bytes: asBuffer(input['bytes']), type: packed.typeNumber('bytes') }
  if (typeof input['text'] === 'string') return { bytes: Buffer.from(input['text']), type: packed.typeNumber('text') }
  if (input['data'] === undefined) throw visibleInput('data is missing: any JSON value, or text, or bytes')
  return { bytes: Buffer.from(toJson(input['data'])), type: packed.typeNumber('json') }
}

/** What is said to be JSON and is none comes as text. */
function valueOf(type: number, body: Uint8Array, raw = false): Values {
  if (raw) return { type, body }
  const name = packed.typeName(type)
  if (name === 'bytes' || name === undefined) return { bytes: body }
  const text = Buffer.from(body.buffer, body.byteOffset, body.byteLength)
  if (name === 'text') return { text: text.toString() }
  try {
    return { data: fromJson(text) }
  } catch {
    return { text: text.toString() }
  }
}

function revisionOf(revision: unknown): Values {
  return revision === null ? { conflict: true } : { revision }
}

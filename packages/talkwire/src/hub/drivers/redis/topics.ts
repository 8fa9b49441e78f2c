/**
 * A message is published on the channel `PREFIX.TOPIC` as it is, and kept in the stream `PREFIX:topics`. What a channel cannot carry (position,
 * type, headers) is published just before it on `PREFIX:run:TOPIC`, once for all that stand together in it. One script does it for all that is
 * published in a turn, so that nothing comes between; a message without the first is a foreign one. Who was too slow or away goes on from the
 * stream.
 */
import { isPattern, matchesPattern } from '../../topic-names.js'
import type { From, Outgoing, SubscribeOptions, Subscription, TopicMessage, TopicSink, TopicsDriver } from '../../driver.js'
import { headersOf, isAway } from '../broker.js'
import { gather } from '../gather.js'
import { looking } from '../looking.js'
import { bytes, headersText, items, script, split, text, typeOf, view, type Answer, type Ear, type Redis } from './connection.js'

/** Messages that are kept, of all topics together. */
const KEPT = '100000'
const BATCH = '256'
/** Foreign programs add to the stream without a word on a channel: groups look after so many milliseconds. */
const LOOK = 1000

/** How many, how many are kept, two roots; then runs: topic, type, headers, whether it is retained, the lengths of their bodies, the bodies. */
const publish = script(`
local n = redis.call('INCRBY', KEYS[3], ARGV[1]) - ARGV[1]
for i = 5, #ARGV, 6 do
  local topic, type, headers, retain, all = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 5]
  local ids, bodies, first, at, said = {}, {}, n + 1, 1, '\\n' .. type .. '\\n' .. headers
  for length in string.gmatch(ARGV[i + 4], '%d+') do
    local body = string.sub(all, at, at + length - 1)
    at = at + length
    n = n + 1
    ids[#ids + 1] = redis.call('XADD', KEYS[1], '*', 'topic', topic, 'type', type, 'headers', headers, 'n', n, 'body', body)
    bodies[#bodies + 1] = body
  end
  if retain == '1' then redis.call('HSET', KEYS[2], topic, ids[#ids] .. '/' .. whole(n) .. said .. '\\n' .. bodies[#bodies]) end
  redis.call('PUBLISH', ARGV[3] .. topic, table.concat(ids, ' ') .. '/' .. whole(first) .. said)
  for _, body in ipairs(bodies) do redis.call('PUBLISH', ARGV[4] .. topic, body) end
end
redis.call('XTRIM', KEYS[1], 'MAXLEN', '~', ARGV[2])
return 1`)

/** Where the stream ends: `0-0/0` before the first. */
const last = script(`
local entry = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
return (entry and entry[1] or '0-0') .. '/' .. (redis.call('GET', KEYS[2]) or '0')`)

/** Redis' glob for a pattern below a root. It lets more through: its "*" does not stop at dots. */
export const globOf = (root: string, pattern: string): string =>
  (root + pattern.replace(/>$/, '*')).replaceAll(/[\\?[\]^]/g, String.raw`\$&`)

interface Position {
  /** Of the stream. */
  readonly id: string
  /** How many were published until then; undefined: nobody knows. */
  readonly n: number | undefined
}

function positionOf(words: string): Position {
  const [id = '', n] = words.split('/')
  return { id, n: n === undefined || n === '' ? undefined : Number(n) }
}

/** Two numbers in digits without zeros before them, and a dash between. */
function compare(one: string, other: string): number {
  const [end, otherEnd] = [one.indexOf('-'), other.indexOf('-')]
  if (end !== otherEnd) return end - otherEnd
  const [time, otherTime] = [one.slice(0, end), other.slice(0, end)]
  if (time !== otherTime) return time < otherTime ? -1 : 1
  if (one.length !== other.length) return one.length - other.length
  return one < other ? -1 : one > other ? 1 : 0
}

/** Taken at a time or later is after the last id of the millisecond before. */
const before = (time: number): string => (time <= 0 ? '0-0' : `${Math.ceil(time) - 1}-18446744073709551615`)

interface Entry extends TopicMessage {
  readonly at: Position
}

/** An entry of the stream; a foreign one has what its program gave it. */
function entryOf(answer: Answer): Entry | undefined {
  const [id, list] = items(answer)
  const fields = new Map<string, Answer>()
  const flat = items(list)
  for (let index = 0; index + 1 < flat.length; index += 2) fields.set(text(flat[index]), flat[index + 1]!)
  const topic = fields.get('topic')
  if (topic === undefined) return undefined
  const n = fields.get('n')
  return messageOf(
    text(topic),
    positionOf(`${text(id)}/${text(n)}`),
    text(fields.get('type')),
    text(fields.get('headers')),
    bytes(fields.get('body')),
    false,
  )
}

function messageOf(topic: string, at: Position, type: string, headers: string, body: Buffer, retained: boolean): Entry {
  const position = `${at.id}/${at.n ?? ''}`
  return { topic, body, type: typeOf(type), headers: headersOf(headers), position, time: Number.parseInt(at.id, 10), retained, at }
}

interface Published {
  readonly topic: string
  readonly message: Outgoing
  readonly retain: boolean
}

/** Those that stand together and differ in their bodies only share what is said of them. */
function runsOf(all: readonly Published[]): (string | Buffer)[] {
  const args: (string | Buffer)[] = []
  let said: readonly string[] = []
  let bodies: Buffer[] = []
  const end = (): void => {
    // One piece for the socket instead of one for each; a large body is alone.
    const piece = bodies.length === 1 ? bodies[0]! : Buffer.concat(bodies)
    if (bodies.length > 0) args.push(...said, bodies.map(({ length }) => length).join(' '), piece)
    bodies = []
  }
  for (const { topic, message, retain } of all) {
    const next = [topic, message.type, headersText(message.headers), retain ? '1' : '0']
    if (next.some((word, index) => word !== said[index])) end()
    said = next
    bodies.push(view(message.body))
  }
  end()
  return args
}

export function topics(redis: Redis): TopicsDriver {
  const names: Names = {
    root: `${redis.prefix}.`,
    run: `${redis.prefix}:run:`,
    stream: `${redis.prefix}:topics`,
    retained: `${redis.prefix}:retained`,
    count: `${redis.prefix}:published`,
  }
  const keys = [names.stream, names.retained, names.count]
  const published = gather<Published, undefined>({
    async send(_, messages) {
      await redis.run(publish, keys, [String(messages.length), KEPT, names.run, names.root, ...runsOf(messages)])
      return []
    },
    bytes: ({ message }) => message.body.length,
  })
  let last: Promise<unknown> = Promise.resolve()
  redis.closing(() => last.catch(() => {}))
  return {
    async publish(topic, message, { retain }) {
      await (last = published('', [{ topic, message, retain }]))
    },
    subscribe: (pattern, options, sink) =>
      options.group === undefined ? follow(redis, names, pattern, options, sink) : member(redis, names, pattern, options, sink),
  }
}

interface Names {
  readonly root: string
  readonly run: string
  readonly stream: string
  readonly retained: string
  readonly count: string
}

/** Both channels in one command: a message whose first part was not heard would pass for a foreign one. */
function hear(
  redis: Redis,
  names: Names,
  pattern: string,
  heard: (message: Buffer, channel: string) => void,
  back: () => void,
): Promise<Ear> {
  if (!isPattern(pattern)) return redis.listen('channels', [names.run + pattern, names.root + pattern], heard, back)
  return redis.listen('patterns', [globOf(names.run, pattern), globOf(names.root, pattern)], heard, back)
}

interface Run {
  readonly topic: string
  /** Whether the pattern has it, which Redis' own need not say. */
  readonly wanted: boolean
  readonly ids: readonly string[]
  /** Of the first. */
  readonly n: number
  readonly type: string
  readonly headers: string
  /** Of the ids. */
  next: number
}

function runOf(topic: string, pattern: string, message: Buffer): Run {
  const [places = '', type = '', headers = ''] = split(message).lines
  const [ids = '', n] = places.split('/')
  return { topic, wanted: matchesPattern(pattern, topic), ids: ids.split(' '), n: Number(n), type, headers, next: 0 }
}

async function follow(redis: Redis, names: Names, pattern: string, options: SubscribeOptions, sink: TopicSink): Promise<Subscription> {
  let here: Position
  /** `live`: messages are taken from the channel. Else they are read from the stream, and the channel only says how far it goes. */
  let live = false
  let reading: Promise<void> | undefined
  let room = true
  let closed = false
  let newest = '0-0'
  let held: TopicMessage[] = []
  const give = (message: TopicMessage): void => {
    room = sink.message(message)
    if (!room) live = false
  }
  const read = async (): Promise<void> => {
    for (const message of held.splice(0)) {
      if (!room || closed) held.push(message)
      else give(message)
    }
    while (room && !closed) {
      const batch = items(await redis.command('XRANGE', names.stream, `(${here.id}`, '+', 'COUNT', BATCH))
      for (const answer of batch) {
        if (!room || closed) return
        const entry = entryOf(answer)
        const at = entry?.at ?? { id: text(items(answer)[0]), n: undefined }
        const missed = at.n === undefined || here.n === undefined ? 0 : at.n - here.n - 1
        if (missed > 0) sink.lost(missed)
        here = { id: at.id, n: at.n ?? here.n }
        if (entry && matchesPattern(pattern, entry.topic)) give(entry)
      }
      // What was published after the stream was read comes, or came, on the channel.
      if (batch.length === 0 && compare(newest, here.id) <= 0) return void (live = room)
    }
  }
  const catchUp = (): void => {
    if (closed || reading || !room || live) return
    reading = read()
      .catch((reason: unknown) => {
        // Without a connection it goes on when there is one.
        if (!closed && !isAway(reason)) redis.onError(reason, pattern)
      })
      .finally(() => (reading = undefined))
  }
  /** What the messages are that come next. */
  let run: Run | undefined
  const heardOurs = (message: Buffer, of: Run): void => {
    const at = { id: of.ids[of.next]!, n: of.n + of.next }
    if (++of.next === of.ids.length) run = undefined
    if (!of.wanted) return
    if (!live) {
      if (compare(at.id, newest) > 0) newest = at.id
      return catchUp()
    }
    if (compare(at.id, here.id) <= 0) return
    here = at
    give(messageOf(of.topic, at, of.type, of.headers, message, false))
  }
  const heard = (message: Buffer, channel: string): void => {
    if (channel.startsWith(names.run)) {
      run = runOf(channel.slice(names.run.length), pattern, message)
      return
    }
    const topic = channel.slice(names.root.length)
    if (run?.topic === topic) return heardOurs(message, run)
    run = undefined
    if (!matchesPattern(pattern, topic)) return
    if (live) give({ topic, body: message, type: undefined, headers: {}, position: undefined, time: undefined, retained: false })
    else sink.lost(1)
  }
  const back = (): void => {
    run = undefined
    live = false
    catchUp()
  }
  here = await start(redis, names, options.from)
  const ear = await hear(redis, names, pattern, heard, back)
  if (options.from === 'new') held = await retained(redis, names, pattern, here)
  catchUp()
  await reading
  const end = async (): Promise<void> => {
    if (closed) return
    closed = true
    forget()
    await ear.close()
    await reading
    sink.ended()
  }
  const forget = redis.closing(end)
  return {
    resume() {
      room = true
      catchUp()
    },
    close: end,
  }
}

async function start(redis: Redis, names: Names, from: From): Promise<Position> {
  if (from === 'new') return positionOf(text(await redis.run(last, [names.stream, names.count], [])))
  if (from === 'all') return { id: '0-0', n: undefined }
  return 'after' in from ? positionOf(from.after) : { id: before(from.time), n: undefined }
}

/** What came since we began to listen is no last value from before. */
async function retained(redis: Redis, names: Names, pattern: string, here: Position): Promise<TopicMessage[]> {
  const found: Entry[] = []
  const take = (topic: string, value: Answer): void => {
    const { lines, rest } = split(bytes(value))
    const entry = messageOf(topic, positionOf(lines[0]!), lines[1]!, lines[2]!, rest, true)
    if (matchesPattern(pattern, topic) && compare(entry.at.id, here.id) <= 0) found.push(entry)
  }
  if (!isPattern(pattern)) {
    const value = await redis.command('HGET', names.retained, pattern)
    if (value !== null) take(pattern, value)
    return found
  }
  const all = items(await redis.command('HGETALL', names.retained))
  for (let index = 0; index + 1 < all.length; index += 2) take(text(all[index]), all[index + 1]!)
  return found.toSorted((one, other) => compare(one.at.id, other.at.id))
}

/** A group of the stream's own, one for each pattern; the channel only says that there is something. */
async function member(redis: Redis, names: Names, pattern: string, options: SubscribeOptions, sink: TopicSink): Promise<Subscription> {
  const group = `${options.group} ${pattern}`
  const begin = options.from === 'new' ? '$' : (await start(redis, names, options.from)).id
  const create = async (from: string): Promise<void> => {
    await redis.command('XGROUP', 'CREATE', names.stream, group, from, 'MKSTREAM').catch((reason: unknown) => {
      if (!/BUSYGROUP/.test(String(reason))) throw reason
    })
  }
  await create(begin)
  let room = true
  let closed = false
  const held: TopicMessage[] = []
  /** Taken, and ours to give: the group hands it to nobody else. */
  const give = (): boolean => {
    while (room && held.length > 0) room = sink.message(held.shift()!)
    return room
  }
  const take = async (): Promise<boolean> => {
    const count = String(Math.min(options.buffer, 64))
    const answer = await redis.command('XREADGROUP', 'GROUP', group, 'member', 'COUNT', count, 'NOACK', 'STREAMS', names.stream, '>')
    const entries = items(items(items(answer)[0])[1])
    for (const each of entries) {
      const entry = entryOf(each)
      if (entry && matchesPattern(pattern, entry.topic)) held.push(entry)
    }
    return entries.length > 0
  }
  const { look, idle } = looking(
    async () => {
      while (!closed && give() && (await take()));
    },
    () => closed,
    async (reason) => {
      // A Redis that came back without what it had knows no group.
      if (/NOGROUP/.test(String(reason))) await create('0').catch((failure: unknown) => redis.onError(failure, pattern))
      else if (!closed && !isAway(reason)) redis.onError(reason, pattern)
    },
  )
  const ear = await hear(redis, names, pattern, look, look)
  const timer = setInterval(look, LOOK).unref()
  look()
  const end = async (): Promise<void> => {
    if (closed) return
    closed = true
    clearInterval(timer)
    forget()
    await ear.close()
    await idle()
    // What this member has taken is in nobody else's hands: its sink gets it, over its buffer.
    for (const message of held.splice(0)) sink.message(message)
    sink.ended()
  }
  const forget = redis.closing(end)
  return {
    resume() {
      room = true
      look()
    },
    close: end,
  }
}

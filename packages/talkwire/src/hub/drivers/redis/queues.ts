/**
 * A queue is what scripts make of sorted sets: `ready` by priority and place, `later` and `taken` by the time when they come back, `dead`.
 * Redis' own consumer groups know one time for all jobs, which nobody can prolong beyond it, no delay and no priority.
 * Foreign programs push with `XADD PREFIX:queue:NAME:in * body …`.
 */
import { randomUUID } from 'node:crypto'
import { TalkwireError } from '../../../error.js'
import type { Consumption, DeadLetter, Job, JobSink, NewJob, QueuesDriver } from '../../driver.js'
import { isAway } from '../broker.js'
import { gather, type Gathered } from '../gather.js'
import { headersText, incomingOf, items, script, text, view, type Answer, type Redis } from './connection.js'
import { looking } from '../looking.js'

/** Foreign programs push without a word on a channel: consumers look after so many milliseconds at least. */
const LOOK = 1000
const MOST = 100

/** KEYS[1] is the queue: everything of it begins with that. */
const QUEUE = `
local q = KEYS[1]
local function setting(name) return tonumber(redis.call('HGET', q .. 'settings', name) or '0') end
-- One call for many costs little more than one for one; Lua hands on some thousands at most.
local function parts(list, run) for i = 1, #list, 1000 do run(unpack(list, i, math.min(i + 999, #list))) end end
local function put(set, list) parts(list, function(...) redis.call('ZADD', q .. set, ...) end) end
local function drop(set, ids) parts(ids, function(...) redis.call('ZREM', q .. set, ...) end) end
local function numbers(count) return redis.call('INCRBY', q .. 'seq', whole(count)) - count end
local function append(list, score, id) list[#list + 1] = score list[#list + 1] = id end
local function add(seq, body, type, headers, delay, priority, ready, later)
  local id = whole(seq)
  local place = whole((9 - priority) * 1e14 + seq)
  redis.call('HSET', q .. 'job:' .. id, 'body', body, 'type', type, 'headers', headers, 'time', whole(now()), 'place', place, 'attempt', '0')
  if delay > 0 then append(later, whole(now() + delay), id) else append(ready, place, id) end
  return id
end
local function bury(id, reason)
  redis.call('HSET', q .. 'job:' .. id, 'reason', reason)
  redis.call('HDEL', q .. 'job:' .. id, 'receipt')
  redis.call('ZADD', q .. 'dead', redis.call('INCR', q .. 'seq'), id)
end
local function back(id, delay)
  local attempt = tonumber(redis.call('HGET', q .. 'job:' .. id, 'attempt'))
  redis.call('HDEL', q .. 'job:' .. id, 'receipt')
  if attempt >= setting('attempts') then bury(id, 'was handed out ' .. whole(attempt) .. ' times')
  elseif delay > 0 then redis.call('ZADD', q .. 'later', whole(now() + delay), id)
  else redis.call('ZADD', q .. 'ready', redis.call('HGET', q .. 'job:' .. id, 'place'), id) end
end
local function due(set)
  local ids = redis.call('ZRANGEBYSCORE', q .. set, '-inf', whole(now()), 'LIMIT', 0, 1000)
  drop(set, ids)
  return ids
end
local function sweep()
  local ready = {}
  for _, id in ipairs(due('later')) do append(ready, redis.call('HGET', q .. 'job:' .. id, 'place'), id) end
  for _, id in ipairs(due('taken')) do back(id, 0) end
  local foreign = redis.call('XRANGE', q .. 'in', '-', '+', 'COUNT', 1000)
  local seq = #foreign > 0 and numbers(#foreign)
  for n, entry in ipairs(foreign) do
    local f = { body = '', type = '', headers = '' }
    for i = 1, #entry[2], 2 do f[entry[2][i]] = entry[2][i + 1] end
    add(seq + n, f.body, f.type, f.headers, 0, 0, ready)
    redis.call('XDEL', q .. 'in', entry[1])
  end
  put('ready', ready)
end
local function wake() redis.call('PUBLISH', q .. 'wake', '') end
`

const push = script(`${QUEUE}
local ids, ready, later = {}, {}, {}
local dedupe = setting('dedupe')
local seq = numbers(#ARGV / 6)
for i = 1, #ARGV, 6 do
  local key = q .. 'key:' .. ARGV[i + 5]
  local id = ARGV[i + 5] ~= '' and redis.call('GET', key)
  if not id then
    seq = seq + 1
    id = add(seq, ARGV[i], ARGV[i + 1], ARGV[i + 2], tonumber(ARGV[i + 3]), tonumber(ARGV[i + 4]), ready, later)
    if ARGV[i + 5] ~= '' and dedupe > 0 then redis.call('SET', key, id, 'PX', whole(dedupe)) end
  end
  ids[#ids + 1] = id
end
put('ready', ready)
put('later', later)
wake()
return ids`)

/** The jobs, and in how many milliseconds one comes back; -1: none will. */
const take = script(`${QUEUE}
sweep()
local taken, times = {}, {}
local over = whole(now() + setting('visibility'))
local popped = redis.call('ZPOPMIN', q .. 'ready', ARGV[1])
local seq = #popped > 0 and numbers(#popped / 2)
for i = 1, #popped, 2 do
  local id = popped[i]
  local job = q .. 'job:' .. id
  local f = redis.call('HMGET', job, 'time', 'type', 'headers', 'body', 'attempt')
  local attempt = tonumber(f[5] or '0') + 1
  seq = seq + 1
  local receipt = ARGV[2] .. ':' .. whole(seq)
  redis.call('HSET', job, 'receipt', receipt, 'attempt', whole(attempt))
  append(times, over, id)
  taken[#taken + 1] = { id, receipt, attempt, f[1], f[2], f[3], f[4] }
end
put('taken', times)
local next = -1
for _, set in ipairs({ 'later', 'taken' }) do
  local first = redis.call('ZRANGE', q .. set, 0, 0, 'WITHSCORES')[2]
  if first then
    local wait = math.max(0, tonumber(first) - now())
    if next < 0 or wait < next then next = wait end
  end
end
return { next, taken }`)

/** For each: 0: it is somebody else's by now, or nobody's. */
const acknowledge = script(`${QUEUE}
local done, ids, jobs, seen = {}, {}, {}, {}
for i = 1, #ARGV, 2 do
  local job = q .. 'job:' .. ARGV[i]
  local ours = not seen[job] and redis.call('HGET', job, 'receipt') == ARGV[i + 1]
  if ours then
    seen[job] = true
    ids[#ids + 1] = ARGV[i]
    jobs[#jobs + 1] = job
  end
  done[#done + 1] = ours and 1 or 0
end
drop('taken', ids)
parts(jobs, function(...) redis.call('DEL', ...) end)
return done`)

/** The same, for one. */
const settle = script(`${QUEUE}
local id, receipt, how, word = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local job = q .. 'job:' .. id
if redis.call('HGET', job, 'receipt') ~= receipt then return 0 end
if how == 'extend' then
  redis.call('ZADD', q .. 'taken', whole(now() + tonumber(word)), id)
  wake()
  return 1
end
redis.call('ZREM', q .. 'taken', id)
if how == 'dead' then bury(id, word)
else
  if how == 'return' then redis.call('HINCRBY', job, 'attempt', -1) end
  back(id, tonumber(word))
  wake()
end
return 1`)

const count = script(`${QUEUE}
sweep()
return { redis.call('ZCARD', q .. 'ready'), redis.call('ZCARD', q .. 'later'), redis.call('ZCARD', q .. 'taken'), redis.call('ZCARD', q .. 'dead') }`)

/** At most a thousand at a time: nobody else is served meanwhile. */
const purge = script(`${QUEUE}
sweep()
local gone = 0
for _, set in ipairs({ 'ready', 'later' }) do
  for _, id in ipairs(redis.call('ZRANGE', q .. set, 0, 999 - gone)) do
    redis.call('ZREM', q .. set, id)
    redis.call('DEL', q .. 'job:' .. id)
    gone = gone + 1
  end
  if gone >= 1000 then break end
end
return gone`)

const letters = script(`${QUEUE}
sweep()
local found = {}
for _, id in ipairs(redis.call('ZRANGE', q .. 'dead', 0, tonumber(ARGV[1]) - 1)) do
  local f = redis.call('HMGET', q .. 'job:' .. id, 'reason', 'attempt', 'type', 'headers', 'body')
  found[#found + 1] = { id, f[1], f[2], f[3], f[4], f[5] }
end
return found`)

const revive = script(`${QUEUE}
local revived = 0
for _, id in ipairs(ARGV) do
  if redis.call('ZREM', q .. 'dead', id) == 1 then
    redis.call('HSET', q .. 'job:' .. id, 'attempt', '0')
    redis.call('HDEL', q .. 'job:' .. id, 'reason')
    redis.call('ZADD', q .. 'ready', redis.call('HGET', q .. 'job:' .. id, 'place'), id)
    revived = revived + 1
  end
end
wake()
return revived`)

export function queues(redis: Redis): QueuesDriver {
  const keyOf = (queue: string): string => `${redis.prefix}:queue:${queue}:`
  const run = (what: Parameters<Redis['run']>[0], queue: string, ...words: (string | Buffer)[]): Promise<Answer> =>
    redis.run(what, [keyOf(queue)], words)
  const pushed = gather<NewJob, string>({
    send: async (queue, jobs) => items(await run(push, queue, ...jobs.flatMap(wordsOf))).map(text),
    bytes: ({ body }) => body.length,
  })
  const acked = gather<readonly [id: string, receipt: string], Answer>({
    send: async (key, receipts) => items(await redis.run(acknowledge, [key], receipts.flat())),
  })
  return {
    async declare(queue, { visibility, attempts, dedupe }) {
      const words = ['visibility', String(visibility), 'attempts', String(attempts), 'dedupe', String(dedupe)]
      await redis.command('HSET', `${keyOf(queue)}settings`, ...words)
    },
    push: pushed,
    consume: (queue, sink) => consume(redis, keyOf(queue), queue, sink, acked),
    async counts(queue) {
      const [ready, delayed, taken, dead] = items(await run(count, queue)).map(Number)
      return { ready: ready!, delayed: delayed!, taken: taken!, dead: dead! }
    },
    async purge(queue) {
      let all = 0
      for (let gone = 1000; gone >= 1000; all += gone) gone = Number(await run(purge, queue))
      return all
    },
    async deadLetters(queue, limit) {
      return items(await run(letters, queue, String(limit))).map((each): DeadLetter => {
        const [id, reason, attempts, type, headers, body] = items(each)
        return {
          id: text(id),
          reason: text(reason),
          attempts: Number(text(attempts)),
          ...incomingOf(type, headers, body),
        }
      })
    },
    revive: async (queue, ids) => Number(await run(revive, queue, ...ids)),
  }
}

const wordsOf = ({ body, type, headers, delay, priority, key = '' }: NewJob): (string | Buffer)[] => [
  view(body),
  type,
  headersText(headers),
  String(delay),
  String(priority),
  key,
]

async function consume(
  redis: Redis,
  key: string,
  queue: string,
  sink: JobSink,
  acked: Gathered<readonly [id: string, receipt: string], Answer>,
): Promise<Consumption> {
  const me = randomUUID()
  let wanted = 0
  let out = 0
  let closed = false
  let timer: NodeJS.Timeout | undefined
  const settleJob = (id: string, receipt: string, how: string, word: string): Promise<Answer> =>
    redis.run(settle, [key], [id, receipt, how, word])
  const jobOf = (answer: Answer): Job => {
    const [id, receipt, attempt, time, type, headers, body] = items(answer)
    const finish = async (settling: Promise<Answer | undefined>): Promise<void> => {
      try {
        if ((await settling) !== 1) throw gone(text(id))
      } finally {
        out--
        look()
      }
    }
    const settleThis = (how: 'nack' | 'dead', word: string): Promise<void> => finish(settleJob(text(id), text(receipt), how, word))
    return {
      id: text(id),
      attempt: Number(attempt),
      time: Number(text(time)),
      ...incomingOf(type, headers, body),
      ack: () => finish(acked(key, [[text(id), text(receipt)]]).then(([done]) => done)),
      nack: (delay) => settleThis('nack', String(delay)),
      dead: (reason) => settleThis('dead', reason),
      async extend(milliseconds) {
        if ((await settleJob(text(id), text(receipt), 'extend', String(milliseconds))) !== 1) throw gone(text(id))
      },
    }
  }
  const gone = (id: string): TalkwireError =>
    new TalkwireError(
      'NOT_FOUND',
      `the job ${id} of "${queue}" is not this consumer's any more: its time was over; ask for more with extend`,
    )
  const pull = async (): Promise<void> => {
    while (!closed && wanted > out) {
      const [next, taken] = items(await redis.run(take, [key], [String(Math.min(wanted - out, MOST)), me]))
      const jobs = items(taken)
      for (const job of jobs) {
        // Who wants less meanwhile, or nothing, gets less: the rest was never handed out.
        if (closed || out >= wanted) await settleJob(text(items(job)[0]), text(items(job)[1]), 'return', '0')
        else {
          out++
          sink.job(jobOf(job))
        }
      }
      if (jobs.length > 0) continue
      clearTimeout(timer)
      if (!closed) timer = setTimeout(look, Number(next) < 0 ? LOOK : Math.min(LOOK, Number(next) + 1)).unref()
      break
    }
  }
  const { look, idle } = looking(
    pull,
    () => closed,
    (reason) => {
      if (!closed && !isAway(reason)) redis.onError(reason, queue)
    },
  )
  const ear = await redis.listen('channels', [`${key}wake`], look, look)
  const end = async (): Promise<void> => {
    if (closed) return
    closed = true
    clearTimeout(timer)
    forget()
    await ear.close()
    await idle()
    sink.ended()
  }
  const forget = redis.closing(end)
  return {
    want(jobs) {
      wanted = jobs
      look()
    },
    close: end,
  }
}

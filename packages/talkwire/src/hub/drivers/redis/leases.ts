/**
 * A lease is what scripts make of sorted sets: who holds it and until when, by Redis' own clock; who waits, in order. A waiter that says
 * nothing for a while waits no more. The fence counts on as long as Redis keeps what it has: see the caveat in docs/hub/redis.md.
 */
import type { LeaseAsk, LeaseHolder, LeasesDriver } from '../../driver.js'
import { waking } from '../waking.js'
import { items, script, text, type Answer, type Ear, type Redis } from './connection.js'

/** A waiter is asked after within so many milliseconds, and says so three times as often. */
const PATIENCE = 3000

/** KEYS[1] is the lease: everything of it begins with that. */
const LEASE = `
local l = KEYS[1]
local function wake() redis.call('PUBLISH', l .. 'wake', '') end
local function forget(holder)
  redis.call('ZREM', l .. 'holders', holder)
  redis.call('HDEL', l .. 'about', holder)
end
local function leave(holder)
  redis.call('ZREM', l .. 'waiting', holder)
  redis.call('ZREM', l .. 'alive', holder)
end
-- How many there are whose time is not over; the others go.
local function living(set, drop)
  if redis.call('ZCARD', l .. set) == 0 then return 0 end
  for _, holder in ipairs(redis.call('ZRANGEBYSCORE', l .. set, '-inf', whole(now()))) do drop(holder) end
  return redis.call('ZCARD', l .. set)
end
local function holds(holder)
  local over = redis.call('ZSCORE', l .. 'holders', holder)
  return over and tonumber(over) > now()
end
local function first(set)
  local score = redis.call('ZRANGE', l .. set, 0, 0, 'WITHSCORES')[2]
  return score and math.max(0, tonumber(score) - now())
end
`

/** The token; else a table with the milliseconds after which to ask again. */
const acquire = script(`${LEASE}
local holder, label, ttl, permits, waits = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5] == '1'
local free, waiters = permits - living('holders', forget), living('alive', leave)
local rank = waiters > 0 and redis.call('ZRANK', l .. 'waiting', holder) or waiters
if rank < free then
  local token = whole(redis.call('INCR', l .. 'fence'))
  if waiters > 0 then leave(holder) end
  redis.call('ZADD', l .. 'holders', whole(now() + ttl), holder)
  redis.call('HSET', l .. 'about', holder, token .. ' ' .. label)
  return token
end
if waits then
  if not redis.call('ZSCORE', l .. 'waiting', holder) then redis.call('ZADD', l .. 'waiting', redis.call('INCR', l .. 'arrivals'), holder) end
  redis.call('ZADD', l .. 'alive', whole(now() + ${PATIENCE}), holder)
end
return { math.min(first('holders') or ${PATIENCE}, first('alive') or ${PATIENCE}, ${PATIENCE / 3}) }`)

const leave = script(`${LEASE}
leave(ARGV[1])
wake()
return 1`)

/** 1: it was this holder's until now. */
const release = script(`${LEASE}
if not holds(ARGV[1]) then return 0 end
forget(ARGV[1])
wake()
return 1`)

const renew = script(`${LEASE}
if not holds(ARGV[1]) then return 0 end
redis.call('ZADD', l .. 'holders', whole(now() + tonumber(ARGV[2])), ARGV[1])
return 1`)

const inspect = script(`${LEASE}
living('holders', forget)
local waiters = living('alive', leave)
local held = redis.call('ZRANGE', l .. 'holders', 0, -1, 'WITHSCORES')
local found = {}
for i = 1, #held, 2 do
  found[#found + 1] = { held[i], redis.call('HGET', l .. 'about', held[i]), whole(math.max(0, tonumber(held[i + 1]) - now())) }
end
return { found, waiters }`)

export function leases(redis: Redis): LeasesDriver {
  const keyOf = (name: string): string => `${redis.prefix}:lease:${name}:`
  return {
    acquire: (name, ask, signal) => wait(redis, keyOf(name), ask, signal),
    renew: async (name, { holder }, ttl) => (await redis.run(renew, [keyOf(name)], [holder, String(ttl)])) === 1,
    release: async (name, { holder }) => (await redis.run(release, [keyOf(name)], [holder])) === 1,
    async inspect(name) {
      const [holders, waiters] = items(await redis.run(inspect, [keyOf(name)], []))
      return { holders: items(holders).map(holderOf), waiters: Number(waiters) }
    },
  }
}

function holderOf(answer: Answer): LeaseHolder {
  const [holder, about, left] = items(answer)
  const [, token = '0', label = ''] = /^(\d+) (.*)$/s.exec(text(about)) ?? []
  return { holder: text(holder), token: Number(token), label: label === '' ? undefined : label, left: Number(text(left)) }
}

async function wait(redis: Redis, key: string, ask: LeaseAsk, signal: AbortSignal | undefined): Promise<LeaseHolder | undefined> {
  signal?.throwIfAborted()
  const { holder, label = '', ttl, permits } = ask
  const until = performance.now() + ask.wait
  const attempt = async (waits: boolean): Promise<LeaseHolder | number> => {
    const answer = await redis.run(acquire, [key], [holder, label, String(ttl), String(permits), waits ? '1' : '0'])
    return Array.isArray(answer) ? Number(answer[0]) : { token: Number(text(answer)), holder, label: ask.label, left: ttl }
  }
  if (ask.wait <= 0) {
    const got = await attempt(false)
    return typeof got === 'number' ? undefined : got
  }
  const awake = waking()
  let ear: Ear | undefined
  signal?.addEventListener('abort', awake.call, { once: true })
  let got: LeaseHolder | number = 0
  try {
    while (typeof got === 'number') {
      awake.looks()
      got = await attempt(true)
      const left = until - performance.now()
      if (typeof got !== 'number' || left <= 0 || signal?.aborted) break
      // A lease that is free costs no listening. What was said before we listened nobody heard: asked again.
      if (!ear) ear = await redis.listen('channels', [`${key}wake`], awake.call, awake.call)
      else await awake.pause(Math.min(got + 1, left))
    }
  } finally {
    signal?.removeEventListener('abort', awake.call)
    await ear?.close()
    if (typeof got === 'number') await redis.run(leave, [key], [holder]).catch(() => {})
  }
  if (signal?.aborted) {
    if (typeof got !== 'number') await redis.run(release, [key], [holder])
    signal.throwIfAborted()
  }
  return typeof got === 'number' ? undefined : got
}

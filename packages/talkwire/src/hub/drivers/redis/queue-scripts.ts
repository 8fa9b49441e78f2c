/**
 * What Redis does of a queue, each in one step. A job's id is its place: a smaller number is handed out sooner. Everything of all jobs is in
 * two hashes, so that one command serves many jobs: one costs little more than many. `job` is what was pushed: time, type and headers, a line
 * each, and the body. `out` is how often it was handed out, a space, and who has it: that is its receipt.
 */
import { script } from './connection.js'

/** KEYS[1] is the queue: everything of it begins with that, and what other versions would read otherwise with "2:" behind it. */
const QUEUE = `
local q = KEYS[1]
local k = q .. '2:'
local function setting(name) return tonumber(redis.call('HGET', q .. 'settings', name) or '0') end
-- Lua hands on some thousands at most.
local function parts(list, run) for i = 1, #list, 1000 do run(unpack(list, i, math.min(i + 999, #list))) end end
local function put(command, key, list) parts(list, function(...) redis.call(command, k .. key, ...) end) end
local function get(key, list, count) return redis.call('HMGET', k .. key, unpack(list, 1, count)) end
-- Without the one that is always there.
local function first(set, count, ...) return redis.call('ZRANGEBYSCORE', k .. set, '-inf', '(inf', 'LIMIT', 0, count, ...) end
local function size(set) return redis.call('ZCOUNT', k .. set, '-inf', '(inf') end
local function numbers(count) return redis.call('INCRBY', k .. 'seq', whole(count)) - count end
local function place(seq, priority) return whole((9 - priority) * 1e14 + seq) end
local function append(list, one, other) list[#list + 1] = one list[#list + 1] = other end
local function forget(ids)
  put('HDEL', 'job', ids)
  put('HDEL', 'out', ids)
end
local function handed(id) return tonumber(string.match(redis.call('HGET', k .. 'out', id) or '0', '^%d+')) end
local function bury(id, reason)
  redis.call('HSET', k .. 'out', id, whole(handed(id)) .. ' ')
  redis.call('HSET', k .. 'reason', id, reason)
  redis.call('ZADD', k .. 'dead', numbers(1), id)
end
local function back(id, attempt, delay)
  redis.call('HSET', k .. 'out', id, whole(attempt) .. ' ')
  if attempt >= setting('attempts') then bury(id, 'was handed out ' .. whole(attempt) .. ' times')
  elseif delay > 0 then redis.call('ZADD', k .. 'later', whole(now() + delay), id)
  else redis.call('ZADD', k .. 'ready', id, id) end
end
local function due(set)
  local ids = redis.call('ZRANGEBYSCORE', k .. set, '-inf', whole(now()), 'LIMIT', 0, 1000)
  put('ZREM', set, ids)
  return ids
end
local function line(said) return (string.gsub(said, '\\n', ' ')) .. '\\n' end
local function sweep()
  local ready, jobs = {}, {}
  for _, id in ipairs(due('later')) do append(ready, id, id) end
  for _, id in ipairs(due('taken')) do back(id, handed(id), 0) end
  local foreign = redis.call('XRANGE', q .. 'in', '-', '+', 'COUNT', 1000)
  local seq = #foreign > 0 and numbers(#foreign)
  for n, entry in ipairs(foreign) do
    local f = { body = '', type = '', headers = '' }
    for i = 1, #entry[2], 2 do f[entry[2][i]] = entry[2][i + 1] end
    local id = place(seq + n, 0)
    append(jobs, id, whole(now()) .. '\\n' .. line(f.type) .. line(f.headers) .. f.body)
    append(ready, id, id)
    redis.call('XDEL', q .. 'in', entry[1])
  end
  put('HSET', 'job', jobs)
  put('ZADD', 'ready', ready)
end
local function wake() redis.call('PUBLISH', q .. 'wake', '') end
`

/**
 * Visibility, attempts, de-duplication time. Small sets and hashes are lists to Redis, in which it looks at one entry after the other until they
 * have grown, each time anew when they were empty. One long entry that is always there, behind all others, has them be tables.
 */
export const declare = script(`${QUEUE}
local long = string.rep('-', 65)
for _, set in ipairs({ 'ready', 'taken' }) do redis.call('ZADD', k .. set, 'inf', long) end
for _, hash in ipairs({ 'job', 'out' }) do redis.call('HSET', k .. hash, '', long) end
redis.call('HSET', q .. 'settings', 'visibility', ARGV[1], 'attempts', ARGV[2], 'dedupe', ARGV[3])
return 1`)

/** Of each job: delay, priority and key, or nothing; type and headers; body. The ids. */
export const push = script(`${QUEUE}
local ids, jobs, ready, later = {}, {}, {}, {}
local time = whole(now()) .. '\\n'
local seq = numbers(#ARGV / 3)
for i = 1, #ARGV, 3 do
  local delay, priority, key = 0, 0, ''
  if ARGV[i] ~= '' then
    delay, priority, key = string.match(ARGV[i], '^(%S+) (%d) (.*)$')
    delay = tonumber(delay)
  end
  local id = key ~= '' and redis.call('GET', k .. 'key:' .. key)
  if not id then
    seq = seq + 1
    id = place(seq, priority)
    local n = #jobs
    jobs[n + 1], jobs[n + 2] = id, time .. ARGV[i + 1] .. ARGV[i + 2]
    if delay > 0 then append(later, whole(now() + delay), id) else append(ready, id, id) end
    local dedupe = key ~= '' and setting('dedupe') or 0
    if dedupe > 0 then redis.call('SET', k .. 'key:' .. key, id, 'PX', whole(dedupe)) end
  end
  ids[#ids + 1] = id
end
put('HSET', 'job', jobs)
put('ZADD', 'ready', ready)
put('ZADD', 'later', later)
wake()
return table.concat(ids, ' ')`)

/**
 * At most so many, for whom. In how many milliseconds another comes, -1: none will; ids, how often each was handed out, and the jobs. Who gets
 * all that were asked for asks again before there is anything to wait for.
 */
export const take = script(`${QUEUE}
sweep()
local most = tonumber(ARGV[1])
local ids = first('ready', most)
local attempts, jobs, out, times = {}, {}, {}, {}
if #ids > 0 then
  redis.call('ZREMRANGEBYRANK', k .. 'ready', 0, #ids - 1)
  local over, once = whole(now() + setting('visibility')), '1 ' .. ARGV[2]
  for i, known in ipairs(get('out', ids, #ids)) do
    local n, attempt = 2 * i, known and tonumber(string.match(known, '^%d+')) + 1 or 1
    attempts[i] = attempt
    out[n - 1], out[n] = ids[i], attempt == 1 and once or whole(attempt) .. ' ' .. ARGV[2]
    times[n - 1], times[n] = over, ids[i]
  end
  put('HSET', 'out', out)
  put('ZADD', 'taken', times)
  jobs = get('job', ids, #ids)
end
local next = -1
for _, set in ipairs(#ids < most and { 'later', 'taken' } or {}) do
  local time = first(set, 1, 'WITHSCORES')[2]
  if time then
    local wait = math.max(0, tonumber(time) - now())
    if next < 0 or wait < next then next = wait end
  end
end
return { next, table.concat(ids, ' '), table.concat(attempts, ' '), jobs }`)

/** So many ids, then as many receipts. For each: 0: it is somebody else's by now, or nobody's. */
export const acknowledge = script(`${QUEUE}
local done, ids, seen = {}, {}, {}
local count = #ARGV / 2
for i, receipt in ipairs(get('out', ARGV, count)) do
  local id = ARGV[i]
  local ours = not seen[id] and receipt == ARGV[count + i]
  if ours then
    seen[id] = true
    ids[#ids + 1] = id
  end
  done[i] = ours and 1 or 0
end
put('ZREM', 'taken', ids)
forget(ids)
return table.concat(done)`)

/** The same, for one. */
export const settle = script(`${QUEUE}
local id, receipt, how, word = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if redis.call('HGET', k .. 'out', id) ~= receipt then return 0 end
if how == 'extend' then
  redis.call('ZADD', k .. 'taken', whole(now() + tonumber(word)), id)
  wake()
  return 1
end
redis.call('ZREM', k .. 'taken', id)
if how == 'dead' then bury(id, word)
else
  back(id, handed(id) - (how == 'return' and 1 or 0), tonumber(word))
  wake()
end
return 1`)

export const count = script(`${QUEUE}
sweep()
return { size('ready'), size('later'), size('taken'), size('dead') }`)

/** At most a thousand at a time: nobody else is served meanwhile. */
export const purge = script(`${QUEUE}
sweep()
local gone = 0
for _, set in ipairs({ 'ready', 'later' }) do
  local ids = first(set, 1000 - gone)
  put('ZREM', set, ids)
  forget(ids)
  gone = gone + #ids
  if gone >= 1000 then break end
end
return gone`)

export const letters = script(`${QUEUE}
sweep()
local found = {}
for _, id in ipairs(first('dead', ARGV[1])) do
  found[#found + 1] = { id, redis.call('HGET', k .. 'reason', id), handed(id), redis.call('HGET', k .. 'job', id) }
end
return found`)

export const revive = script(`${QUEUE}
local revived = 0
for _, id in ipairs(ARGV) do
  if redis.call('ZREM', k .. 'dead', id) == 1 then
    redis.call('HDEL', k .. 'out', id)
    redis.call('HDEL', k .. 'reason', id)
    redis.call('ZADD', k .. 'ready', id, id)
    revived = revived + 1
  end
end
wake()
return revived`)

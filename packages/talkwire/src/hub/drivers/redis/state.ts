/**
 * A key is the hash `PREFIX:state:value:KEY` with `value`, `type`, `revision` and, where it expires, `until`; every write is a script. Revisions
 * are one count for all keys, and each change is in the stream `PREFIX:state:changes` under its number: who watches sees what it missed,
 * and reads everything anew where the stream no longer has it. Keyspace events of Redis' own are lost with the connection.
 */
import type { Change, SetOptions, StateDriver, StateSink, Stored, Subscription } from '../../driver.js'
import { isAway } from '../broker.js'
import { bytes, items, script, text, typeOf, view, type Answer, type Redis } from './connection.js'
import { looking } from '../looking.js'
import { telling } from '../telling.js'

const KEPT = '100000'
const BATCH = 100
/** Milliseconds after which values that expired are taken away at the latest, while somebody watches. */
const LOOK = 1000

/** KEYS[1] is the state: everything of it begins with that. */
const STATE = `
local s = KEYS[1]
local function revise(key)
  local revision = redis.call('INCR', s .. 'revision')
  redis.call('XADD', s .. 'changes', 'MAXLEN', '~', ${KEPT}, whole(revision) .. '-1', 'key', key)
  redis.call('PUBLISH', s .. 'changed', key)
  return whole(revision)
end
local function drop(key)
  redis.call('DEL', s .. 'value:' .. key)
  redis.call('ZREM', s .. 'keys', key)
  redis.call('ZREM', s .. 'expiring', key)
  return revise(key)
end
local function revisionOf(key)
  local found = redis.call('HMGET', s .. 'value:' .. key, 'value', 'revision', 'until')
  if found[1] and not (found[3] and tonumber(found[3]) <= now()) then return found[2] or '0' end
  if redis.call('ZSCORE', s .. 'keys', key) then drop(key) end
  return nil
end
`

/** What each change came to: its revision, '' for a deleted key, '-' where there was none; nil: some condition did not hold. */
const apply = script(`${STATE}
for i = 1, #ARGV, 6 do
  local wanted = ARGV[i + 5]
  if wanted ~= '' and '=' .. (revisionOf(ARGV[i + 1]) or '') ~= wanted then return nil end
end
local results = {}
for i = 1, #ARGV, 6 do
  local op, key, ttl = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 4])
  if op == 'delete' then
    if revisionOf(key) then
      drop(key)
      results[#results + 1] = ''
    else results[#results + 1] = '-' end
  else
    local revision = revise(key)
    redis.call('DEL', s .. 'value:' .. key)
    redis.call('HSET', s .. 'value:' .. key, 'value', ARGV[i + 2], 'type', ARGV[i + 3], 'revision', revision)
    redis.call('ZADD', s .. 'keys', 0, key)
    if ttl > 0 then
      local ends = whole(now() + ttl)
      redis.call('HSET', s .. 'value:' .. key, 'until', ends)
      redis.call('PEXPIREAT', s .. 'value:' .. key, ends)
      redis.call('ZADD', s .. 'expiring', ends, key)
    else redis.call('ZREM', s .. 'expiring', key) end
    results[#results + 1] = revision
  end
end
return results`)

const get = script(`${STATE}
local revision = revisionOf(ARGV[1])
if not revision then return nil end
local f = redis.call('HMGET', s .. 'value:' .. ARGV[1], 'value', 'type')
return { ARGV[1], f[1], f[2], revision }`)

/** Some keys behind one, and what they are. */
const list = script(`${STATE}
local from = ARGV[2] == '' and '[' .. ARGV[1] or '(' .. ARGV[2]
local keys = redis.call('ZRANGEBYLEX', s .. 'keys', from, '[' .. ARGV[1] .. '\\255', 'LIMIT', 0, ${BATCH})
local found = {}
for _, key in ipairs(keys) do
  local revision = revisionOf(key)
  if revision then
    local f = redis.call('HMGET', s .. 'value:' .. key, 'value', 'type')
    found[#found + 1] = { key, f[1], f[2], revision }
  end
end
return { keys[#keys] or '', found }`)

/** Takes away what expired; in how many milliseconds the next one does, or -1. */
const expire = script(`${STATE}
for _, key in ipairs(redis.call('ZRANGEBYSCORE', s .. 'expiring', '-inf', whole(now()), 'LIMIT', 0, 1000)) do
  redis.call('ZREM', s .. 'expiring', key)
  revisionOf(key)
end
local first = redis.call('ZRANGE', s .. 'expiring', 0, 0, 'WITHSCORES')[2]
return first and math.max(0, tonumber(first) - now()) or -1`)

function storedOf(answer: Answer): Stored {
  const [key, value, type, revision] = items(answer)
  return { key: text(key), value: bytes(value), type: typeOf(text(type)), revision: text(revision) }
}

function wordsOf(change: Change): (string | Buffer)[] {
  if (change.op === 'delete') return ['delete', change.key, '', '', '0', change.revision === undefined ? '' : `=${change.revision}`]
  const { revision, ttl = 0 } = change.options
  return ['set', change.key, view(change.value), change.type, String(ttl), revision === undefined ? '' : `=${revision ?? ''}`]
}

export function state(redis: Redis): StateDriver {
  const key = `${redis.prefix}:state:`
  const change = async (changes: readonly Change[]): Promise<string[] | undefined> => {
    const answer = await redis.run(apply, [key], changes.flatMap(wordsOf))
    return answer === null ? undefined : items(answer).map(text)
  }
  return {
    async get(name) {
      const answer = await redis.run(get, [key], [name])
      return answer === null ? undefined : storedOf(answer)
    },
    async set(name, value, type, options: SetOptions) {
      return (await change([{ op: 'set', key: name, value, type, options }]))?.[0]
    },
    async delete(name, revision) {
      const done = await change([{ op: 'delete', key: name, ...(revision !== undefined && { revision }) }])
      return done?.[0] === ''
    },
    batch: async (changes) => (await change(changes))?.map((each) => (each === '-' ? '' : each)),
    list: (prefix) => all(redis, key, prefix),
    watch: (prefix, sink) => watch(redis, key, prefix, sink),
  }
}

async function* all(redis: Redis, key: string, prefix: string): AsyncGenerator<Stored, void, undefined> {
  for (let from = ''; ;) {
    const [last, found] = items(await redis.run(list, [key], [prefix, from]))
    for (const each of items(found)) yield storedOf(each)
    from = text(last)
    if (from === '') return
  }
}

async function watch(redis: Redis, key: string, prefix: string, sink: StateSink): Promise<Subscription> {
  let seen = 0
  let whole = true
  let closed = false
  let timer: NodeJS.Timeout | undefined
  const told = telling(sink, () => closed)
  const readAll = async (): Promise<void> => {
    seen = Number(text(await redis.command('GET', `${key}revision`)))
    const there = new Set<string>()
    for await (const stored of all(redis, key, prefix)) {
      there.add(stored.key)
      await told.stored(stored)
      if (closed) return
    }
    await told.only(there)
    whole = false
  }
  const readChanges = async (): Promise<boolean> => {
    const entries = items(await redis.command('XRANGE', `${key}changes`, `(${seen}-1`, '+', 'COUNT', String(BATCH)))
    const names = new Set<string>()
    for (const entry of entries) {
      const [id, fields] = items(entry)
      const number = Number.parseInt(text(id), 10)
      // The stream no longer has what came between.
      if (number !== seen + 1) return (whole = true)
      seen = number
      names.add(text(items(fields)[1]))
    }
    for (const name of names) {
      if (!name.startsWith(prefix)) continue
      const answer = await redis.run(get, [key], [name])
      await (answer === null ? told.gone(name) : told.stored(storedOf(answer)))
      if (closed) return false
    }
    return entries.length > 0
  }
  const pass = async (): Promise<void> => {
    if (whole) await readAll()
    while (!closed && !whole && (await readChanges()));
    if (closed) return
    if (whole) look()
    const next = Number(await redis.run(expire, [key], []))
    clearTimeout(timer)
    timer = setTimeout(look, next < 0 ? LOOK : Math.min(LOOK, next + 1)).unref()
  }
  const { look, idle } = looking(
    pass,
    () => closed,
    (reason) => {
      whole = true
      if (!closed && !isAway(reason)) redis.onError(reason, prefix)
    },
  )
  const back = (): void => {
    // A Redis that came back may have lost the last changes, and count anew.
    whole = true
    look()
  }
  const heard = (message: Buffer): void => {
    if (String(message).startsWith(prefix)) look()
  }
  const ear = await redis.listen('channels', [`${key}changed`], heard, back)
  look()
  const end = async (): Promise<void> => {
    if (closed) return
    closed = true
    clearTimeout(timer)
    told.free()
    forget()
    await ear.close()
    await idle()
    sink.ended()
  }
  const forget = redis.closing(end)
  return { resume: told.free, close: end }
}

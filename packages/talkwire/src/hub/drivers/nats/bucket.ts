/** A bucket as NATS' key-value stores are: the stream `KV_NAME`, a key's last message is its value, a revision its place. */
import { TalkwireError } from '../../../error.js'
import type { BodyType, Headers, Stored } from '../../driver.js'
import { onceDone } from '../../once-done.js'
import { bodyTypeOf } from '../broker.js'
import { storeAll } from './batch.js'
import { CONFLICTS, jetStreamCode, NO_MESSAGE, token, type Nats } from './connection.js'

const OPERATION = 'KV-Operation'
const NOTHING = new Uint8Array()
const EXPECT = 'Nats-Expected-Last-Subject-Sequence'
/** Of the server, in whole seconds, and ours beside it, in milliseconds. */
const SECONDS = 'Nats-TTL'
const EXACTLY = 'Talkwire-TTL'
const MARKER = 'Nats-Marker-Reason'
/** How long it is known that a key is gone, seconds. A watch that stood still for longer begins anew: its consumer goes after a minute. */
const KNOWN_GONE = 3600
const EXPIRING = { allow_msg_ttl: true, subject_delete_marker_ttl: KNOWN_GONE * 1e9 }
const BATCHES = { allow_atomic: true }

/** What stands at a key. */
export interface Last {
  readonly seq: number
  /** A deletion, or the server's mark that a value expired. */
  readonly gone: boolean
  readonly stored: Stored
  /** When it was written, milliseconds since 1970 by the server's clock. */
  readonly time: number
  /** When it is gone by the same clock; undefined: it stays. */
  readonly until: number | undefined
}

export interface Write {
  readonly key: string
  readonly body: Uint8Array
  readonly type: BodyType
  /** Undefined: whatever stands there. */
  readonly expect: number | undefined
  /** Milliseconds. */
  readonly ttl?: number | undefined
  /** A deletion. */
  readonly gone?: boolean
}

export interface Bucket {
  ready(): Promise<void>
  readonly stream: string
  readonly root: string
  last(key: string): Promise<Last | undefined>
  /** Undefined: something else stands there. */
  put(key: string, body: Uint8Array, type: BodyType, expect: number | undefined, ttl?: number): Promise<number | undefined>
  remove(key: string, expect: number | undefined): Promise<boolean>
  /** All or, undefined, none; else where they stand. What is expected at a key is said with the first write to it. */
  all(writes: readonly Write[]): Promise<readonly number[] | undefined>
  /** The server's clock, milliseconds since 1970. */
  now(): Promise<number>
}

/** `forState`: with values that expire and with batches, on a server that knows of them. */
export function bucket(nats: Nats, name: string, forState = false): Bucket {
  const stream = `KV_${name}`
  const root = `$KV.${name}.`
  const later = { ...(forState && nats.level >= 1 && EXPIRING), ...(forState && nats.level >= 2 && BATCHES) }
  const expires = 'allow_msg_ttl' in later
  const config = {
    subjects: [`${root}>`],
    max_msgs_per_subject: 1,
    allow_rollup_hdrs: true,
    deny_delete: true,
    allow_direct: true,
    discard: 'new',
    ...later,
  }
  /** Why the bucket, as somebody made it, has neither values that expire nor batches. */
  let staying: TalkwireError | undefined
  const ready = onceDone(async () => {
    const isNew = await nats.ensure(stream, config)
    staying = isNew || !expires ? undefined : await extend(nats, stream, later)
  })
  const extraOf = ({ expect, ttl, gone }: Write): Headers => ({
    ...(expect !== undefined && { [EXPECT]: String(expect) }),
    ...(ttl !== undefined && { [SECONDS]: String(Math.ceil(ttl / 1000)), [EXACTLY]: String(ttl) }),
    // What a purge leaves goes by itself; at the end of a deletion's time the server would put a mark in its place.
    ...(gone && (expires && !staying ? { [OPERATION]: 'PURGE', [SECONDS]: String(KNOWN_GONE) } : { [OPERATION]: 'DEL' })),
  })
  const store = async <T>(run: () => Promise<T>): Promise<T | undefined> => {
    try {
      return await run()
    } catch (reason) {
      if (CONFLICTS.includes(jetStreamCode(reason))) return undefined
      throw reason
    }
  }
  const one = async (write: Write): Promise<number | undefined> => {
    await ready()
    if (write.ttl !== undefined && staying) throw staying
    const { key, body, type } = write
    return store(async () => (await nats.store(root + token(key), { body, type, headers: {} }, extraOf(write))).seq)
  }
  return {
    ready: async () => ready(),
    stream,
    root,
    async last(key) {
      await ready()
      // Asked of who leads the stream: others may not have it yet.
      const answer = await nats.api(`STREAM.MSG.GET.${stream}`, { last_by_subj: root + token(key) }).catch((reason: unknown) => {
        if (jetStreamCode(reason) === NO_MESSAGE) return undefined
        throw reason
      })
      if (!answer) return undefined
      const { seq, data = '', hdrs, time } = answer.message
      return lastOf(key, seq, Date.parse(time), Buffer.from(data, 'base64'), headersIn(hdrs))
    },
    put: (key, body, type, expect, ttl) => one({ key, body, type, expect, ttl }),
    remove: async (key, expect) => (await one({ key, body: NOTHING, type: 'bytes', expect, gone: true })) !== undefined,
    async all(writes) {
      await ready()
      if (staying) throw staying
      return store(() =>
        storeAll(
          nats,
          writes.map((write) => ({
            subject: root + token(write.key),
            message: { body: write.body, type: write.type, headers: {} },
            extra: extraOf(write),
          })),
        ),
      )
    },
    now: async () => Date.parse((await nats.api(`STREAM.INFO.${stream}`)).ts),
  }
}

/** `header`: of a name, case ignored; undefined or '': there is none. */
export function lastOf(key: string, seq: number, time: number, value: Uint8Array, header: (name: string) => string | undefined): Last {
  const ttl = header(EXACTLY)
  const stored = { key, value, type: bodyTypeOf(header('Content-Type') ?? ''), revision: revisionOf(seq, Boolean(ttl)) }
  return { seq, gone: Boolean(header(OPERATION) || header(MARKER)), stored, time, until: ttl ? time + Number(ttl) : undefined }
}

/** Of a value that will be gone it says so: whoever compares with it has to look at the clock. */
export const revisionOf = (seq: number, expires: boolean): string => `${seq}${expires ? 't' : ''}`
/** Undefined: it is of no value. */
export function seqOf(revision: string): { readonly seq: number; readonly expires: boolean } | undefined {
  const [, seq, expires] = /^([1-9]\d*)(t?)$/.exec(revision) ?? []
  return seq === undefined ? undefined : { seq: Number(seq), expires: expires === 't' }
}

/** Of a message as JetStream's API gives it: lines in base64, the first of which is none. */
function headersIn(hdrs: string | undefined): (name: string) => string | undefined {
  const lines = Buffer.from(hdrs ?? '', 'base64').toString()
  return (name) => new RegExp(`^${name}: *([^\\r\\n]*)`, 'im').exec(lines)?.[1]
}

/** A bucket of before, or of somebody else. Undefined: it has from now on what a hub's has. Else why not. */
async function extend(nats: Nats, stream: string, later: object): Promise<TalkwireError | undefined> {
  const { config } = await nats.api(`STREAM.INFO.${stream}`)
  const refused = (why: string, cause?: unknown): TalkwireError =>
    new TalkwireError('UNSUPPORTED', `the NATS stream "${stream}" has no ttl and no batches: ${why}`, { cause })
  if (config.max_msgs_per_subject !== 1)
    return refused('it keeps older values, which would come back; nats stream edit --max-msgs-per-subject=1 makes it one as a hub has it')
  if (Object.keys(later).every((name) => config[name])) return undefined
  try {
    await nats.api(`STREAM.UPDATE.${stream}`, { ...config, ...later })
    return undefined
  } catch (reason) {
    // What is no answer is asked for again by the next.
    if (jetStreamCode(reason) === undefined && TalkwireError.from(reason).code !== 'UNAUTHENTICATED') throw reason
    return refused(`the server does not let us change it (${(reason as Error).message}); let somebody else open the hub once`, reason)
  }
}

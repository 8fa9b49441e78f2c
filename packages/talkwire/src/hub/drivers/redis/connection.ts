/** Two connections to a Redis: one for commands, one that listens. Both are made again by themselves, and listeners are told. */
import { createHash } from 'node:crypto'
import { TalkwireError } from '../../../error.js'
import { brokerAddress, whoAsks } from '../broker-address.js'
import { calls, headersOf, LONGEST_PAUSE, packageOf, SHORTEST_PAUSE } from '../broker.js'
import type { BodyType, Headers, Incoming, OpenOptions } from '../../driver.js'

type Argument = string | Buffer
/** What a script answers: texts are bytes. */
export type Answer = Buffer | number | null | Answer[]

export interface Script {
  readonly sha: string
  readonly text: string
}

/** The milliseconds of Redis' own clock: those of the clients may differ. */
const NOW = `local clock
local function now()
  if not clock then local t = redis.call('TIME') clock = t[1] * 1000 + math.floor(t[2] / 1000) end
  return clock
end
local function whole(n) return string.format('%.0f', n) end
`
export function script(text: string): Script {
  const whole = NOW + text
  return { sha: createHash('sha1').update(whole).digest('hex'), text: whole }
}

export interface Ear {
  /** Nothing is heard after it resolves. */
  close(): Promise<void>
}

export interface Redis {
  /** Every key and channel begins with it. */
  readonly prefix: string
  command(...words: Argument[]): Promise<Answer>
  run(script: Script, keys: readonly string[], words: readonly Argument[]): Promise<Answer>
  /** `back`: listening was interrupted, and goes on. Patterns are Redis' own globs. The names are heard from the same moment on. */
  listen(kind: 'channels' | 'patterns', names: string[], heard: (message: Buffer, channel: string) => void, back?: () => void): Promise<Ear>
  /** Called before the connections close; what it returns is waited for. */
  closing(what: () => unknown): () => void
  onError: OpenOptions['onError']
  close(): Promise<void>
}

/** It reads its disk, or is a replica that nobody may write to. */
const NOT_YET = /^(LOADING|MASTERDOWN|READONLY|BUSY|TRYAGAIN)\b/

const FORM =
  'Redis is redis://user:password@host:6379/0?prefix=shop, or rediss: for TLS; the number is the database, the prefix letters, digits, "_" and "-"'

export async function connectRedis(address: string, options: OpenOptions): Promise<Redis> {
  const { credentials = {} } = options
  const parsed = brokerAddress(address, ['redis', 'rediss'], /^\/?\d*$/, FORM)
  const { url, prefix } = parsed
  const { user, password } = whoAsks(parsed, credentials)
  url.search = ''
  const lib = await packageOf('redis', '@redis/client', () => import('@redis/client'))
  const { createClient, RESP_TYPES, ErrorReply } = lib
  options.signal?.throwIfAborted()
  let open = false
  let lost = false
  const say = (cause: unknown): void => {
    if (!open || lost || cause instanceof ErrorReply) return
    lost = true
    options.onConnection({ state: 'lost', cause: errorOf(cause, true) })
  }
  /** What is sent while there is no connection fails at once: it says honestly that it was not sent. */
  const make = () =>
    createClient({
      url: url.href,
      ...(user !== '' && { username: user }),
      ...(password !== '' && { password }),
      RESP: 2,
      disableOfflineQueue: true,
      // Else what cannot be written for five seconds fails, without a word, also where Redis is only busy.
      commandOptions: { timeout: 0 },
      socket: {
        ...(credentials['tls'] as object | undefined),
        reconnectStrategy: (retries: number) => open && Math.min(LONGEST_PAUSE, SHORTEST_PAUSE * 2 ** Math.min(retries, 10)),
      },
    })
  const main = make()
  const ear = make()
  const destroy = (): void => {
    for (const client of [main, ear]) if (client.isOpen) client.destroy()
  }
  main.on('error', say).on('reconnecting', () => say(new Error('the connection was closed')))
  /** How often listening was interrupted. */
  let interruptions = 0
  ear.on('error', say).on('reconnecting', () => void interruptions++)
  options.signal?.addEventListener('abort', destroy, { once: true })
  try {
    // Not both at once: of two that fail, the second would have nobody who waits for it.
    await main.connect()
    await ear.connect()
    // Without a password Redis lets anybody connect, and refuses the first command.
    await main.ping()
  } catch (reason) {
    destroy()
    options.signal?.throwIfAborted()
    throw errorOf(reason)
  } finally {
    options.signal?.removeEventListener('abort', destroy)
  }
  open = true
  const backs = new Set<() => void>()
  const closings = calls()
  /** Both are there again, the one for commands and the one that listens, and Redis has read what is on its disk. */
  const again = async (): Promise<void> => {
    const there = (): boolean => open && main.isReady && ear.isReady
    while (there()) {
      const refusal = await main.ping().then(
        () => undefined,
        (reason: unknown) => reason,
      )
      if (!there() || !lost) return
      if (refusal === undefined) {
        lost = false
        options.onConnection({ state: 'connected' })
        for (const back of backs) back()
        return
      }
      if (!NOT_YET.test((refusal as Error).message)) return options.onError(errorOf(refusal), 'the connection')
      await new Promise((resolve) => setTimeout(resolve, SHORTEST_PAUSE))
    }
  }
  main.on('ready', () => void again())
  // The library subscribes again before it says ready.
  ear.on('ready', () => void again())
  /** Scripts that Redis had as text on this connection. */
  const known = new Set<string>()
  main.on('ready', () => known.clear())
  const typed = main.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer })
  /** `asked`: there was a connection. What ends it ends commands that are on their way, in its own words. */
  function errorOf(reason: unknown, asked = false): TalkwireError {
    if (reason instanceof TalkwireError) return reason
    const { message } = reason as Error
    if (/^(NOAUTH|WRONGPASS|NOPERM)/.test(message)) return new TalkwireError('UNAUTHENTICATED', `Redis: ${message}`, { cause: reason })
    if (NOT_YET.test(message)) return new TalkwireError('UNAVAILABLE', `Redis: ${message}`, { cause: reason, outcome: 'not-sent' })
    if (reason instanceof ErrorReply) return new TalkwireError('UNKNOWN', `Redis: ${message}`, { cause: reason, outcome: 'ran' })
    if (reason instanceof lib.ClientClosedError) return new TalkwireError('CLOSED', 'the hub was closed', { cause: reason })
    const sent = asked && !(reason instanceof lib.ClientOfflineError)
    return new TalkwireError(sent ? 'CONNECTION_LOST' : 'UNAVAILABLE', `Redis: ${message || 'nobody is there'}`, {
      cause: reason,
      outcome: sent ? 'maybe-ran' : 'not-sent',
    })
  }
  const command = async (...words: Argument[]): Promise<Answer> => {
    if (!open) throw new TalkwireError('CLOSED', 'the hub was closed')
    try {
      return await typed.sendCommand<any>(words)
    } catch (reason) {
      throw errorOf(reason, true)
    }
  }
  return {
    prefix,
    command,
    async run({ sha, text }, keys, words) {
      const asText = (): Promise<Answer> => command('EVAL', text, String(keys.length), ...keys, ...words)
      // One that Redis may not know goes as text at once: what is refused and asked again comes behind what was asked after it.
      if (!known.has(sha)) {
        known.add(sha)
        return asText()
      }
      try {
        return await command('EVALSHA', sha, String(keys.length), ...keys, ...words)
      } catch (reason) {
        if (!/NOSCRIPT/.test(String(reason))) throw reason
        return asText()
      }
    },
    async listen(kind, names, heard, back) {
      let closed = false
      let known = interruptions
      const listener = (message: Buffer, channel: Buffer): void => {
        if (closed) return
        // The other connection may not be there yet: what was missed comes first.
        if (known !== (known = interruptions)) back?.()
        heard(message, String(channel))
      }
      try {
        await (kind === 'channels' ? ear.subscribe(names, listener, true) : ear.pSubscribe(names, listener, true))
      } catch (reason) {
        throw errorOf(reason)
      }
      if (back) backs.add(back)
      return {
        async close() {
          if (closed) return
          closed = true
          if (back) backs.delete(back)
          // Without a connection there is nothing to end; the library no longer knows it afterwards.
          if (ear.isOpen)
            await (kind === 'channels' ? ear.unsubscribe(names, listener, true) : ear.pUnsubscribe(names, listener, true)).catch(() => {})
        },
      }
    },
    closing: (what) => closings.add(what),
    onError: options.onError,
    async close() {
      if (!open) return
      await closings.all()
      // Commands that were sent are answered first.
      const ends = [main, ear].map((client) => (client.isReady ? client.close() : Promise.resolve(client.destroy())))
      open = false
      await Promise.all(ends)
    },
  }
}

export const text = (answer: Answer | undefined): string => (answer === null || answer === undefined ? '' : String(answer))
export const items = (answer: Answer | undefined): Answer[] => (Array.isArray(answer) ? answer : [])
export const bytes = (answer: Answer | undefined): Buffer => (Buffer.isBuffer(answer) ? answer : Buffer.from(text(answer)))
/** Without a copy; commands keep it until they are answered. */
export const view = (body: Uint8Array): Buffer => Buffer.from(body.buffer, body.byteOffset, body.byteLength)

/** Three lines, such as position or time, type and headers; then the body, if there is one. */
export function split(message: Buffer): { lines: string[]; rest: Buffer } {
  const lines: string[] = []
  let from = 0
  for (let line = 0; line < 3; line++) {
    const end = message.indexOf(0x0a, from)
    lines.push(message.toString('utf8', from, end < 0 ? message.length : end))
    from = end < 0 ? message.length : end + 1
  }
  return { lines, rest: message.subarray(from) }
}

/** Headers and type as fields of a stream and of a hash. */
export const headersText = (headers: Headers): string => (Object.keys(headers).length > 0 ? JSON.stringify(headers) : '')
export const typeOf = (field: string): BodyType | undefined =>
  field === 'json' || field === 'text' || field === 'bytes' ? field : undefined
export const incomingOf = (type: string, headers: string, body: Buffer): Incoming => ({
  type: typeOf(type),
  headers: headersOf(headers),
  body,
})

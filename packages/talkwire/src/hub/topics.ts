/** Topics: publish and subscribe, request and reply. */
import type { InputOf, OutputOf, StandardSchema } from '../contract/standard-schema.js'
import { TalkwireError } from '../error.js'
import type { From, Headers, Outgoing, Request, Subscription as DriverSubscription, TopicMessage } from './driver.js'
import type { Base } from './base.js'
import { handingOf, type Handing, type Listener } from './handing.js'
import { closable, Inbox, type Closable, type SlowPolicy } from './inbox.js'
import { isPattern, matchesPattern, validatePattern, validateTopic } from './topic-names.js'
import { valuesOf, type ValueOptions, type Values } from './values.js'
import { after } from '../timers.js'

/** A message as a subscriber gets it. */
export interface Message<T = unknown> {
  readonly data: T
  readonly topic: string
  readonly headers: Headers
  /** Where it stands in what is kept, for `from: { after }`; undefined where nothing is kept. */
  readonly position: string | undefined
  /** When the broker took it; undefined where it does not say. */
  readonly time: Date | undefined
  /** The last value from before the subscription. */
  readonly retained: boolean
  /** So many messages before this one were lost. */
  readonly lost: number
}

export type Subscription<T = unknown> = Closable<Message<T>>

export interface TopicSubscribeOptions {
  /** `new`: from now on, the default. `all`: from the oldest that is kept. Else what stands after a position, or was taken at a time or later. */
  readonly from?: 'new' | 'all' | { readonly after: string } | Date
  /** Each message goes to one member of the group. */
  readonly group?: string
  /** What happens to a subscriber that reads too slowly. Default `drop-oldest`: each message says how many were lost before it. */
  readonly slow?: SlowPolicy
  /** How many messages may wait to be read. Default 10,000. */
  readonly buffer?: number
  readonly signal?: AbortSignal
}

export interface TopicPublishOptions {
  /** The topic, where this one is a pattern. */
  readonly to?: string
  readonly headers?: Headers
  /** Kept as the topic's last value, for subscribers that come later. */
  readonly retain?: boolean
}

export interface RequestOptions {
  readonly to?: string
  readonly headers?: Headers
  /** Milliseconds until it fails with DEADLINE_EXCEEDED. None by default. */
  readonly timeout?: number
  readonly signal?: AbortSignal
}

export interface GatherOptions extends RequestOptions {
  /** Ends after so many replies; without it after `timeout`, which is then wanted. */
  readonly count?: number
}

export interface RespondOptions {
  /** Each request goes to one member of the group. Without it everybody who responds gets it, for `gather`. */
  readonly group?: string
}

export interface Topic<In = unknown, Out = In, ReplyIn = unknown, ReplyOut = unknown> {
  /** Resolves when the broker has it, where it says so; else when it is on its way. Rejects with INVALID_INPUT, UNAVAILABLE. */
  publish(data: In, options?: TopicPublishOptions): Promise<void>
  /** Resolves when everything that is published from now on will come. A message that does not fit goes to `onError` and is left out. */
  subscribe(options?: TopicSubscribeOptions): Promise<Subscription<Out>>
  /**
   * As `subscribe`, with a handler for each message: without an iterator it costs about half. The next one comes when what the handler
   * returns has settled. What it throws goes to `onError`.
   */
  listen(handler: (message: Message<Out>) => unknown, options?: TopicSubscribeOptions): Promise<Listener>
  /** One reply. Rejects with PEER_NOT_FOUND where the broker can tell that nobody responds, and with what the responder threw. */
  request(data: In, options?: RequestOptions): Promise<ReplyOut>
  /** The replies of everybody who responds. */
  gather(data: In, options?: GatherOptions): AsyncIterableIterator<ReplyOut>
  /** Answers requests with what the handler returns. Errors with a code reach the other side as they are, others as INTERNAL. */
  respond(handler: (data: Out, message: Message<Out>) => ReplyIn | Promise<ReplyIn>, options?: RespondOptions): Promise<Responder>
}

export interface Responder extends AsyncDisposable {
  /** No request comes after it resolves; those that came are still answered. */
  close(): Promise<void>
}

export interface TopicOptions<S extends StandardSchema<any, any>, R extends StandardSchema<any, any>> extends ValueOptions<S> {
  /** Of the replies to requests. */
  readonly reply?: R
}

export type TopicOf<S, R> = Topic<
  unknown extends InputOf<S> ? any : InputOf<S>,
  unknown extends OutputOf<S> ? any : OutputOf<S>,
  unknown extends InputOf<R> ? any : InputOf<R>,
  unknown extends OutputOf<R> ? any : OutputOf<R>
>

const BUFFER = 10_000
/** Where a responder's error stands: the code, and behind a space its text. */
const ERROR_HEADER = 'talkwire-error'

export function topic(base: Base, pattern: string, options: TopicOptions<any, any>): Topic<any, any, any, any> {
  validatePattern(pattern)
  const what = `the topic "${pattern}"`
  const values = valuesOf(options, what)
  const replies = valuesOf({ ...(options.reply && { schema: options.reply }) }, `replies to "${pattern}"`)
  const own = isPattern(pattern) ? undefined : pattern
  const target = (to: string | undefined): string => (to === undefined && own !== undefined ? own : targetOf(pattern, to))
  return {
    // Messages come by the hundred thousand: none costs a promise or a closure of its own where nothing is waited for.
    publish(data, options = NO_OPTIONS) {
      try {
        const { headers, retain = false } = options
        const name = target(options.to)
        const refused = base.need('topics') ?? (headers && base.need('headers')) ?? (retain ? base.need('retained') : undefined)
        if (refused) return refused
        const message = values.write(data, headers)
        return message instanceof Promise
          ? sendLater(base, name, message, retain)
          : base.driver.topics!.publish(name, message, retain ? RETAINED : PASSING)
      } catch (reason) {
        return Promise.reject(reason)
      }
    },
    subscribe: (wish = {}) => subscribe(base, pattern, values, wish),
    listen: (handler, wish = {}) => listen(base, pattern, values, handler, wish),
    async request(data, { to, headers, timeout, signal } = {}) {
      for await (const reply of ask(base, target(to), values, replies, data, { headers, timeout, signal, count: 1 })) return reply
      throw new TalkwireError('DEADLINE_EXCEEDED', `nobody answered the request to "${target(to)}" within ${timeout} ms`, {
        outcome: 'maybe-ran',
      })
    },
    gather: (data, { to, headers, timeout, signal, count } = {}) => {
      if (timeout === undefined && count === undefined)
        throw new TypeError('gather ends after a time or a number of replies: give it timeout or count')
      return ask(base, target(to), values, replies, data, { headers, timeout, signal, count })
    },
    respond: (handler, { group } = {}) => respond(base, pattern, values, replies, handler, group),
  }
}

const NO_OPTIONS: TopicPublishOptions = {}
const RETAINED = { retain: true }
const PASSING = { retain: false }

const sendLater = async (base: Base, name: string, message: Promise<Outgoing>, retain: boolean): Promise<void> =>
  base.driver.topics!.publish(name, await message, retain ? RETAINED : PASSING)

function targetOf(pattern: string, to: string | undefined): string {
  if (to === undefined) throw new TypeError(`"${pattern}" is a pattern; say which topic: { to: '…' }`)
  validateTopic(to)
  if (!matchesPattern(pattern, to)) throw new TypeError(`"${to}" is no topic of "${pattern}"`)
  return to
}

type Item = TopicMessage & { lost?: number }

interface Opened {
  readonly inbox: Inbox<Item>
  /** Nothing comes after it resolves. */
  readonly close: () => Promise<void>
}

/** Who is told of what came, and that nothing comes any more. */
type Comes = Pick<Handing<Item>, 'came' | 'over'>

async function open(base: Base, pattern: string, options: TopicSubscribeOptions, { came, over }: Comes): Promise<Opened> {
  const { from = 'new', group, slow = 'drop-oldest', buffer = BUFFER, signal } = options
  if (!Number.isSafeInteger(buffer) || buffer < 1) throw new TypeError(`buffer is a number of messages, such as ${BUFFER}`)
  signal?.throwIfAborted()
  await base.need('topics')
  if (isPattern(pattern)) await base.need('wildcards')
  if (from !== 'new') await base.need('replay')
  if (group !== undefined) await base.need('groups')
  if (slow === 'wait') await base.need('backpressure')
  let under: DriverSubscription | undefined
  const inbox = new Inbox<Item>(buffer, slow, { room: () => under?.resume(), stop: async () => under?.close() }, withLost)
  under = await base.driver.topics!.subscribe(
    pattern,
    { from: from instanceof Date ? { time: from.getTime() } : (from as From), group, buffer, wait: slow === 'wait' },
    {
      message: (message) => came(inbox, message),
      lost: (count) => inbox.lost(count),
      ended(error) {
        inbox.end(error)
        over(inbox)
      },
    },
  )
  const abort = (): void => {
    inbox.end(TalkwireError.from(signal!.reason, 'CANCELLED'))
    over(inbox)
    void under.close()
  }
  signal?.addEventListener('abort', abort, { once: true })
  return {
    inbox,
    async close() {
      signal?.removeEventListener('abort', abort)
      await inbox.return()
      over(inbox)
    },
  }
}

type Read = (item: Item) => Message | undefined | Promise<Message | undefined>

/** Undefined: it did not fit, and `onError` was told. */
function reader(base: Base, values: Values): Read {
  const unfit = (reason: unknown, { topic }: TopicMessage): undefined => void base.onError(reason, topic)
  return (item) => {
    try {
      const data = values.read(item)
      if (!(data instanceof Promise)) return messageOf(item, data)
      return data.then(
        (checked) => messageOf(item, checked),
        (reason: unknown) => unfit(reason, item),
      )
    } catch (reason) {
      return unfit(reason, item)
    }
  }
}

async function subscribe(base: Base, pattern: string, values: Values, options: TopicSubscribeOptions): Promise<Subscription<any>> {
  const read = reader(base, values)
  const { inbox, close } = await open(base, pattern, options, { came: (into, item) => into.push(item), over() {} })
  const later = async (first: Promise<Message | undefined> | undefined): Promise<IteratorResult<Message>> => {
    let message = await first
    while (!message) {
      const { value, done } = await inbox.next()
      if (done) return { value: undefined, done: true }
      message = await read(value)
    }
    return { value: message, done: false }
  }
  const next = (): Promise<IteratorResult<Message>> => {
    const item = inbox.poll()
    const message = item && read(item)
    return message && !(message instanceof Promise) ? Promise.resolve({ value: message, done: false }) : later(message)
  }
  return closable(next, close)
}

async function listen(
  base: Base,
  pattern: string,
  values: Values,
  handler: (message: Message<any>) => unknown,
  options: TopicSubscribeOptions,
): Promise<Listener> {
  const read = reader(base, values)
  const handing = handingOf(read, handler, (reason, { topic }) => base.onError(reason, topic))
  const { close } = await open(base, pattern, options, handing)
  return { closed: handing.closed, close, [Symbol.asyncDispose]: close }
}

// Not by a spread: a driver's message may have its parts by getters.
const withLost = ({ body, type, headers, topic, position, time, retained }: Item, lost: number): Item => ({
  body,
  type,
  headers,
  topic,
  position,
  time,
  retained,
  lost,
})

const messageOf = (message: Item, data: unknown): Message => ({
  data,
  topic: message.topic,
  headers: message.headers,
  position: message.position,
  time: message.time === undefined ? undefined : new Date(message.time),
  retained: message.retained,
  lost: message.lost ?? 0,
})

interface Ask {
  readonly headers: Headers | undefined
  readonly timeout: number | undefined
  readonly signal: AbortSignal | undefined
  readonly count: number | undefined
}

async function* ask(
  base: Base,
  name: string,
  values: Values,
  replies: Values,
  data: unknown,
  { headers, timeout, signal, count = Infinity }: Ask,
): AsyncGenerator<unknown, void, undefined> {
  signal?.throwIfAborted()
  await base.need('requests')
  const inbox = new Inbox<Parameters<Values['read']>[0]>(BUFFER, 'disconnect', { room() {}, stop: async () => {} }, (item) => item)
  const sent = await values.write(data, headers)
  const timer = after(timeout, () => inbox.end())
  const abort = (): void => inbox.end(TalkwireError.from(signal!.reason, 'CANCELLED', 'maybe-ran'))
  signal?.addEventListener('abort', abort, { once: true })
  let asked: { stop(): void } | undefined
  try {
    asked = await base.driver.requests!.request(name, sent, (reply) => inbox.push(reply))
    let got = 0
    for await (const reply of inbox) {
      const error = reply.headers[ERROR_HEADER]
      if (error !== undefined) throw errorOf(error)
      yield replies.read(reply)
      if (++got >= count) return
    }
  } catch (reason) {
    // A cancelled request rejects with the signal's own reason, as calls do.
    signal?.throwIfAborted()
    throw reason
  } finally {
    clearTimeout(timer)
    signal?.removeEventListener('abort', abort)
    asked?.stop()
  }
}

async function respond(
  base: Base,
  pattern: string,
  values: Values,
  replies: Values,
  handler: (data: any, message: Message<any>) => unknown,
  group: string | undefined,
): Promise<Responder> {
  await base.need('requests')
  const answer = async (request: Request): Promise<void> => {
    let reply
    try {
      const data = await values.read(request)
      reply = await replies.write((await handler(data, messageOf(request, data))) ?? null)
    } catch (reason) {
      if (!(reason instanceof TalkwireError)) base.onError(reason, request.topic)
      reply = await errorReply(reason)
    }
    await request.reply(reply, false)
  }
  const under = await base.driver.requests!.respond(pattern, group, (request) => {
    answer(request).catch((reason: unknown) => base.onError(reason, request.topic))
  })
  const close = (): Promise<void> => under.close()
  return { close, [Symbol.asyncDispose]: close }
}

const empty = valuesOf({}, 'an error')

/** What the handler did not throw as a TalkwireError is nobody's business but ours. */
function errorReply(reason: unknown): ReturnType<Values['write']> {
  const known = reason instanceof TalkwireError
  const text = known ? `${reason.code} ${reason.message.replace(/^\[\w+\] /, '')}` : 'INTERNAL the responder failed'
  return empty.write(null, { [ERROR_HEADER]: text.replaceAll(/[\0\r\n]+/g, ' ') })
}

function errorOf(text: string): TalkwireError {
  const [, code = 'UNKNOWN', message = text] = /^([A-Za-z_]{1,64}) (.*)$/s.exec(text) ?? []
  return new TalkwireError(code, message, { outcome: 'ran' })
}

/** A service behind a broker: each request of a topic is a call of one session. */
import { randomUUID } from 'node:crypto'
import { TalkwireError } from '../error.js'
import type { Headers, Incoming, OpenDriver, Request, Subscription } from '../hub/driver.js'
import type { Service } from '../session/service.js'
import type { BrokerConnection } from './broker.js'
import { Callers, looking, type Heard, type Looking } from './broker-alive.js'
import { CALL, CONTROL, CREDIT, INPUT, INSTANCE, PART, TAGGED, VALUES, writeError, wordsOf, type Words } from './broker-words.js'
import type { Admit, Caller, DialectServerOptions, OpenCall } from './dialect.js'
import { metaOf } from './http-meta.js'
import { fromWireError, type Meta } from './message.js'

/** Bytes of a stream that a caller who grants nothing is sent ahead of the broker. */
const AHEAD = 64 * 1024
const GROUP = 'talkwire'
/** The topic at which all services hear `hello`. */
export const EVERYBODY = 'rpc-control'

export interface Topics {
  /** `rpc.bank-1`: a method's topic has its name behind it. */
  readonly calls: string
  /** Where everybody who serves it hears controls; an instance of its own hears those behind it. */
  readonly control: string
  readonly events: string
}

interface Running {
  readonly open: OpenCall
  readonly words: Words
  readonly heard: Heard
}

export class Served {
  private readonly id = randomUUID()
  private readonly calls = new Map<string, Running>()
  private readonly callers = new Callers()
  private readonly heard = new Set<string>()
  private readonly caller: Caller
  private readonly plain: Words
  private readonly tagged: Words
  private listening: Subscription[] = []

  constructor(
    private readonly driver: OpenDriver,
    private readonly topics: Topics,
    private readonly service: Service,
    connection: BrokerConnection,
    admit: Admit,
    private readonly options: DialectServerOptions,
    begin: Looking = looking,
  ) {
    this.plain = wordsOf(options.limits, false)
    this.tagged = wordsOf(options.limits, true)
    this.caller = admit(connection, (event, payload) => this.publish(event, payload))
    const end = begin(() => this.callers.look())
    connection.onEnd((cause) => {
      end()
      this.caller.closed(cause)
    })
  }

  async listen(): Promise<void> {
    const requests = this.driver.requests!
    const { calls, control } = this.topics
    const controls = (request: Request): void => this.control(request)
    for (const [name, { kind }] of Object.entries(this.service.contract?.members ?? {})) if (kind === 'event') await this.hear(name)
    this.listening.push(
      await requests.respond(`${control}.${this.id}`, undefined, controls),
      await requests.respond(control, undefined, controls),
      await requests.respond(EVERYBODY, undefined, controls),
      await requests.respond(`${calls}.>`, GROUP, (request) => this.call(request)),
    )
  }

  /** No new calls; those that run are answered, and may still be cancelled. */
  async close(): Promise<void> {
    await this.listening.pop()?.close()
  }

  private call(request: Request): void {
    const { headers } = request
    const words = headers[VALUES] === TAGGED ? this.tagged : this.plain
    const id = headers[CALL]
    let [over, running] = [false, false]
    const say = (value: unknown, more: Headers | undefined): number => {
      const message = words.write(value, more ?? {})
      this.reply(request, message, more !== undefined)
      return message.body.length
    }
    const fail = (error: TalkwireError): void => {
      over = true
      if (running) this.forget(id!)
      this.reply(request, failure(error, words), false)
    }
    let meta: Meta | undefined
    let params: unknown
    try {
      meta = readMeta(headers)
      params = readParams(words.read(request))
      if (id !== undefined && this.calls.has(id))
        throw new TalkwireError('INVALID_REQUEST', `there is a call with the ${CALL} ${id.slice(0, 80)}`)
    } catch (reason) {
      return fail(TalkwireError.from(reason))
    }
    const strange = id === undefined
    const greet = (): void => void say(undefined, { [PART]: 'begun', [INSTANCE]: this.id })
    if (!strange && (meta?.input || meta?.credit !== undefined)) greet()
    const method = request.topic.slice(this.topics.calls.length + 1)
    const open = this.caller.call(method, params, strange ? { ...meta, credit: AHEAD } : meta, {
      result: (value) => {
        say(value, undefined)
        over = true
        if (running) this.forget(id!)
      },
      error: fail,
      item: (value) => {
        const size = say(value, { [PART]: 'item' })
        // Who grants nothing has it when the broker has it.
        if (strange) setImmediate(() => open.grant(size))
        return size
      },
      progress: (value) => void (strange || say(value, { [PART]: 'progress' })),
      grantInput: (bytes) => void say(bytes, { [PART]: 'credit' }),
    })
    if (over || strange) return
    running = true
    this.calls.set(id, { open, words, heard: this.callers.begin(id, () => open.cancel(), greet) })
  }

  private forget(id: string): void {
    this.callers.end(this.calls.get(id)!.heard)
    this.calls.delete(id)
  }

  private control(request: Request): void {
    const { [CONTROL]: what, [CALL]: id } = request.headers
    if (what === 'hello') return this.reply(request, this.plain.write(this.card(), {}), false)
    try {
      if (what === 'alive') return this.alive(request)
      if (what === 'listen') return this.listenTo(request)
      if (id === undefined) return
      this.callers.spoke(id)
      const call = this.calls.get(id)
      if (call) this.steer(call, what, request)
    } catch (reason) {
      // A control has nobody who waits for its answer.
      this.options.onError(reason, this.topics.control)
    }
  }

  private card(): object {
    const { name, contract } = this.service
    return { service: name, contract: contract?.id ?? null, instance: this.id }
  }

  private alive(request: Request): void {
    const asked = this.plain.read(request)
    const ids = (Array.isArray(asked) ? asked : []).filter((id): id is string => typeof id === 'string')
    const known = ids.filter((id) => this.calls.has(id))
    this.callers.asked(ids)
    for (const id of known) this.calls.get(id)!.heard.spoken = true
    // Also who has none of them: then it is not this one's answer that is still on its way.
    this.reply(request, this.plain.write(known, { [INSTANCE]: this.id }), false)
  }

  private listenTo(request: Request): void {
    const event = this.plain.read(request)
    const failed = (reason: unknown): void => this.reply(request, failure(TalkwireError.from(reason), this.plain), false)
    if (typeof event !== 'string') return failed(new TalkwireError('INVALID_REQUEST', 'an event has a name'))
    this.hear(event).then(() => this.reply(request, this.plain.write(null, {}), false), failed)
  }

  private async hear(event: string): Promise<void> {
    if (this.heard.has(event)) return
    await this.caller.subscribe(event)
    this.heard.add(event)
  }

  private steer({ open, words, heard }: Running, what: string | undefined, request: Incoming): void {
    heard.spoken = true
    if (what === 'cancel') return open.cancel()
    if (what === 'grant') return open.grant(Number(words.read(request)) || 0)
    if (what === 'input') return void open.input(words.read(request), request.body.length)
    if (what === 'end') open.endInput(request.body.length > 0 ? fromWireError(words.read(request)) : undefined)
  }

  private reply(request: Request, message: Parameters<Request['reply']>[0], more: boolean): void {
    request.reply(message, more).catch((reason: unknown) => this.options.onError(reason, request.topic))
  }

  private publish(event: string, payload: unknown): boolean {
    this.driver
      .topics!.publish(`${this.topics.events}.${event}`, this.tagged.write(payload, {}), { retain: false })
      .catch((reason: unknown) => this.options.onError(reason, event))
    return true
  }
}

function failure(error: TalkwireError, words: Words): ReturnType<Words['write']> {
  try {
    return writeError(error, words)
  } catch {
    return writeError(new TalkwireError('INVALID_OUTPUT', 'the error cannot be sent', { outcome: error.outcome }), words)
  }
}

/** Throws INVALID_REQUEST. */
function readMeta(headers: Headers): Meta | undefined {
  const credit = headers[CREDIT]
  if (credit !== undefined && !/^\d{1,15}$/.test(credit)) throw new TalkwireError('INVALID_REQUEST', `${CREDIT} is a number of bytes`)
  const more = { ...(credit !== undefined && { credit: Number(credit) }), ...(headers[INPUT] !== undefined && { input: true as const }) }
  return metaOf(headers, more)
}

const readParams = (value: unknown): unknown => (value === undefined || (typeof value === 'object' && value !== null) ? value : [value])

/** A client of a service behind a broker. */
import { randomUUID } from 'node:crypto'
import { TalkwireError } from '../error.js'
import type { Headers, Incoming, OpenDriver, Outgoing, Reply, Responders, Subscription } from '../hub/driver.js'
import type { BrokerConnection } from './broker.js'
import { looking, Questions, type Asked, type Looking } from './broker-alive.js'
import { CALL, CONTROL, CREDIT, INPUT, INSTANCE, PART, readError, TAGGED, VALUES, wordsOf, type Words } from './broker-words.js'
import type { Topics } from './broker-serve.js'
import type { Answer, Callee, DialectClientOptions, OpenCall } from './dialect.js'
import { metaHeaders } from './http-meta.js'
import { toWireError, type Meta } from './message.js'

interface Calling {
  readonly answer: Answer
  readonly asked: Asked
  /** What waits for that. */
  readonly held: (() => void)[]
  stop: (() => void) | undefined
  over: boolean
}

export class BrokerCallee implements Callee {
  private readonly prefix = randomUUID()
  private lastId = 0
  private readonly calls = new Map<string, Calling>()
  private readonly events = new Map<string, Promise<Subscription>>()
  private readonly words: Words
  private readonly questions = new Questions()

  constructor(
    private readonly driver: OpenDriver,
    private readonly topics: Topics,
    private readonly options: DialectClientOptions,
    connection: Pick<BrokerConnection, 'onEnd'>,
    begin: Looking = looking,
  ) {
    this.words = wordsOf(options.limits, true)
    const end = begin(() => this.look())
    connection.onEnd((cause) => {
      end()
      const lost = (cause ?? new TalkwireError('CONNECTION_LOST', 'the connection to the broker was closed')).withOutcome('maybe-ran')
      for (const id of this.calls.keys()) this.fail(id, lost)
      options.onClosed(cause)
    })
  }

  call(method: string, params: unknown, meta: Meta | undefined, answer: Answer): OpenCall {
    const id = `${this.prefix}.${++this.lastId}`
    const headers: Record<string, string> = { [CALL]: id, [VALUES]: TAGGED }
    for (const [name, value] of Object.entries(metaHeaders(meta))) headers[name] = String(value)
    if (meta?.credit !== undefined) headers[CREDIT] = String(meta.credit)
    if (meta?.input) headers[INPUT] = 'stream'
    const message = this.words.write(params, headers)
    const calling: Calling = { answer, asked: this.questions.begin(), held: [], stop: undefined, over: false }
    this.calls.set(id, calling)
    this.driver
      .requests!.request(`${this.topics.calls}.${method}`, message, (reply) => this.take(id, calling, reply), 'group')
      .then(
        ({ stop }) => {
          if (calling.over) stop()
          else calling.stop = stop
        },
        (reason: unknown) => this.fail(id, TalkwireError.from(reason, 'UNAVAILABLE')),
      )
    return this.open(id, calling, meta)
  }

  async subscribe(event: string): Promise<void> {
    if (!this.driver.topics) throw new TalkwireError('UNSUPPORTED', `this broker has no topics, so no event "${event}"`)
    const prefix = `${this.topics.events}.`
    const following = this.driver.topics.subscribe(
      prefix + event,
      { from: 'new', group: undefined, buffer: 10_000, wait: false },
      {
        message: (message) => {
          this.options.onEvent(event, payloadOf(this.words, message))
          return true
        },
        lost: () => {},
        ended: () => {},
      },
    )
    this.events.set(event, following)
    await following
    // Without a contract nobody there knows which events are wanted.
    if (!this.options.contract) await this.listen(event)
  }

  unsubscribe(event: string): void {
    void this.events.get(event)?.then((following) => following.close())
    this.events.delete(event)
  }

  private async listen(event: string): Promise<void> {
    const message = this.words.write(event, { [CONTROL]: 'listen' })
    const reply = await first(this.driver, this.topics.control, message, this.options.limits.handshake, 'all')
    if (!reply) throw new TalkwireError('PEER_NOT_FOUND', `nobody answers whether there is an event "${event}"`)
    const error = readError(reply, this.words)
    if (error) throw error
  }

  private take(id: string, calling: Calling, reply: Reply): void {
    if (calling.over) return
    this.questions.heard(calling.asked)
    try {
      if (!reply.more) return this.last(id, calling, reply)
      const part = reply.headers[PART]
      if (part === 'begun') this.begun(calling, reply.headers)
      else if (part === 'progress') calling.answer.progress?.(this.words.read(reply))
      else if (part === 'credit') calling.answer.grantInput?.(Number(this.words.read(reply)) || 0)
      else calling.answer.item(this.words.read(reply), reply.body.length)
    } catch (reason) {
      this.fail(id, TalkwireError.from(reason, 'INVALID_MESSAGE').withOutcome('maybe-ran'))
    }
  }

  private begun(calling: Calling, { [INSTANCE]: instance }: Headers): void {
    calling.asked.instance = instance
    for (const say of calling.held.splice(0)) say()
  }

  private last(id: string, calling: Calling, reply: Reply): void {
    const error = readError(reply, this.words)
    const value = error ? undefined : this.words.read(reply)
    this.forget(id, calling)
    if (error) calling.answer.error(error)
    else calling.answer.result(value)
  }

  private fail(id: string, error: TalkwireError): void {
    const calling = this.calls.get(id)
    if (!calling) return
    this.forget(id, calling)
    calling.answer.error(error)
  }

  private forget(id: string, calling: Calling): void {
    calling.over = true
    this.calls.delete(id)
    calling.stop?.()
  }

  private open(id: string, calling: Calling, meta: Meta | undefined): OpenCall {
    const streams = meta?.input === true || meta?.credit !== undefined
    const say = (what: string, value: unknown): number => {
      const message = this.words.write(value, { [CALL]: id, [CONTROL]: what })
      const send = (): void => this.steer(id, calling, message)
      if (streams && calling.asked.instance === undefined && what !== 'cancel') calling.held.push(send)
      else send()
      return message.body.length
    }
    return {
      cancel: () => {
        if (calling.over) return
        say('cancel', undefined)
        this.forget(id, calling)
      },
      grant: (bytes) => void (calling.over || say('grant', bytes)),
      input: (value) => (calling.over ? 0 : say('input', value)),
      endInput: (error) => void (calling.over || say('end', error && toWireError(error))),
    }
  }

  private steer(id: string, { asked: { instance } }: Calling, message: ReturnType<Words['write']>): void {
    const topic = instance === undefined ? this.topics.control : `${this.topics.control}.${instance}`
    this.driver
      .requests!.request(topic, message, () => {}, 'all')
      .then(
        ({ stop }) => stop(),
        (reason: unknown) => this.fail(id, gone(reason)),
      )
  }

  private look(): void {
    for (const [id, { asked }] of this.calls)
      if (this.questions.isGone(asked))
        this.fail(id, gone(new Error('no instance of the service knows the call any more; who had it is gone')))
    const number = this.questions.next()
    const due = [...this.calls].filter(([, { asked }]) => this.questions.isDue(asked)).map(([id]) => id)
    if (due.length > 0) void this.ask(number, due)
    else this.questions.asked(number)
  }

  private async ask(number: number, ids: readonly string[]): Promise<void> {
    const answered = (reply: Reply): void => {
      const known = payloadOf(this.words, reply)
      const calls = (Array.isArray(known) ? known : []).flatMap((id) => this.calls.get(id as string) ?? [])
      const { [INSTANCE]: instance } = reply.headers
      this.questions.answered(
        number,
        instance,
        calls.map(({ asked }) => asked),
      )
      // Their instance is known by now.
      for (const { asked, held } of calls) if (asked.instance !== undefined) for (const say of held.splice(0)) say()
    }
    try {
      const question = this.words.write(ids, { [CONTROL]: 'alive' })
      const { stop } = await this.driver.requests!.request(this.topics.control, question, answered, 'all')
      this.questions.asked(number, stop)
    } catch {
      // Nobody serves it: the question has no answer, which counts.
      this.questions.asked(number)
    }
  }
}

/** What is no value at all fits no schema either: the session says so. */
function payloadOf(words: Words, message: Incoming): unknown {
  try {
    return words.read(message)
  } catch (reason) {
    if (reason instanceof TalkwireError) return undefined
    throw reason
  }
}

/** Undefined: nobody answers in time. */
export async function first(
  driver: OpenDriver,
  topic: string,
  message: Outgoing,
  milliseconds: number,
  responders: Responders,
): Promise<Reply | undefined> {
  let answered!: (reply: Reply | undefined) => void
  const answer = new Promise<Reply | undefined>((resolve) => (answered = resolve))
  const { stop } = await driver.requests!.request(topic, message, answered, responders)
  const timer = setTimeout(answered, milliseconds, undefined)
  try {
    return await answer
  } finally {
    clearTimeout(timer)
    stop()
  }
}

const gone = (cause: unknown): TalkwireError =>
  new TalkwireError('CONNECTION_LOST', `who ran the call is gone: ${(cause as Error).message}`, { cause, outcome: 'maybe-ran' })

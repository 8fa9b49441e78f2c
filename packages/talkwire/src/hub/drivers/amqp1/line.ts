/** One connection to ActiveMQ in AMQP 1.0. */
import type { ConnectionError, ConnectionOptions, Delivery, EventContext, Sender, Session, Source } from 'rhea'
import { randomUUID } from 'node:crypto'
import { TalkwireError } from '../../../error.js'
import type { Line, Receiving, Sent } from '../activemq/line.js'
import { away, lineLost, notOpened, socketTo, type MqPlace, type Waiter } from '../activemq/place.js'
import { addressOf, arrivedOf, messageOf, type Rhea } from './messages.js'
import { openReceiver, type Link } from './receiver.js'

/** Milliseconds; who says nothing for two of them is gone. */
const SILENCE = 12_500
const PATIENCE = 10_000
/** How many replies are on their way at once. */
const REPLIES = 1000
/** A session keeps what came behind a job that is not settled: so many may. */
const KEPT = 1 << 20
/** A queue of somebody who is gone. */
const GONE = /does not exist|temp.*(deleted|removed)|^temp-(queue|topic):/i

export function openAmqp1(
  rhea: Rhea,
  place: MqPlace,
  signal: AbortSignal | undefined,
  lost: (cause: TalkwireError) => void,
): Promise<Line> {
  return new Promise((resolve, reject) => {
    let state: 'opening' | 'open' | 'closing' | 'closed' = 'opening'
    let failure: Error | undefined
    const { host, port } = place
    const { socket, opens } = socketTo(place)
    // What ends without an error is not the end for the library, whose timers would go on.
    const end = (reason: Error): void => void socket.destroy((failure ??= reason))
    const abort = (): void => end(new Error('it was aborted'))
    signal?.addEventListener('abort', abort, { once: true })
    const patience = setTimeout(() => end(new Error('it says nothing')), PATIENCE)
    const links = new Set<Link>()

    const mechanisms = rhea.sasl.client_mechanisms()
    if (place.user === '') mechanisms.enable_anonymous('anonymous')
    else mechanisms.enable_plain(place.user, place.password)
    const connection = rhea.create_container({ id: randomUUID() }).create_connection({
      host,
      port,
      hostname: host,
      container_id: randomUUID(),
      idle_time_out: SILENCE,
      reconnect: false,
      sasl_mechanisms: mechanisms,
      connect: (_port: number, _host: string, _options: object, connected: () => void) => socket.once(opens, connected),
    } as ConnectionOptions)

    const opened = (): void => {
      // It says why it opens what it closes at once.
      const { product } = (connection['properties'] ?? {}) as { product?: string }
      if (connection['properties']?.['amqp:connection-establishment-failed']) return
      if (product !== 'ActiveMQ')
        return end(
          new TalkwireError(
            'UNSUPPORTED',
            `amqp1: this is ${String(product ?? 'nobody knows what').slice(0, 80)}, and only ActiveMQ Classic is known; RabbitMQ is amqp://`,
          ),
        )
      if (state !== 'opening') return
      state = 'open'
      clearTimeout(patience)
      signal?.removeEventListener('abort', abort)
      resolve(line)
    }
    connection.on('connection_open', opened)
    connection.on('connection_error', ({ error }: EventContext & { error?: ConnectionError }) => (failure ??= errorOf(error)))
    connection.on('connection_close', () => state !== 'closing' && end(new Error('it closed the connection')))
    for (const event of ['error', 'protocol_error'])
      connection.on(event, (reason: Error) =>
        end(new TalkwireError('INVALID_MESSAGE', `AMQP: ${reason.message.slice(0, 200)}`, { cause: reason })),
      )
    // A link or a session that ends without being asked to takes the others with it, and all begin anew.
    for (const event of ['session_error', 'session_close', 'sender_error', 'sender_close'])
      connection.on(event, ({ session, sender }: EventContext) => {
        if (state === 'open' && (sender ?? session)!.error) end(errorOf((sender ?? session)!.error as Refusal))
      })
    for (const event of ['disconnected', 'settled', 'receiver_close', 'receiver_error', 'sendable', 'accepted', 'released', 'rejected'])
      connection.on(event, () => {})
    // The library listens, too, and keeps it to itself.
    socket.on('error', (reason) => (failure ??= reason))
    socket.once('close', () => {
      clearTimeout(patience)
      signal?.removeEventListener('abort', abort)
      const was = state
      state = 'closed'
      if (was === 'opening') return reject(notOpened(failure))
      const cause = lineLost(failure)
      for (const { reject: failed } of unsent.splice(0)) failed(cause)
      for (const { reject: failed } of sent.values()) failed(cause)
      sent.clear()
      if (was === 'open') lost(cause)
      for (const link of links) link.lost(cause)
      links.clear()
    })
    connection.connect()

    const sessionOf = (): Session => {
      const session = connection['create_session']({ incoming: KEPT }) as Session
      session.begin()
      return session
    }
    /** What waits for the broker to have room for it. */
    const unsent: ({ readonly message: Parameters<Sender['send']>[0] } & Waiter)[] = []
    const sent = new Map<Delivery, Waiter>()
    let sender: Sender | undefined
    const pump = (): void => {
      while (unsent.length > 0 && sender!.sendable()) {
        const { message, ...waiter } = unsent.shift()!
        sent.set(sender!.send(message), waiter)
      }
    }
    /** To whom each message says. */
    const openSender = (): Sender => {
      const made = sessionOf().open_sender({ target: {} })
      const done = (how: (waiter: Waiter, delivery: Delivery) => void) => {
        return ({ delivery }: EventContext): void => {
          const waiter = sent.get(delivery!)
          sent.delete(delivery!)
          if (waiter) how(waiter, delivery!)
        }
      }
      made.on('sendable', pump)
      made.on('accepted', done((waiter) => waiter.resolve())) // prettier-ignore
      made.on(
        'rejected',
        done((waiter, { remote_state: said }) => waiter.reject(errorOf((said as { error?: Refusal }).error))),
      )
      made.on('released', done((waiter) => waiter.reject(errorOf({ description: 'it does not take it' })))) // prettier-ignore
      return made
    }
    const open = async (source: Source, plan: Omit<Receiving, 'from'>): Promise<Link> => {
      if (state !== 'open') throw away()
      const link = openReceiver(sessionOf, source, { ...plan, away, errorOf, gone: () => links.delete(link) })
      links.add(link)
      await link.opened
      return link
    }
    let replies: string | undefined

    const line: Line = {
      send(what: Sent) {
        return new Promise((done, failed) => {
          if (state !== 'open' && state !== 'closing') return failed(away())
          const message = messageOf(rhea, what, what.asks ? replies : undefined)
          sender ??= openSender()
          unsent.push({ message, resolve: done, reject: failed })
          pump()
        })
      },
      receive: ({ from, selector, ...plan }) => {
        const filter = selector === undefined ? {} : { filter: rhea.filter.selector(selector) }
        return open({ address: addressOf(from), ...filter }, plan)
      },
      async browse(queue, limit) {
        const found: ReturnType<typeof arrivedOf>[] = []
        const arrived = (message: ReturnType<typeof arrivedOf>): void => {
          if (found.length < limit) found.push(message)
        }
        const link = await open(
          { address: addressOf({ kind: 'queue', name: queue }), distribution_mode: 'copy' },
          { window: 0, arrived, ended() {} },
        )
        await link.drain(limit)
        await link.close()
        return found
      },
      async hear(reply) {
        const link = await open(
          { address: undefined as unknown as string, dynamic: true },
          {
            window: REPLIES,
            arrived(message) {
              message.accept().catch(() => {})
              reply(message)
            },
            ended() {},
          },
        )
        replies = link.address
      },
      close: async () => {
        if (state !== 'open') return
        state = 'closing'
        await new Promise<void>((done) => {
          socket.once('close', () => done())
          connection.close()
        })
      },
      abort() {
        if (state === 'open') state = 'closing'
        end(new Error('it was aborted'))
      },
    }
  })
}

interface Refusal {
  readonly condition?: string
  readonly description?: string
}

function errorOf(refusal: Refusal | undefined): TalkwireError {
  const { condition, description } = refusal ?? {}
  const text = description || condition || 'it says no'
  const code = condition === 'amqp:unauthorized-access' ? 'UNAUTHENTICATED' : GONE.test(text) ? 'NOT_FOUND' : 'UNKNOWN'
  return new TalkwireError(code, `ActiveMQ: ${text}`, { outcome: 'maybe-ran' })
}

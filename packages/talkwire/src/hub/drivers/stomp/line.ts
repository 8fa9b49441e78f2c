/** One connection to ActiveMQ in STOMP 1.2. */
import { TalkwireError } from '../../../error.js'
import type { Arrived, Line, Place, Receiver, Receiving, Sent } from '../activemq/line.js'
import { away, lineLost, notOpened, socketTo, type MqPlace, type Waiter } from '../activemq/place.js'
import { bodyTypeOf, CONTENT_TYPES } from '../broker.js'
import { encodeFrame, frameReader, type Frame } from './frames.js'

/** Milliseconds; who says nothing for two and a half of them is gone. */
const BEAT = 10_000
const SILENCE = 2.5 * BEAT
const PATIENCE = 10_000
const LF = Buffer.from('\n')
/** What is browsed ahead. */
const PAGE = 100
/** The end of `/temp-queue/`: replies come there. */
const REPLIES = '/temp-queue/replies'
const DELAY = 'AMQ_SCHEDULED_DELAY'
/** Headers of STOMP and of ActiveMQ, which are none of the message. */
const TAKEN =
  /^(destination|content-length|content-type|receipt|transaction|reply-to|correlation-id|expires|persistent|priority|type|transformation|message-id|subscription|ack|id|timestamp|redelivered|selector|browser|scheduledJobId|original(Destination|Expiration)|dlqDeliveryFailureCause|(AMQ_|JMSX|JMS_AMQP_|NATIVE_).*)$/
const UNAUTHENTICATED = /password|authenticat|authoriz|credential/i
/** A queue of somebody who is gone. */
const GONE = /does not exist|temp.*(deleted|removed)/i

interface Sub {
  readonly message: (frame: Frame) => void
  readonly ended: (reason: TalkwireError) => void
}

/** A subscription for one job, and what it has. */
interface Slot {
  id: Promise<string>
  has: Frame | undefined
}

const destinationOf = ({ kind, name }: Place): string => (kind === 'reply' ? name : `/${kind}/${name}`)

export function openStomp(place: MqPlace, signal: AbortSignal | undefined, lost: (cause: TalkwireError) => void): Promise<Line> {
  return new Promise((resolve, reject) => {
    const receipts = new Map<string, Waiter>()
    const subs = new Map<string, Sub>()
    let ids = 0
    let state: 'opening' | 'open' | 'closing' | 'closed' = 'opening'
    let failure: Error | undefined
    let heard = performance.now()
    let beat: NodeJS.Timeout | undefined
    const { host } = place
    const { socket, opens } = socketTo(place)
    const abort = (): void => void socket.destroy()
    signal?.addEventListener('abort', abort, { once: true })
    const patience = setTimeout(() => end(new Error('it says nothing')), PATIENCE)

    const write = (command: string, headers: Readonly<Record<string, string>>, body?: Uint8Array): void =>
      void socket.write(encodeFrame(command, headers, body))
    /** Resolves with the broker's answer. */
    const ask = (command: string, headers: Readonly<Record<string, string>>, body?: Uint8Array): Promise<void> =>
      new Promise((done, failed) => {
        if (state !== 'open' && state !== 'closing') return failed(away())
        const receipt = String(++ids)
        receipts.set(receipt, { resolve: done, reject: failed })
        write(command, { ...headers, receipt }, body)
      })
    const end = (reason: Error): void => {
      failure ??= reason
      socket.destroy()
    }

    const connected = ({ headers }: Frame): void => {
      const server = headers.get('server') ?? 'nobody knows what'
      if (!server.startsWith('ActiveMQ/'))
        return end(
          new TalkwireError(
            'UNSUPPORTED',
            `stomp: this is ${server.slice(0, 80)}, and only ActiveMQ Classic is known; RabbitMQ is amqp://`,
          ),
        )
      state = 'open'
      clearTimeout(patience)
      signal?.removeEventListener('abort', abort)
      beat = setInterval(() => {
        if (performance.now() - heard > SILENCE) end(new Error('nothing is heard of it any more'))
        else socket.write(LF)
      }, BEAT).unref()
      resolve(line)
    }
    const refused = ({ headers, body }: Frame): void => {
      const text = headers.get('message') || body.toString().split('\n')[0] || 'it says no'
      const id = headers.get('receipt-id')
      const waiter = id === undefined ? undefined : receipts.get(id)
      if (!waiter) return end(errorOf(text))
      receipts.delete(id!)
      waiter.reject(errorOf(text))
    }
    const took = (frame: Frame): void => {
      const { command, headers } = frame
      if (command === 'MESSAGE' && state !== 'opening') subs.get(headers.get('subscription') ?? '')?.message(frame)
      else if (command === 'RECEIPT') {
        const id = headers.get('receipt-id')!
        receipts.get(id)?.resolve()
        receipts.delete(id)
      } else if (command === 'ERROR') refused(frame)
      else if (state !== 'opening') return
      else if (command === 'CONNECTED') connected(frame)
      else end(new TalkwireError('INVALID_MESSAGE', `STOMP: ${JSON.stringify(command.slice(0, 80))} is no answer of ActiveMQ`))
    }
    const read = frameReader(took)
    socket.on('data', (chunk: Buffer) => {
      // A timer that comes late would otherwise take what lies here for silence.
      heard = performance.now()
      try {
        read(chunk)
      } catch (reason) {
        end(reason as Error)
      }
    })
    socket.on('error', (reason) => (failure ??= reason))
    socket.once(opens, () => {
      const { user, password } = place
      write('CONNECT', {
        'accept-version': '1.2',
        host,
        'heart-beat': `${BEAT},${BEAT}`,
        ...(user !== '' && { login: user, passcode: password }),
      })
    })
    socket.once('close', () => {
      clearTimeout(patience)
      clearInterval(beat)
      signal?.removeEventListener('abort', abort)
      const was = state
      state = 'closed'
      if (was === 'opening') return reject(notOpened(failure))
      const cause = lineLost(failure)
      for (const { reject: failed } of receipts.values()) failed(cause)
      receipts.clear()
      if (was === 'open') lost(cause)
      for (const { ended } of subs.values()) ended(cause)
      subs.clear()
    })

    /** Resolves when the broker has it. */
    const subscribe = async (destination: string, headers: Readonly<Record<string, string>>, sub: Sub): Promise<string> => {
      const id = String(++ids)
      subs.set(id, sub)
      try {
        await ask('SUBSCRIBE', { id, destination, ack: 'client-individual', ...headers })
        return id
      } catch (reason) {
        subs.delete(id)
        throw reason
      }
    }
    const unsubscribe = async (id: string): Promise<void> => {
      // What is still on its way goes to another.
      if (subs.delete(id)) await ask('UNSUBSCRIBE', { id })
    }
    const arrivedOf = ({ headers, body }: Frame, settle: Pick<Arrived, 'accept' | 'release'>): Arrived => ({
      messageId: headers.get('message-id') ?? '',
      name: (headers.get('destination') ?? '').replace(/^\/(topic|queue|temp-queue|remote-temp-queue)\//, ''),
      body,
      type: bodyTypeOf(headers.get('content-type') ?? headers.get('JMS_AMQP_ContentType') ?? ''),
      headers: Object.fromEntries([...headers].filter(([name]) => !TAKEN.test(name))),
      priority: Number(headers.get('priority') ?? 4),
      before: headers.get('redelivered') === 'true' ? 'some' : 0,
      correlationId: headers.get('correlation-id'),
      replyTo: headers.get('reply-to'),
      ...settle,
    })
    const idOf = (frame: Frame): { id: string } => ({ id: frame.headers.get('ack') ?? '' })

    /** One subscription, that takes the next when one was accepted. */
    const receiveSteadily = async ({ from, window, selector, arrived, ended }: Receiving): Promise<Receiver> => {
      const id = await subscribe(
        destinationOf(from),
        { 'activemq.prefetchSize': String(window), ...(selector !== undefined && { selector }) },
        {
          message(frame) {
            const accept = async (): Promise<void> => {
              if (state !== 'open') throw away()
              write('ACK', idOf(frame))
            }
            arrived(arrivedOf(frame, { accept, release() {} }))
          },
          ended,
        },
      )
      return { want() {}, close: () => unsubscribe(id) }
    }
    /**
     * STOMP cannot change how many may be on their way: each is a subscription for one. One that is wanted no more ends when it has nothing;
     * what was sent to it in that moment comes to another as handed out before.
     */
    const receiveSlots = ({ from, arrived, ended }: Receiving): Receiver => {
      const slots = new Set<Slot>()
      let wanted = 0
      let closed = false
      const close = async (slot: Slot): Promise<void> => {
        slots.delete(slot)
        const id = await slot.id.catch(() => undefined)
        if (id !== undefined && state === 'open') await unsubscribe(id).catch(unlessAway)
      }
      const open = (): void => {
        const slot: Slot = { id: Promise.resolve(''), has: undefined }
        const release = (): void => void close(slot).then(look)
        const message = (frame: Frame): void => {
          if (!slots.has(slot)) return
          slot.has = frame
          const accept = async (): Promise<void> => {
            try {
              await ask('ACK', idOf(frame))
            } catch (reason) {
              void close(slot).then(look)
              throw reason
            }
            // The next one may be here before the broker's answer.
            if (slot.has === frame) slot.has = undefined
            void look()
          }
          arrived(arrivedOf(frame, { accept, release }))
        }
        slots.add(slot)
        slot.id = subscribe(destinationOf(from), { 'activemq.prefetchSize': '1' }, { message, ended })
        slot.id.catch((reason: TalkwireError) => {
          if (slots.delete(slot) && state === 'open' && !closed) ended(reason)
        })
      }
      const look = (): Promise<unknown> => {
        while (!closed && state === 'open' && slots.size < wanted) open()
        const surplus = [...slots].filter(({ has }) => !has).slice(0, Math.max(0, slots.size - (closed ? 0 : wanted)))
        return Promise.all(surplus.map(close))
      }
      return {
        want(most) {
          wanted = most
          void look()
        },
        async close() {
          closed = true
          await look()
        },
      }
    }

    const line: Line = {
      async send({ to, body, type, headers, persistent, priority, delay, ttl, correlationId, asks }: Sent) {
        for (const name of Object.keys(headers))
          if (TAKEN.test(name))
            throw new TalkwireError('INVALID_INPUT', `STOMP and ActiveMQ have a header "${name}" of their own; choose another name`)
        const destination = to.map(destinationOf).join(',')
        await ask(
          'SEND',
          {
            destination,
            ...headers,
            ...(type && { 'content-type': CONTENT_TYPES[type] }),
            persistent: String(persistent),
            ...(priority !== undefined && { priority: String(priority) }),
            ...(delay && { [DELAY]: String(delay) }),
            ...(ttl && { expires: String(Date.now() + ttl) }),
            ...(correlationId !== undefined && { 'correlation-id': correlationId }),
            ...(asks && { 'reply-to': REPLIES }),
          },
          body,
        )
      },
      receive: async (receiving) => (receiving.window === undefined ? receiveSlots(receiving) : receiveSteadily(receiving)),
      browse: (queue, limit) =>
        new Promise((done, failed) => {
          const found: Arrived[] = []
          const finish = (id: string): void => {
            const left = subs.has(id) ? unsubscribe(id) : Promise.resolve()
            left.then(() => done(found), failed)
          }
          let known: string | undefined
          let over = false
          const message = (frame: Frame): void => {
            if (over) return
            const isEnd = frame.headers.get('browser') === 'end'
            if (!isEnd) found.push(arrivedOf(frame, { accept: async () => {}, release() {} }))
            over = isEnd || found.length >= limit
            if (over && known !== undefined) finish(known)
          }
          const headers = { ack: 'auto', browser: 'true', 'activemq.prefetchSize': String(PAGE) }
          subscribe(`/queue/${queue}`, headers, { message, ended: failed }).then((id) => {
            known = id
            if (over) finish(id)
          }, failed)
        }),
      async hear(reply) {
        const message = (frame: Frame): void => reply(arrivedOf(frame, { accept: async () => {}, release() {} }))
        await subscribe(REPLIES, { ack: 'auto' }, { message, ended() {} })
      },
      close: async () => {
        if (state !== 'open') return
        const said = ask('DISCONNECT', {})
        state = 'closing'
        await said.catch(() => {})
        await new Promise<void>((done) => {
          if (state === 'closed') return done()
          socket.once('close', () => done())
          socket.end()
        })
      },
      abort() {
        if (state === 'open') state = 'closing'
        socket.destroy()
      },
    }
  })
}

function errorOf(text: string): TalkwireError {
  const code = UNAUTHENTICATED.test(text) ? 'UNAUTHENTICATED' : GONE.test(text) ? 'NOT_FOUND' : 'UNKNOWN'
  return new TalkwireError(code, `ActiveMQ: ${text}`, { outcome: 'maybe-ran' })
}

function unlessAway(reason: unknown): void {
  const { code } = reason as TalkwireError
  if (code !== 'UNAVAILABLE' && code !== 'CONNECTION_LOST') throw reason
}

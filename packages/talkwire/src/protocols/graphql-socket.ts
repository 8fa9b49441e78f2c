/** GraphQL over WebSocket, as graphql-ws has it: github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md. */
import type { Socket } from 'node:net'
import { GraphQLError, type FormattedExecutionResult } from 'graphql'
import type { WebSocket } from 'ws'
import { fromJson } from '../codecs/plain-json.js'
import { TalkwireError } from '../error.js'
import type { ConnectionBase, Peer } from '../transports/transport.js'
import type { Caller } from './dialect.js'
import { argumentsOf, metaFrom, PATH, type Served } from './graphql.js'
import { Listeners, RequestContext } from './graphql-context.js'
import type { Upgrade } from './http-server.js'

export const PROTOCOL = 'graphql-transport-ws'
/** What closes a connection: the codes of the protocol. */
const BAD_REQUEST = 4400
const GOING_AWAY = 1001
/** Milliseconds for the peer's answer to our closing. */
const FAREWELL = 2_000
/** Milliseconds of silence after which the kernel asks whether the other host is there. */
const KEEP_ALIVE = 30_000

async function load(scheme: string): Promise<{ ws: typeof import('ws'); graphqlWs: typeof import('graphql-ws') }> {
  try {
    return { ws: (await import('ws')) as typeof import('ws'), graphqlWs: await import('graphql-ws') }
  } catch (cause) {
    const text = `${scheme}: streams and events need the packages "graphql-ws" and "ws"; run npm install graphql-ws ws`
    throw new TalkwireError('MISSING_PACKAGE', text, { cause })
  }
}

/** What a connection is between its messages. */
interface Extra {
  /** Lets the peer in, who may show its token only now. False: it has another, or none. */
  admit(parameters: Readonly<Record<string, unknown>> | undefined): boolean
  begin(id: string, extensions: unknown): RequestContext
  end(id: string): void
}

/** Rejects with MISSING_PACKAGE. */
export async function createUpgrade(scheme: string, served: Served): Promise<(upgrade: Upgrade) => void> {
  const { ws, graphqlWs } = await load(scheme)
  const { limits } = served.options
  const sockets = new ws.WebSocketServer({
    noServer: true,
    clientTracking: false,
    maxPayload: limits.message,
    perMessageDeflate: false,
    handleProtocols: (offered) => (offered.has(PROTOCOL) ? PROTOCOL : false),
  })
  const server = createServer(graphqlWs, served)
  return (upgrade) => {
    if (upgrade.path !== PATH) return upgrade.refuse(404)
    sockets.handleUpgrade(upgrade.request, upgrade.socket, upgrade.head, (socket) => new Peered(socket, upgrade, served).start(server))
  }
}

type Server = ReturnType<typeof createServer>

function createServer({ makeServer }: typeof import('graphql-ws'), served: Served) {
  return makeServer<Record<string, unknown>, Extra>({
    connectionInitWaitTimeout: served.options.limits.handshake,
    onConnect: ({ connectionParams, extra }) => extra.admit(connectionParams),
    onSubscribe({ extra }, id, payload) {
      const args = argumentsOf(served, payload)
      if ('length' in args) return args.map((error) => reported(error))
      try {
        return { ...args, contextValue: extra.begin(id, payload.extensions) }
      } catch (reason) {
        return [reported(reason as Error)]
      }
    },
    onNext: (_context, _id, _payload, _args, result) =>
      result.errors ? ({ ...result, errors: result.errors.map((error) => served.format(error)) } as FormattedExecutionResult) : undefined,
    onError: (_context, _id, _payload, errors) => errors.map((error) => served.format(error as GraphQLError)),
    onComplete: ({ extra }, id) => extra.end(id),
  })
}

const reported = (error: Error): GraphQLError =>
  error instanceof GraphQLError ? error : new GraphQLError(error.message, { originalError: error })

/** A connection as graphql-ws sees it, and as a session does. */
class Peered implements ConnectionBase, Extra {
  readonly peer: Peer
  readonly unsent = 0
  private readonly stream: Socket
  private readonly listeners: Listeners
  private readonly contexts = new Map<string, RequestContext>()
  private caller: Caller | undefined
  private cause: TalkwireError | undefined
  private onAnswered: (() => void) | undefined
  private closed: ((code: number, reason: string) => Promise<void>) | undefined

  constructor(
    private readonly socket: WebSocket,
    private readonly upgrade: Upgrade,
    private readonly served: Served,
  ) {
    this.peer = upgrade.peer
    this.stream = upgrade.socket
    this.stream.setKeepAlive(true, KEEP_ALIVE)
    this.listeners = new Listeners(served.options.limits.outgoing)
  }

  start(server: Server): void {
    const { socket } = this
    socket.on('error', (reason) => {
      this.cause ??= new TalkwireError('CONNECTION_LOST', `the WebSocket broke: ${reason.message}`, { cause: reason, outcome: 'maybe-ran' })
    })
    socket.on('close', (code, reason) => this.onClose(code, String(reason)))
    this.stream.on('drain', () => this.caller?.drained())
    this.closed = server.opened(
      {
        protocol: socket.protocol,
        send: (text) => this.send(text),
        close: (code, reason) => socket.close(code, reason),
        onMessage: (take) => void socket.on('message', (bytes: Buffer) => void this.onMessage(bytes, take)),
      },
      this,
    ) as Peered['closed']
  }

  /** Resolves when the kernel has it. */
  private send(text: string): Promise<void> {
    return new Promise((resolve) => {
      if (this.socket.readyState !== this.socket.OPEN) return resolve()
      this.socket.send(text, () => resolve())
    })
  }

  private async onMessage(bytes: Buffer, take: (text: string) => Promise<void>): Promise<void> {
    try {
      const message = fromJson(bytes, this.served.options.limits) as { type?: unknown; id?: unknown } | null
      if (message?.type === 'complete' && typeof message.id === 'string') this.end(message.id)
      await take(bytes.toString())
    } catch (reason) {
      this.socket.close(
        BAD_REQUEST,
        TalkwireError.from(reason)
          .message.slice(0, 100)
          .replace(/[^ -~]/g, '?'),
      )
    }
  }

  admit(parameters: Readonly<Record<string, unknown>> | undefined): boolean {
    const { upgrade } = this
    const given = parameters?.['authorization'] ?? parameters?.['Authorization']
    const shown = typeof given === 'string' && /^bearer /i.test(given) ? given.slice(7).trim() : undefined
    if (!upgrade.knows() && (shown === undefined || !upgrade.knows(shown))) return false
    this.caller = upgrade.admit(this, (event, payload) => {
      this.listeners.take(event, payload)
      return true
    })
    this.listeners.caller = this.caller
    return true
  }

  begin(id: string, extensions: unknown): RequestContext {
    const context = new RequestContext(this.caller!, this.listeners, metaFrom(undefined, extensions))
    this.contexts.set(id, context)
    return context
  }

  end(id: string): void {
    this.contexts.get(id)?.cancel()
    this.contexts.delete(id)
    // Its last message leaves in this turn.
    if (this.onAnswered && !this.owes) setImmediate(this.onAnswered)
  }

  /** Whether something is to be answered that has an end. */
  private get owes(): boolean {
    return [...this.contexts.values()].some(({ lasting }) => !lasting)
  }

  private onClose(code: number, reason: string): void {
    for (const context of this.contexts.values()) context.cancel()
    void this.closed!(code, reason)
    const orderly = code === 1000 || code === GOING_AWAY || code === 1005
    this.caller?.closed(
      this.cause ??
        (orderly
          ? undefined
          : new TalkwireError('CONNECTION_LOST', `the peer is gone (WebSocket status ${code})`, { outcome: 'maybe-ran' })),
    )
  }

  get buffered(): number {
    return this.socket.bufferedAmount
  }

  pause(): void {
    this.socket.pause()
  }

  resume(): void {
    this.socket.resume()
  }

  close(): Promise<void> {
    return new Promise((resolve) => {
      if (this.socket.readyState === this.socket.CLOSED) return resolve()
      // Only once everything is with the kernel: until then the peer has not been asked.
      const timer = setInterval(() => {
        if (!this.owes && this.socket.bufferedAmount === 0) this.socket.terminate()
      }, FAREWELL)
      this.socket.once('close', () => {
        clearInterval(timer)
        resolve()
      })
      this.socket.resume()
      const end = (): void => this.socket.close(GOING_AWAY)
      if (this.owes) this.onAnswered = end
      else end()
    })
  }

  abort(cause: TalkwireError): void {
    this.cause ??= cause
    this.socket.terminate()
  }

  ref(): void {
    this.stream.ref()
  }

  unref(): void {
    this.stream.unref()
  }
}

/** `rpc.hello` and the other reserved methods: what two Talkwire peers agree on. spec/wire.md § 4. */
import type { Contract } from './contract/contract.js'
import { TalkwireError } from './error.js'
import type { AuthKey } from './session/auth.js'
import type { Service } from './session/service.js'
import type { Session } from './session/session.js'

const WIRE = 1
/** Bytes that every peer takes: no error, credit or ping is longer. */
const LEAST_MESSAGE = 1024

export interface HelloOptions {
  readonly contract: Contract | undefined
  readonly serves: string | null
  readonly heartbeat: number
  /** Codecs to offer, best first. */
  readonly codecs?: readonly string[] | undefined
  readonly authkey?: AuthKey | undefined
  /** Asks for a channel for descriptors; called with the token that opens it. */
  readonly openChannel?: ((token: string) => Promise<void>) | undefined
}

interface Hello {
  readonly contract?: unknown
  readonly codec?: unknown
  readonly codecs?: unknown
  readonly attachments?: unknown
  readonly window?: unknown
  readonly maxMessage?: unknown
  readonly heartbeat?: unknown
  readonly streams?: unknown
  readonly channel?: unknown
}

const positive = (value: unknown, fallback: number): number => (typeof value === 'number' && value > 0 ? value : fallback)

/** The connecting side: authenticates, says hello, and goes on plainly with a server that does not know hello. */
export async function sayHello(session: Session, options: HelloOptions): Promise<void> {
  session.state = 'open'
  if (session.connection.oneWay !== undefined) return
  const timeout = session.limits.handshake
  if (options.authkey !== undefined) {
    const { authClient } = await import('./session/auth.js')
    await authClient(options.authkey, (params) => session.call('rpc.auth', params, { timeout }))
  }
  const { wire, limits } = session
  const params = {
    wire: WIRE,
    codecs: wire.binary ? (options.codecs ?? wire.codecs) : ['json'],
    attachments: wire.binary,
    contract: options.contract?.id ?? null,
    serves: options.serves,
    window: limits.window,
    maxMessage: limits.message,
    heartbeat: options.heartbeat,
    ...(options.openChannel && { channel: true }),
  }
  let answer: Hello
  try {
    answer = ((await session.call('rpc.hello', params, { timeout })) ?? {}) as Hello
  } catch (reason) {
    if (!(reason instanceof TalkwireError)) throw reason
    if (reason.code === 'METHOD_NOT_FOUND') {
      session.strange = true
      return refuseWithoutChannel(options, undefined)
    }
    if (reason.code !== 'DEADLINE_EXCEEDED') throw reason
    throw new TalkwireError(
      'DEADLINE_EXCEEDED',
      `the other side was reached, but answered nothing within ${timeout} ms; check that it speaks JSON-RPC and by which framing (with { framing: 'header' } Content-Length goes before each message, with 'line' each is a line), or raise limits.handshake`,
      { cause: reason, outcome: reason.outcome },
    )
  }
  if (Array.isArray(answer.streams))
    session.peerStreams = new Set(answer.streams.filter((name): name is string => typeof name === 'string'))
  agree(
    session,
    answer,
    typeof answer.codec === 'string' ? answer.codec : 'json',
    answer.attachments === true && wire.binary,
    options.heartbeat,
  )
  refuseWithoutChannel(options, answer.channel)
  await options.openChannel?.(answer.channel as string)
}

function refuseWithoutChannel({ openChannel }: HelloOptions, channel: unknown): void {
  if (openChannel && typeof channel !== 'string')
    throw new TalkwireError('UNSUPPORTED', 'the service takes no descriptors; pass { descriptors: true } to serve, too')
}

function agree(session: Session, peer: Hello, codec: string, binary: boolean, heartbeat: number): void {
  session.wire.extend(codec, binary, session.references)
  session.wire.limitSend(Math.max(LEAST_MESSAGE, positive(peer.maxMessage, session.limits.message)))
  session.peerWindow = positive(peer.window, session.limits.window)
  session.startHeartbeat(Math.max(heartbeat, positive(peer.heartbeat, 0)))
}

/** The accepting side's answer. What was agreed holds from the next message on. */
export function answerHello(
  session: Session,
  params: unknown,
  service: Service,
  hash: string | undefined,
  heartbeat: number,
  offer?: () => string,
): unknown {
  const hello = (typeof params === 'object' && params !== null ? params : {}) as Hello
  const served = service.contract?.id ?? service.name
  checkContract(hello.contract, service)
  const { wire, limits } = session
  const wanted: unknown[] = Array.isArray(hello.codecs) ? hello.codecs : []
  const codec = (wire.binary && wanted.find((name): name is string => wire.codecs.includes(name as string))) || 'json'
  const attachments = hello.attachments === true && wire.binary
  // The answer itself is JSON. It may be read, and followed by what was agreed, before this turn ends.
  wire.extend('json', attachments, session.references)
  queueMicrotask(() => agree(session, hello, codec, attachments, heartbeat))
  return {
    wire: WIRE,
    codec,
    attachments,
    contract: served,
    hash: hash ?? null,
    window: limits.window,
    maxMessage: limits.message,
    heartbeat: Math.max(heartbeat, positive(hello.heartbeat, 0)),
    ...(offer && hello.channel === true && { channel: offer() }),
    streams: [...service.methods.values()].filter((method) => method.outputStream).map(({ name }) => name),
  }
}

function checkContract(wanted: unknown, { contract, name }: Service): void {
  if (wanted === null || wanted === undefined || wanted === contract?.id) return
  const served = contract?.id ?? `${name} (no contract)`
  throw new TalkwireError(
    'CONTRACT_MISMATCH',
    `this service is ${served}, the caller wants ${JSON.stringify(wanted)}; give both the same contract (its number changes when old peers would misunderstand)`,
  )
}

/** Any service that can be called, served under any other protocol: from what it tells of itself. docs/bridge.md. */
import { connect, type ConnectOptions } from './connect.js'
import { isStream, stream, type Context, type Contract, type Event, type Members, type Rpc } from './contract/contract.js'
import { nameLike } from './contract/foreign.js'
import { describeMethod } from './contract/json-schema.js'
import { revived } from './contract/revive.js'
import { toJsonSchema } from './contract/schema-libraries.js'
import { discover } from './discover.js'
import { TalkwireError, plainMessage } from './error.js'
import { serve, type RunningService, type ServeOptions } from './serve.js'
import { reveal } from './session/validate.js'

export interface BridgeOptions {
  /** How the service is reached. It is connected to again when it goes away, children too. */
  readonly connect?: Omit<ConnectOptions, 'address' | 'serve' | 'signal'>
  /** How it is served. */
  readonly serve?: Omit<ServeOptions, 'listen' | 'caller' | 'signal' | 'descriptors'>
  /** The name under which it is served; default: its own. */
  readonly name?: string
  /** What the service offers, where it does not tell: otherwise it is asked. */
  readonly contract?: Contract
  readonly signal?: AbortSignal
}

export interface Bridge extends RunningService {
  /** What is served. `foreign.leftOut` says what of the service has no place in a contract. */
  readonly contract: Contract
}

/**
 * Serves what answers at `from` on `to` as well. Deadlines, cancelling, metadata, progress, streams, events and errors pass through.
 * Resolves when it listens. Rejects as `discover`, `connect` and `serve`, and with UNSUPPORTED for what `to` cannot carry.
 */
export async function bridge(from: string, to: string | readonly string[], options: BridgeOptions = {}): Promise<Bridge> {
  const reach: ConnectOptions = { ...options.connect, ...(options.signal && { signal: options.signal }) }
  const told = options.contract ?? (await discover(from, reach))
  if (Object.keys(told.members).length === 0)
    throw new TalkwireError('UNSUPPORTED', `${from} offers nothing that can be called${reasons(told)}`)
  const served = await asServed(told, options.name)
  if (Object.keys(served.members).length === 0)
    throw new TalkwireError('UNSUPPORTED', `nothing of ${from} passes a bridge${reasons(served)}`)
  const client = (await connect(told, from, { reconnect: true, ...reach })) as unknown as Called
  try {
    const running = await serve(served, handlersFor(served, client) as never, {
      ...options.serve,
      listen: to,
      ...(options.signal && { signal: options.signal }),
    })
    await passEvents(served, client, running)
    return {
      ...running,
      get peers() {
        return running.peers
      },
      contract: served,
      async close(ending) {
        await running.close(ending)
        await client.close()
      },
      async [Symbol.asyncDispose]() {
        await running.close()
        await client.close()
      },
    } as Bridge
  } catch (reason) {
    await client.close()
    throw reason
  }
}

const reasons = ({ foreign }: Contract): string =>
  Object.entries(foreign?.leftOut ?? {})
    .map(([name, reason]) => `; ${name}: ${reason}`)
    .join('')

/** Whoever calls may speak JSON: what that has no word for comes as text. A descriptor never comes. */
async function asServed({ foreign, ...told }: Contract, wish: string | undefined): Promise<Contract> {
  const name = wish === undefined ? told.name : nameLike(wish)
  const members: Members = {}
  const leftOut: Record<string, string> = { ...foreign?.leftOut }
  for (const [each, member] of Object.entries(told.members))
    if (await hasDescriptors(member)) leftOut[each] = 'a file descriptor does not pass a bridge'
    else members[each] = member.kind === 'rpc' ? withInput(member) : member
  return { ...told, name, id: `${name}/${told.version}`, members, foreign: { ...foreign, leftOut } }
}

async function hasDescriptors(member: Rpc | Event): Promise<boolean> {
  const described = member.kind === 'rpc' ? await describeMethod(member) : await toJsonSchema(member.payload)
  return JSON.stringify(described).includes('"x-talkwire":"descriptor"')
}

function withInput(member: Rpc): Rpc {
  const { input } = member
  if (input === undefined) return member
  return { ...member, input: isStream(input) ? stream(revived(input.item)) : revived(input) }
}

// ── calls ────────────────────────────────────────────────────────────────────────────────────────

type Call = (input: unknown, options: object) => Promise<unknown> | AsyncIterable<unknown>
type Called = Readonly<Record<string, Call>> & {
  on(event: string, listener: (payload: unknown) => void): Promise<unknown>
  close(): Promise<void>
}
type Ctx = Context<unknown, any>

function handlersFor({ members }: Contract, client: Called): Record<string, (input: unknown, ctx: Ctx) => unknown> {
  const handlers: Record<string, (input: unknown, ctx: Ctx) => unknown> = {}
  for (const [name, member] of Object.entries(members)) {
    if (member.kind !== 'rpc') continue
    const call = (input: unknown, ctx: Ctx): unknown =>
      client[name]!(input, { from: ctx, metadata: { ...ctx.metadata }, onProgress: ctx.progress })
    handlers[name] = isStream(member.output)
      ? (input, ctx) => passing(call(input, ctx) as AsyncIterable<unknown>)
      : async (input, ctx) => {
          try {
            return await call(input, ctx)
          } catch (reason) {
            throw passable(reason)
          }
        }
  }
  return handlers
}

async function* passing(items: AsyncIterable<unknown>): AsyncGenerator<unknown> {
  try {
    yield* items
  } catch (reason) {
    throw passable(reason)
  }
}

/** The other side has told it to whoever calls, and that is not only us. */
function passable(reason: unknown): unknown {
  if (reason instanceof TypeError) return reveal(new TalkwireError('INVALID_INPUT', reason.message, { cause: reason }))
  if (!(reason instanceof TalkwireError)) return reason
  const { code, declared, message } = reason
  // Else whoever calls would look for what is wrong with its own token.
  if (code === 'UNAUTHENTICATED' && !declared) return behind(reason, code, `behind this bridge: ${plainMessage(reason)}`)
  if (!code.startsWith('CONNECTION_') && code !== 'PEER_NOT_FOUND' && code !== 'PEER_EXITED') return reveal(reason)
  return behind(reason, 'UNAVAILABLE', `the service behind this bridge cannot be reached: ${message}`)
}

const behind = (cause: TalkwireError, code: string, text: string): TalkwireError =>
  reveal(new TalkwireError(code, text, { cause, outcome: cause.outcome, details: cause.details }))

async function passEvents({ members }: Contract, client: Called, running: RunningService): Promise<void> {
  for (const [name, member] of Object.entries(members))
    if (member.kind === 'event') await client.on(name, (payload) => running.emit(name, payload))
}

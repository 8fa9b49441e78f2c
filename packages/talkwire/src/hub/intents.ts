/**
 * Intents: who can handle what says so, who wants it done says what. The hub knows who handles what; the intent itself goes straight
 * from one to the other, so that memory and descriptors can go along.
 */
import { randomUUID } from 'node:crypto'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { toJson } from '../codecs/plain-json.js'
import { connect } from '../connect.js'
import { contract, rpc } from '../contract/contract.js'
import type { StandardSchema } from '../contract/standard-schema.js'
import { Descriptor } from '../descriptor.js'
import { TalkwireError } from '../error.js'
import { hasLinuxLibc } from '../kernel/libc.js'
import { serve } from '../serve.js'
import type { Peer } from '../transports/transport.js'
import type { Base } from './base.js'
import { announce, entryOf, thisHost, type Registration } from './discovery.js'
import { validateTopic } from './topic-names.js'

export interface HandleOptions {
  /** What is done: `share`, `open`, `print`. */
  readonly action: string
  /** What with: `image/png`, or `image/*`. Default: anything. */
  readonly type?: string
  /** How a person is to be asked for it. Default: the program's name. */
  readonly label?: string
  /** Milliseconds after which it is gone when its process says nothing. Default 10,000. */
  readonly ttl?: number
}

/** Somebody who handles an action. */
export interface Handler {
  readonly id: string
  readonly action: string
  readonly type: string
  readonly label: string
  readonly pid: number
  readonly host: string
}

export interface Intent {
  readonly action: string
  readonly type: string
  readonly data: unknown
  /** The name of shared memory: `SharedMemory.open(segment)`. */
  readonly segment: string | undefined
  /** Closed when the handler has answered, unless it takes it: `descriptor.take()`. */
  readonly descriptor: Descriptor | undefined
  /** Who wants it, as the kernel vouches for. */
  readonly peer: Peer
}

export interface SendOptions {
  readonly action: string
  readonly type: string
  readonly data?: unknown
  /** The name of shared memory that the handler may open. */
  readonly segment?: string
  /** On Linux. */
  readonly descriptor?: Descriptor
  /** Asked when several handle it; undefined: nobody, the intent is given up. Without it several are an error. */
  readonly choose?: (handlers: readonly Handler[]) => Handler | undefined | Promise<Handler | undefined>
  /** Milliseconds until it fails with DEADLINE_EXCEEDED. None by default: a person may be asked. */
  readonly timeout?: number
  readonly signal?: AbortSignal
}

export interface Intents {
  /** Resolves when others find it. What the handler returns is the answer; what it throws reaches the sender as an error does. */
  handle(options: HandleOptions, handler: (intent: Intent) => unknown): Promise<Registration>
  /** Resolves with what the handler returned. Rejects with NOT_FOUND when nobody handles it, ALREADY_EXISTS when several do and nobody chose, CANCELLED when the chooser gave up. */
  send(intent: SendOptions): Promise<unknown>
  /** Who handles it. */
  handlers(action: string, type: string): Promise<readonly Handler[]>
}

interface Sent {
  readonly action: string
  readonly type: string
  readonly data?: unknown
  readonly segment?: string | undefined
  readonly descriptor?: Descriptor
}

const sent: StandardSchema<Sent, Sent> = {
  '~standard': {
    version: 1,
    vendor: 'talkwire',
    validate: (value) => (isSent(value) ? { value } : { issues: [{ message: 'no intent: { action, type, data, segment, descriptor }' }] }),
  },
}
const anything: StandardSchema<unknown, unknown> = { '~standard': { version: 1, vendor: 'talkwire', validate: (value) => ({ value }) } }

/** What a handler serves. */
const handlerContract = contract('intent/1', { handle: rpc({ input: sent, output: anything }) })

const TTL = 10_000
const TYPE = /^[\w!#$&^.+-]+\/[\w!#$&^.+-]+$/
const TYPES = /^(\*\/\*|[\w!#$&^.+-]+\/(\*|[\w!#$&^.+-]+))$/

export function intents(base: Base): Intents {
  const handlers = (action: string, type: string): Promise<Found[]> => find(base, action, type)
  return {
    handle: (options, handler) => handle(base, options, handler),
    handlers: async (action, type) => (await handlers(action, type)).map(told),
    async send({ choose, timeout, signal, ...intent }) {
      validateType(intent.type, TYPE)
      const found = await handlers(intent.action, intent.type)
      const { address } = await chosen(intent, found, choose)
      const client = await connect(handlerContract, address, {
        reconnect: false,
        descriptors: intent.descriptor !== undefined,
        ...(signal && { signal }),
      })
      try {
        return await client.handle(intent, { ...(timeout !== undefined && { timeout }), ...(signal && { signal }) })
      } finally {
        await client.close()
      }
    },
  }
}

type Found = Handler & { readonly address: string }

/** Where it listens is between it and us. */
const told = ({ id, action, type, label, pid, host }: Found): Handler => ({ id, action, type, label, pid, host })

async function handle(base: Base, options: HandleOptions, handler: (intent: Intent) => unknown): Promise<Registration> {
  const { action, type = '*/*', label = process.title, ttl = TTL } = options
  validateTopic(action)
  validateType(type, TYPES)
  await base.need('state', 'ttl')
  const id = randomUUID()
  const service = await serve(
    handlerContract,
    {
      handle: async (intent, { peer }) => {
        if (intent.action !== action || !covers(type, intent.type))
          throw new TalkwireError('NOT_FOUND', `${label} does not handle ${intent.action} of ${intent.type}`)
        return (await handler({ ...intent, data: intent.data, segment: intent.segment, descriptor: intent.descriptor, peer })) ?? null
      },
    },
    // An abstract name leaves nothing behind, however we end.
    {
      listen: process.platform === 'linux' ? `unix:@talkwire-intent-${id}` : `unix:${join(tmpdir(), `tw-${id}`)}`,
      descriptors: hasLinuxLibc(),
    },
  )
  const key = `intents.${action}.${id}`
  const entry: Found = { id, action, type, label, pid: process.pid, host: thisHost(), address: service.addresses[0]! }
  try {
    const known = await announce(base, action, key, Buffer.from(toJson(entry)), ttl, id)
    const close = async (): Promise<void> => {
      await known.close()
      await service.close()
    }
    return { id, close, [Symbol.asyncDispose]: close }
  } catch (reason) {
    await service.close()
    throw reason
  }
}

async function find(base: Base, action: string, type: string): Promise<Found[]> {
  validateTopic(action)
  await base.need('list')
  const found: Found[] = []
  for await (const { value } of base.driver.state!.list!(`intents.${action}.`)) {
    const handler = parse(value)
    if (handler && covers(handler.type, type)) found.push(handler)
  }
  return found
}

async function chosen(
  intent: Pick<SendOptions, 'action' | 'type'>,
  found: readonly Found[],
  choose: SendOptions['choose'],
): Promise<Found> {
  const what = `${intent.action} of ${intent.type}`
  const near = found.filter(({ host }) => host === thisHost())
  if (found.length > 0 && near.length === 0)
    throw new TalkwireError(
      'UNSUPPORTED',
      `who handles ${what} runs on another machine (${found[0]!.host}); intents go to handlers of the same one`,
    )
  if (near.length === 0)
    throw new TalkwireError('NOT_FOUND', `nobody handles ${what}; start a program that does, with hub.intents.handle()`)
  if (near.length === 1) return near[0]!
  if (!choose)
    throw new TalkwireError('ALREADY_EXISTS', `${near.length} handle ${what}: ${near.map(({ label }) => label).join(', ')}; pass choose`)
  const choice = await choose(near.map(told))
  if (!choice) throw new TalkwireError('CANCELLED', `nobody was chosen for ${what}`)
  const one = near.find(({ id }) => id === choice.id)
  if (!one) throw new TypeError('choose() returns one of the handlers that it was given')
  return one
}

function covers(pattern: string, type: string): boolean {
  return pattern === '*/*' || pattern === type || (pattern.endsWith('/*') && type.startsWith(pattern.slice(0, -1)))
}

function validateType(type: string, form: RegExp): void {
  if (typeof type !== 'string' || !form.test(type)) throw new TypeError(`${JSON.stringify(type)} is no type of media, such as "image/png"`)
}

function isSent(value: unknown): value is Sent {
  const { action, type, segment, descriptor } = (value ?? {}) as Partial<Record<keyof Sent, unknown>>
  const texts = typeof action === 'string' && typeof type === 'string' && TYPE.test(type)
  return texts && (segment === undefined || typeof segment === 'string') && (descriptor === undefined || descriptor instanceof Descriptor)
}

function parse(value: Uint8Array): Found | undefined {
  const found = entryOf<Found>(value, ['id', 'action', 'type', 'label', 'host', 'address'])
  return found?.address?.startsWith('unix:') ? (found as Found) : undefined
}

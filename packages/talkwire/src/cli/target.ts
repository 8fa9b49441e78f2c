/** The service that a command is about: found, connected, described. */
import {
  connect,
  discover,
  find,
  jsonSchema,
  list,
  openRpc,
  sessionOf,
  speaksForeign,
  TalkwireError,
  type ConnectOptions,
  type Contract,
  type Entry,
} from '../index.js'
import { exitCode, Failure } from './output.js'
import { nearest, suggestion } from '../suggest.js'

export interface Target {
  readonly name: string
  /** Where it was found, for a name. */
  readonly entry: Entry | undefined
  readonly client: Awaited<ReturnType<typeof connect>>
  readonly session: NonNullable<ReturnType<typeof sessionOf>>
  /** Of a protocol of others: what it told of itself. */
  readonly contract: Contract | undefined
}

const isAddress = (text: string): boolean => /^[a-z][a-z0-9+]*:/.test(text)

/** Connects. Throws Failure with the exit code for "nobody there". */
export async function open(name: string, options: ConnectOptions): Promise<Target> {
  try {
    // Before anything happens, unless the service may come later.
    if (options.wait === undefined) await lookUp(name)
    const contract = isAddress(name) ? await foreignContract(name, options) : undefined
    const client = (await (contract ? connect(contract, name, options) : connect(name, options))) as Target['client']
    return { name, entry: await entryOf(name), client, session: sessionOf(client)!, contract }
  } catch (reason) {
    throw reason instanceof TalkwireError && reason.code !== 'INVALID_ADDRESS'
      ? new Failure(exitCode.notFound, await absent(reason, name))
      : reason
  }
}

/** Undefined where nobody has to know beforehand, or nothing is told: then it is called blindly. */
async function foreignContract(address: string, options: ConnectOptions): Promise<Contract | undefined> {
  if (!(await speaksForeign(address))) return undefined
  try {
    return await discover(address, options)
  } catch (reason) {
    if (reason instanceof TalkwireError && reason.code === 'UNSUPPORTED') return undefined
    throw reason
  }
}

/** Rejects with PEER_NOT_FOUND for a name that nobody has and nobody is starting: connecting waits for the latter. */
async function lookUp(name: string): Promise<void> {
  if (isAddress(name)) return
  const found = await find(name)
  if (!('reason' in found) || found.claimed) return
  const names = (await list()).map((entry) => entry.name)
  throw new TalkwireError(
    'PEER_NOT_FOUND',
    `${found.reason}${suggestion(name, names) || '; no service runs, talkwire serve <module> starts one'}`,
  )
}

async function entryOf(name: string): Promise<Entry | undefined> {
  const found = isAddress(name) ? undefined : await find(name)
  return found && !('reason' in found) ? found : undefined
}

/** What is missing in the words of the command line, where it is still missing. */
async function absent(reason: TalkwireError, name: string): Promise<unknown> {
  if (reason.code !== 'PEER_NOT_FOUND') return reason
  try {
    await lookUp(name)
  } catch (told) {
    return told
  }
  const near = nearest(
    name,
    (await list()).map((entry) => `unix:${entry.name}`),
  )
  const text = reason.message.replace(`[${reason.code}] `, '').replace('{ wait: milliseconds }', '--wait ms')
  return new TalkwireError(reason.code, near === undefined ? text : `${text}; did you mean "${near}"?`, { cause: reason })
}

/** Quietly and at once when we were told to stop; otherwise what was sent arrives first. */
export async function hangUp({ client }: Target, signal: AbortSignal): Promise<void> {
  const closing = client.close().catch(() => {})
  if (signal.aborted) await Promise.race([closing, new Promise((resolve) => setTimeout(resolve, 500).unref())])
  else await closing
}

// ── rpc.discover ───────────────────────────────────────────────────────────────────────────────────

export type Schema = boolean | Readonly<Record<string, unknown>>

interface Value {
  readonly stream?: boolean
  readonly optional?: boolean
  readonly schema?: Schema
}

/** Of an OpenRPC document that somebody sent what can be relied on: every part may be missing. */
export interface Method {
  readonly name: string
  readonly summary: string | undefined
  readonly params: readonly { readonly name: string; readonly required: boolean; readonly schema: Schema }[]
  readonly result: Schema | undefined
  /** Only for methods of a contract. */
  readonly contract:
    | {
        readonly input: Value | null
        readonly output: Value | null
        readonly errors: Readonly<Record<string, Schema>>
        readonly idempotent: boolean
        readonly oneway: boolean
        /** How an object goes to who takes parameters by position. */
        readonly parameters: readonly string[] | undefined
      }
    | undefined
  readonly streams: boolean
}

export interface Description {
  readonly document: Readonly<Record<string, unknown>>
  readonly title: string
  readonly contract: string | null
  readonly methods: readonly Method[]
  readonly events: ReadonlyMap<string, Schema>
}

type Unknown = Readonly<Record<string, unknown>>
const record = (value: unknown): Unknown => (typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Unknown) : {})
const records = (value: unknown): Unknown[] => (Array.isArray(value) ? value.map(record) : [])
const schema = (value: unknown): Schema => (typeof value === 'boolean' ? value : record(value))
const string = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined)

/** Asks a service what it offers. */
export async function describe(
  { name, session, contract: told }: Pick<Target, 'name' | 'session' | 'contract'>,
  options: { signal?: AbortSignal; timeout?: number },
): Promise<Description> {
  return read(record(told ? await openRpc(await jsonSchema(told)) : await session.call('rpc.discover', [], options)), name)
}

/** What an OpenRPC document says. */
export function read(document: Readonly<Record<string, unknown>>, name: string): Description {
  const own = record(document['x-talkwire'])
  return {
    document,
    title: string(record(document['info'])['title']) ?? name,
    contract: string(own['contract']) ?? null,
    methods: records(document['methods']).flatMap((method) =>
      typeof method['name'] === 'string' ? [methodOf(method['name'], method)] : [],
    ),
    events: new Map(Object.entries(record(own['events'])).map(([event, value]) => [event, schema(record(value)['payload'])])),
  }
}

function methodOf(name: string, method: Unknown): Method {
  const own = method['x-talkwire'] === undefined ? undefined : record(method['x-talkwire'])
  const value = (of: unknown): Value | null => (of === null || of === undefined ? null : (record(of) as Value))
  const contract = own && {
    input: value(own['input']),
    output: value(own['output']),
    errors: record(own['errors']) as Record<string, Schema>,
    idempotent: own['idempotent'] === true,
    oneway: own['oneway'] === true,
    parameters: Array.isArray(own['parameters']) ? (own['parameters'] as string[]) : undefined,
  }
  return {
    name,
    summary: string(method['summary']),
    params: records(method['params']).map((param) => ({
      name: string(param['name']) ?? '?',
      required: param['required'] === true,
      schema: schema(param['schema']),
    })),
    result: method['result'] === undefined ? undefined : schema(record(method['result'])['schema']),
    contract,
    streams: contract?.output?.stream === true || method['x-stream'] === true,
  }
}

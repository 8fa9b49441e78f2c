/** Every protocol of bytes on one listener: who answers beside our own messages, and what is left out. */
import { checkDialectServes } from './abilities.js'
import { parseAddress } from './address.js'
import { TalkwireError } from './error.js'
import type { Dialect } from './protocols/dialect.js'
import type { Site } from './protocols/http-server.js'
import { adapterFor, isDialect, shareable } from './registry.js'
import { admitFor, checkKey, dialectOptions, type DialectService } from './serve-dialect.js'
import { suggestion } from './suggest.js'
import type { Guest } from './transports/one-port.js'
import type { Accept } from './transports/transport.js'

/** Listeners that others can share. */
const SHARED = new Set(['', 'unix', 'tcp', 'tls'])
/** Not a dialect: whole sessions. */
const WEBSOCKET = 'ws'

export const isShareable = (address: string): boolean => SHARED.has(parseAddress(address).scheme)

export interface Shared {
  readonly guests: readonly Guest[]
  /** Addresses by which clients reach them, beside the listener's own. */
  readonly addresses: (bound: string) => readonly string[]
  /** Whether clients have to show a token. */
  readonly tokens: boolean
}

/**
 * `protocols`: names, each of which must be able to carry the service; or `all`, which leaves out those that cannot and those whose
 * package is not installed. Rejects with UNSUPPORTED, MISSING_PACKAGE, INVALID_ADDRESS for a name that nobody has.
 */
export async function shareListener(
  address: string,
  protocols: 'all' | readonly string[],
  accept: Accept,
  shared: DialectService,
): Promise<Shared> {
  const kind = kindOf(address)
  const local = kind === 'unix'
  // The kernel says whose a local connection is, and no page of a browser reaches it.
  const at: DialectService = local ? { ...shared, token: false } : shared
  const secure = kind === 'tls'
  const wanted = protocols === 'all' ? [...Object.keys(shareable), WEBSOCKET] : protocols
  const names: string[] = []
  const sites: Site[] = []
  const guests: Guest[] = []
  let upgrade: Awaited<ReturnType<typeof import('./transports/ws.js').upgrading>> | undefined
  for (const name of wanted) {
    try {
      if (name === WEBSOCKET) {
        const { upgrading } = await import('./transports/ws.js')
        upgrade = await upgrading(secure ? 'wss' : 'ws', address, accept, { maxMessage: shared.limits.message })
      } else {
        const dialect = await dialectOf(name, kind)
        checkShares(dialect, at)
        if (dialect.guest) guests.push(await dialect.guest(address, at.service, admitFor(dialect, at), dialectOptions(at)))
        if (dialect.site) sites.push(await dialect.site(at.service, dialectOptions(at)))
      }
      names.push(name)
    } catch (reason) {
      if (protocols !== 'all' || !(reason instanceof TalkwireError) || !MAY_BE_MISSING.has(reason.code)) throw reason
    }
  }
  if (sites.length > 0 || upgrade) {
    const { httpGuest } = await import('./protocols/http-guest.js')
    const options = { ...dialectOptions(at), address, secure }
    guests.push(httpGuest(sites.length > 0 ? sites : [await nothingThere()], admitFor(undefined, at), options, upgrade))
  }
  return {
    guests,
    addresses: (bound) =>
      names.flatMap((name) => {
        const scheme = name === WEBSOCKET ? WEBSOCKETS[kind] : shareable[name]![kind]
        return scheme === undefined ? [] : bound.replace(/^\w+:/, `${scheme}:`)
      }),
    tokens: !local && guests.length > 0,
  }
}

const MAY_BE_MISSING = new Set(['UNSUPPORTED', 'MISSING_PACKAGE'])

type Kind = 'tcp' | 'tls' | 'unix'
const WEBSOCKETS: Readonly<Partial<Record<Kind, string>>> = { tcp: 'ws', tls: 'wss' }

const kindOf = (address: string): Kind => {
  const { scheme } = parseAddress(address)
  return scheme === 'tcp' || scheme === 'tls' ? scheme : 'unix'
}

/** Rejects with INVALID_ADDRESS, UNSUPPORTED where it is not spoken on listeners of that kind. */
async function dialectOf(name: string, kind: Kind): Promise<Dialect> {
  if (!Object.hasOwn(shareable, name)) {
    const all = ['all', WEBSOCKET, ...Object.keys(shareable)]
    throw new TalkwireError(
      'INVALID_ADDRESS',
      `"${name}" is no protocol for one listener of many; there are ${all.join(', ')}${suggestion(name, all)}`,
    )
  }
  const { [kind]: own, tcp } = shareable[name]!
  const scheme = own ?? (kind === 'unix' ? tcp : undefined)
  if (scheme === undefined)
    throw new TalkwireError(
      'UNSUPPORTED',
      `${name} is not answered on ${kind}:; listen on ${Object.keys(shareable[name]!).join(': or ')}:, or leave it out of protocols`,
    )
  const adapter = await adapterFor(scheme)
  if (!isDialect(adapter)) throw new TypeError(`${name} is no dialect`)
  return adapter
}

/** Throws UNSUPPORTED. */
function checkShares(dialect: Dialect, { service, options }: DialectService): void {
  checkDialectServes(dialect, service)
  checkKey(dialect, options)
}

/** Where only WebSocket is spoken. */
async function nothingThere(): Promise<Site> {
  const { problemOf } = await import('./protocols/http-problem.js')
  const refuse: Site['refuse'] = (response, status, error) =>
    void response.writeHead(status, { 'content-type': 'application/problem+json' }).end(JSON.stringify(problemOf(error, status)))
  const gone = new TalkwireError('METHOD_NOT_FOUND', 'only WebSocket is spoken here')
  return { scheme: 'http', refuse, handle: ({ request, response }) => (refuse(response, 404, gone), void request.resume()) }
}

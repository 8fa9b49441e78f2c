/** The addresses of brokers have one form: `scheme://user:password@host:port?prefix=shop`. */
import { TalkwireError } from '../../error.js'

const PREFIX = /^[A-Za-z0-9_-]{1,64}$/

export interface BrokerAddress {
  readonly url: URL
  /** An address of IPv6 without its brackets. */
  readonly host: string
  readonly user: string
  readonly password: string
  /** What everything that a hub writes begins with. */
  readonly prefix: string
}

/** `path`: what may stand behind the host. `more`: what may be said beside the prefix. Throws INVALID_ADDRESS, which says the `form`. */
export function brokerAddress(
  address: string,
  schemes: readonly string[],
  path: RegExp,
  form: string,
  more: readonly string[] = [],
): BrokerAddress {
  const url = URL.canParse(address) ? new URL(address) : undefined
  const prefix = url?.searchParams.get('prefix') ?? 'talkwire'
  const known = [...(url?.searchParams.keys() ?? [])].every((key) => key === 'prefix' || more.includes(key))
  const fits = url && schemes.includes(url.protocol.slice(0, -1)) && url.hostname && path.test(url.pathname)
  const [user, password] = [decoded(url?.username), decoded(url?.password)]
  if (!fits || !known || !PREFIX.test(prefix) || user === undefined || password === undefined)
    throw new TalkwireError('INVALID_ADDRESS', `an address of ${form}`)
  return { url, host: url.hostname.replace(/^\[(.*)\]$/, '$1'), user, password, prefix }
}

export type Credentials = Readonly<Record<string, unknown>>

/** What is said beside the address counts more; '' where nobody says anything. */
export function whoAsks(address: BrokerAddress, { user, password }: Credentials): { readonly user: string; readonly password: string } {
  return {
    user: typeof user === 'string' ? user : address.user,
    password: typeof password === 'string' ? password : address.password,
  }
}

/** Undefined: a "%" without its two digits. */
function decoded(text = ''): string | undefined {
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}

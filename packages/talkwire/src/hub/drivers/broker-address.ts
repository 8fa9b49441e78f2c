/** The addresses of brokers have one form: `scheme://user:password@host:port?prefix=shop`. */
import { TalkwireError } from '../../error.js'

const PREFIX = /^[A-Za-z0-9_-]{1,64}$/

export interface BrokerAddress {
  readonly url: URL
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
  if (!fits || !known || !PREFIX.test(prefix)) throw new TalkwireError('INVALID_ADDRESS', `an address of ${form}`)
  return { url, prefix }
}

/** What an address of NATS says: where the servers are, who asks, and how a hub is kept there. */
import { TalkwireError } from '../../../error.js'
import { brokerAddress } from '../broker-address.js'

export interface NatsAddress {
  readonly host: string
  /** Each as `host:port`. */
  readonly servers: readonly string[]
  readonly user: string
  readonly password: string
  readonly prefix: string
  /** Topics without a stream are wanted. */
  readonly core: boolean
  /** On how many servers each stream is kept. */
  readonly replicas: number
}

const FORM =
  'NATS is nats://user:password@host:4222?prefix=shop&topics=core&servers=host2:4222,host3:4222&replicas=3; a user alone is a token; the prefix has letters, digits, "_" and "-"; topics are "stream", the default, or "core"; replicas are 1 to 5'

export function natsAddress(address: string): NatsAddress {
  const { url, host, user, password, prefix } = brokerAddress(address, ['nats'], /^\/?$/, FORM, ['topics', 'servers', 'replicas'])
  const topics = url.searchParams.get('topics') ?? 'stream'
  const replicas = url.searchParams.get('replicas') ?? '1'
  const servers = [url.host, ...(url.searchParams.get('servers')?.split(',') ?? [])].map(serverOf)
  if (!['core', 'stream'].includes(topics) || !/^[1-5]$/.test(replicas) || !servers.every((each) => each !== undefined))
    throw new TalkwireError('INVALID_ADDRESS', `an address of ${FORM}`)
  return { host, servers, user, password, prefix, core: topics === 'core', replicas: Number(replicas) }
}

/** Undefined: more than a host and a port, or less. */
function serverOf(text: string): string | undefined {
  const url = URL.canParse(`nats://${text}`) ? new URL(`nats://${text}`) : undefined
  return url && url.host === text.toLowerCase() && url.hostname !== '' ? `${url.hostname}:${url.port || 4222}` : undefined
}

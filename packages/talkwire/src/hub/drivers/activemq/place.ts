/** Where an ActiveMQ is, in whatever it is spoken to, and what is said of a line to it that is not there. */
import net from 'node:net'
import tls from 'node:tls'
import { TalkwireError } from '../../../error.js'
import { whoAsks, type BrokerAddress, type Credentials } from '../broker-address.js'

export interface MqPlace {
  readonly host: string
  readonly port: number
  /** Of `tls.connect`; undefined: without TLS. */
  readonly tls: object | undefined
  readonly user: string
  readonly password: string
}

/** Whoever waits for the broker's answer. */
export interface Waiter {
  readonly resolve: () => void
  readonly reject: (reason: TalkwireError) => void
}

/** Ports that are meant where the address has none: `secure` is that of the scheme that ends with an "s". */
export function mqPlace(
  address: BrokerAddress,
  ports: { readonly plain: number; readonly secure: number },
  credentials: Credentials,
): MqPlace {
  const { url, host } = address
  const secure = url.protocol.endsWith('s:')
  return {
    host,
    port: Number(url.port) || (secure ? ports.secure : ports.plain),
    tls: secure ? ((credentials['tls'] as object | undefined) ?? {}) : undefined,
    ...whoAsks(address, credentials),
  }
}

/** It can be written to after `opens`. */
export function socketTo({ host, port, tls: secure }: MqPlace): { readonly socket: net.Socket; readonly opens: string } {
  const socket = secure
    ? tls.connect({ host, port, ...(net.isIP(host) ? {} : { servername: host }), ...secure })
    : net.connect({ host, port })
  return { socket: socket.setNoDelay(true), opens: secure ? 'secureConnect' : 'connect' }
}

export const away = (): TalkwireError =>
  new TalkwireError('UNAVAILABLE', 'ActiveMQ: there is no connection now; it is made again by itself', { outcome: 'not-sent' })

/** Why a line was never there. */
export const notOpened = (failure: Error | undefined): TalkwireError =>
  failure instanceof TalkwireError ? failure : new TalkwireError('UNAVAILABLE', textOf(failure), { cause: failure, outcome: 'not-sent' })

/** Why one is there no more. */
export const lineLost = (failure: Error | undefined): TalkwireError =>
  new TalkwireError('CONNECTION_LOST', textOf(failure), { cause: failure, outcome: 'maybe-ran' })

const textOf = (failure: Error | undefined): string =>
  `ActiveMQ: ${failure?.message.replace(/^[A-Z_]+: /, '') || (failure as { code?: string } | undefined)?.code || 'the connection was closed'}`

/** Signalling for `webrtc:`: the contract `signalling`, called and served over any other address. */
import type { connect, ConnectOptions } from './connect.js'
import type { Client } from './contract/contract.js'
import { signalling } from './contract/signalling.js'
import { TalkwireError } from './error.js'
import type { serve, ServeOptions } from './serve.js'
import { revealed } from './session/validate.js'
import type { Signalling } from './transports/webrtc.js'

export type SignallingClient = Client<typeof signalling>

const SCHEME = 'webrtc:'
/** Milliseconds until who still signals is cut off when a listener closes. */
const FAREWELL = 1_000

function innerOf(address: string, what: string): string {
  const inner = address.slice(SCHEME.length)
  if (inner !== '') return inner
  throw new TalkwireError('INVALID_ADDRESS', `webrtc: needs the address of its signalling, such as webrtc:ws://127.0.0.1:8080${what}`)
}

/** What `connect` gives to the transport. */
export const callsBy = (
  dial: typeof connect,
  { signalling: client, token, authkey, tls }: ConnectOptions,
  handshake: number,
): Pick<Signalling, 'open'> => ({
  async open(address, signal) {
    if (client) return { meet: (signals, over) => client.meet(signals, { signal: over }), close: () => Promise.resolve() }
    const own = await dial(signalling, {
      address: innerOf(address, ', or a client of it: { signalling: client }'),
      reconnect: false,
      limits: { handshake },
      ...(token !== undefined && { token }),
      ...(authkey !== undefined && { authkey }),
      ...(tls && { tls }),
      ...(signal && { signal }),
    })
    return { meet: (signals, over) => own.meet(signals, { signal: over }), close: () => own.close() }
  },
})

/** What `serve` gives to the transport: who may signal is asked as if the service listened there itself. */
export const answersBy = (start: typeof serve, options: ServeOptions, token: string | false): Pick<Signalling, 'answer'> => ({
  async answer(address, meet) {
    const { authkey, insecure, hosts, origins, tls, allow, onError } = options
    const service = await start(
      signalling,
      { meet: (signals, ctx) => revealed(() => meet(signals, ctx)) },
      {
        listen: innerOf(address, ''),
        token,
        ...(authkey !== undefined && { authkey }),
        ...(insecure && { insecure }),
        ...(hosts && { hosts }),
        ...(origins && { origins }),
        ...(tls && { tls }),
        ...(allow && { allow }),
        ...(onError && { onError }),
      },
    )
    return { address: `${SCHEME}${service.addresses[0]}`, close: () => service.close({ timeout: FAREWELL }) }
  },
})

/** `talkwire/browser/webrtc`: data channels for pages, to processes and to other pages. docs/transports/webrtc.md. */
import { isContract, type Contract, type Functions, type FunctionsClient, type Handlers } from '../contract/contract.js'
import { signalling } from '../contract/signalling.js'
import { TalkwireError } from '../error.js'
import { revealed } from '../session/validate.js'
import { answerPeer, callPeer } from '../transports/webrtc-meeting.js'
import type { Meet, Signal } from '../transports/webrtc-signals.js'
import { acceptSession } from './accept.js'
import { connect, type Client, type Dial } from './index.js'
import { openRtc, type BrowserOptions } from './rtc.js'
import { implement } from './service.js'
import type { Limits } from './session.js'
import { channelSocket } from './webrtc-socket.js'

export { signalling } from '../contract/signalling.js'
export type { IceServer } from '../transports/webrtc-meeting.js'

export interface WebRtcOptions extends BrowserOptions {
  /** By which the other side is reached. Default: the address behind `webrtc:` is connected to. */
  readonly signalling?: Client<typeof signalling>
}

/** Milliseconds until the channel is open: many ways may be tried. */
const PATIENCE = 30_000
/** Peers that are still signalling to this page. */
const MOST_MEETING = 16

/**
 * For `dial` of `connect`: `connect(bank, 'webrtc:ws://127.0.0.1:8080', { token, dial: webrtc() })`.
 * It rejects with PEER_NOT_FOUND, what signalling rejects with, or the signal's reason.
 */
export const webrtc =
  (options: WebRtcOptions = {}): Dial =>
  async (address, { token, signal }, sink, maxMessage) => {
    const shown = { ...(token !== undefined && { token }), ...(signal && { signal }) }
    const own = options.signalling ? undefined : await connect(signalling, address.replace(/^webrtc:/, ''), { ...shown, reconnect: false })
    const client = options.signalling ?? own!
    const meet: Meet = (signals, over) => client.meet(signals, { signal: over })
    try {
      const met = await callPeer(openRtc(options), meet, { patience: PATIENCE, signal })
      void met.alone.then(() => own?.close())
      return channelSocket(met, sink, maxMessage, true)
    } catch (reason) {
      await own?.close()
      throw reason
    }
  }

export interface ServeOptions extends BrowserOptions {
  readonly limits?: Partial<Limits>
  readonly onError?: (error: unknown, what: string) => void
}

/** What this page serves to whoever gets to `meet`. */
export interface PageService {
  /** The handler of the contract `signalling`: `implement(signalling, { meet })`, for a connection on which others reach this page. */
  readonly meet: (signals: AsyncIterable<Signal>, ctx: { readonly signal: AbortSignal }) => AsyncIterable<Signal>
  /** To everyone who listens. */
  emit(event: string, payload?: unknown): void
  /** No new connections; open ones are closed when their calls are done. */
  close(): Promise<void>
}

/** Serves a contract, or plain functions, from a page. Throws TypeError for a handler that is missing. */
export function serve<const C extends Contract>(
  contract: C,
  handlers: Handlers<C, FunctionsClient<Functions>>,
  options?: ServeOptions,
): PageService
export function serve(functions: object, options?: ServeOptions): PageService
export function serve(first: Contract | object, second: object = {}, third: ServeOptions = {}): PageService {
  const named = isContract(first)
  const { limits, onError = (error, what) => console.error(`in "${what}":`, error), ...rtc } = (named ? third : second) as ServeOptions
  const { service } = named ? implement(first, second as never) : implement(first)
  const sessions = new Set<ReturnType<typeof acceptSession>>()
  let meeting = 0
  let closed = false
  const meet: PageService['meet'] = (signals, { signal }) => {
    if (closed || meeting >= MOST_MEETING)
      throw new TalkwireError(closed ? 'UNAVAILABLE' : 'LIMIT_EXCEEDED', 'this page takes no more peers now', { outcome: 'not-sent' })
    meeting++
    const answer = answerPeer(openRtc(rtc), signals, { patience: PATIENCE, signal }, (met) => {
      const accepted = acceptSession(service, limits, onError, () => sessions.delete(accepted))
      sessions.add(accepted)
      accepted.session.socket = channelSocket(met, accepted.session, accepted.session.options.limits.message, false)
    })
    void answer.settled.finally(() => meeting--)
    return answer.signals
  }
  return {
    meet: (signals, ctx) => revealed(() => meet(signals, ctx)),
    emit(event, payload) {
      for (const { emit } of sessions) emit(event, payload)
    },
    async close() {
      closed = true
      await Promise.all([...sessions].map(({ session }) => session.close(5_000)))
    },
  }
}

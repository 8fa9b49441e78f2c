/** From signalling to an open data channel, for who offers and who answers, in Node and in pages. */
import { TalkwireError } from '../error.js'
import type { Frames } from './webrtc-pieces.js'
import { createQueue, eachSignal, type Meet, type Signal } from './webrtc-signals.js'

/** STUN and TURN servers, as browsers write them. */
export interface IceServer {
  /** `stun:host:port`, `turn:host:port`, `turns:host:port`. */
  readonly urls: string | readonly string[]
  readonly username?: string
  readonly credential?: string
}

export interface RtcOptions {
  /** Default: none; the two sides reach each other on one machine and in one network. */
  readonly iceServers?: readonly IceServer[]
  /** `relay`: only by a TURN server, so neither side learns the other's address. Default `all`. */
  readonly iceTransportPolicy?: 'all' | 'relay'
  /** In Node: the one address of this machine to be reached on. Default: all but loopback; loopback where there is no other. */
  readonly bindAddress?: string
}

/** A data channel that is open. */
export interface RtcChannel extends Frames {
  readonly protocol: string
  /** Where the peer really is, where that is told. */
  readonly host: string | undefined
  /** What arrives goes there from now on; nothing before it is lost. */
  attach(events: ChannelEvents): void
  /** Ends the channel and what is below it. What it has not sent may be lost. */
  close(): void
}

export interface ChannelEvents {
  readonly frame: (frame: string | Uint8Array) => void
  /** No more than LOW bytes are left in it. */
  readonly low: () => void
  readonly closed: () => void
}

export interface RtcEvents {
  /** For the other side. */
  signal(signal: Signal): void
  channel(channel: RtcChannel): void
  /** `reason`: more than that no way was found. */
  failed(reason?: TalkwireError): void
}

export interface RtcPeer {
  /** A signal of the other side. Throws, or rejects, for nonsense. */
  take(signal: Signal): Promise<void> | void
  close(): void
}

/** `offer` makes the channel, `answer` waits for it. */
export type OpenRtc = (role: 'offer' | 'answer', events: RtcEvents) => RtcPeer

/** A channel, and its signalling, which stays: its end says at once that the process at the other end has died. */
export interface Met {
  readonly channel: RtcChannel
  /** Resolves when there is no signalling any more. */
  readonly alone: Promise<void>
  /** Signalling is not needed any more. */
  readonly leave: () => void
}

export interface Meeting {
  /** Milliseconds until the channel must be open. */
  readonly patience: number
  readonly signal?: AbortSignal | undefined
}

const noWay = (patience: number): TalkwireError =>
  new TalkwireError(
    'PEER_NOT_FOUND',
    `signalling worked, but no data channel opened within ${patience} ms; the other side answers nothing, or no way leads to it: name iceServers, or raise limits.handshake`,
  )

/** Who takes no other way than a relay's, and was given none. */
export const noRelay = (): TalkwireError =>
  new TalkwireError(
    'PEER_NOT_FOUND',
    'signalling worked, but no TURN server of iceServers gave a relay, and iceTransportPolicy takes no other way: username or credential are wrong, or there is no such server',
    { outcome: 'not-sent' },
  )

interface Settled {
  readonly theirs: AsyncIterable<Signal>
  readonly mine: ReturnType<typeof createQueue<Signal>>
  readonly role: 'offer' | 'answer'
}

function settle(open: OpenRtc, { theirs, mine, role }: Settled, { patience, signal }: Meeting): Promise<Met> {
  return new Promise((resolve, reject) => {
    let isOpen = false
    const onAbort = (): void => fail(signal!.reason)
    const timer = setTimeout(() => fail(noWay(patience)), patience)
    const done = (): void => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
    }
    const fail = (reason: unknown): void => {
      if (isOpen) return
      done()
      reject(reason as Error)
      mine.end(reason)
      peer?.close()
    }
    let peer: RtcPeer | undefined
    try {
      peer = open(role, {
        signal: (each) => mine.push(each),
        channel(channel) {
          if (isOpen) return
          isOpen = true
          done()
          resolve({ channel, alone, leave: () => mine.end() })
        },
        failed: (reason) => fail(reason ?? noWay(patience)),
      })
    } catch (reason) {
      return fail(reason)
    }
    signal?.addEventListener('abort', onAbort, { once: true })
    const alone = eachSignal(theirs, (each) => peer.take(each)).catch(fail)
  })
}

/** Offers a channel. Signalling is ended by `leave`. Rejects with what it throws, PEER_NOT_FOUND, or the signal's reason. */
export async function callPeer(open: OpenRtc, meet: Meet, meeting: Meeting): Promise<Met> {
  const mine = createQueue<Signal>()
  const over = new AbortController()
  try {
    const met = await settle(open, { theirs: meet(mine, over.signal), mine, role: 'offer' }, meeting)
    return { ...met, leave: () => over.abort() }
  } catch (reason) {
    over.abort()
    throw reason
  }
}

/** Answers an offer; `met` gets the channel. What is iterated is for the other side, until the channel is gone or `meeting.signal` says so. */
export function answerPeer(
  open: OpenRtc,
  theirs: AsyncIterable<Signal>,
  meeting: Meeting,
  met: (met: Met) => void,
): { readonly signals: AsyncIterable<Signal>; readonly settled: Promise<void> } {
  const mine = createQueue<Signal>()
  meeting.signal?.addEventListener('abort', () => mine.end(), { once: true })
  const settled = settle(open, { theirs, mine, role: 'answer' }, meeting).then(met, () => {})
  return { signals: mine, settled }
}

/**
 * A WebRTC data channel: `webrtc:` and the address on which the two sides signal, `webrtc:ws://127.0.0.1:8080`; or `webrtc:` alone and a
 * client of the contract `signalling`. Between processes and pages, through what stands between them. RFC 8831, RFC 8832.
 */
import { TalkwireError } from '../error.js'
import { MessageConnection } from './message-connection.js'
import {
  MAX_MESSAGE,
  type Accept,
  type Listener,
  type Peer,
  type Sink,
  type Traits,
  type Transport,
  type TransportOptions,
} from './transport.js'
import { answerPeer, callPeer, type Met, type OpenRtc, type RtcOptions } from './webrtc-meeting.js'
import { library, opener } from './webrtc-node.js'
import { DataPipe } from './webrtc-pipe.js'
import type { Meet, Signal } from './webrtc-signals.js'

/** Peers that are still signalling: each costs a socket and a certificate. */
const MOST_MEETING = 64
/** Milliseconds until the channel is open, where no limit is given: many ways may be tried. */
const PATIENCE = 30_000

const traits: Traits = {
  ordered: true,
  reliable: true,
  backpressure: true,
  crossProcess: true,
  crossHost: true,
  manyConnections: true,
  peerCredentials: false,
}

/** Who calls, as signalling knows it, and when it is over. */
export interface Caller {
  readonly peer: Peer
  readonly signal: AbortSignal
}

/** How descriptions and candidates reach the other side: `connect` and `serve` give it. */
export interface Signalling {
  /** Opens signalling to who listens on the address. */
  open(address: string, signal: AbortSignal | undefined): Promise<{ readonly meet: Meet; readonly close: () => Promise<void> }>
  /** Answers on the address; the listener tells where really. */
  answer(address: string, meet: (signals: AsyncIterable<Signal>, caller: Caller) => AsyncIterable<Signal>): Promise<Listener>
}

export interface WebRtcOptions extends TransportOptions {
  readonly signalling: Signalling
  readonly rtc?: RtcOptions
}

export const webrtc: Transport<WebRtcOptions> = {
  scheme: 'webrtc',
  traits,
  tokens: true,
  arranged: true,
  connect: (address, sink, options) => connect(address, sink, options!),
  listen: (address, accept, options) => listen(address, accept, options!),
}

async function connect(address: string, sink: Sink, options: WebRtcOptions): Promise<MessageConnection> {
  const { signalling, rtc = {}, maxMessage = MAX_MESSAGE, handshake: patience = PATIENCE, signal } = options
  signal?.throwIfAborted()
  const open = opener(await library(), rtc)
  const { meet, close } = await signalling.open(address, signal)
  try {
    const met = await callPeer(open, meet, { patience, signal })
    void met.alone.then(close, () => {})
    const pipe = new DataPipe(met, { address, host: met.channel.host ?? '' }, maxMessage, true)
    pipe.open(sink)
    return new MessageConnection(pipe)
  } catch (reason) {
    await close()
    throw reason
  }
}

async function listen(address: string, accept: Accept, options: WebRtcOptions): Promise<Listener> {
  options.signal?.throwIfAborted()
  const open = opener(await library(), options.rtc ?? {})
  let meeting = 0
  return options.signalling.answer(address, (signals, caller) => {
    if (meeting >= MOST_MEETING)
      throw new TalkwireError('LIMIT_EXCEEDED', `${MOST_MEETING} peers are signalling already; try again`, { outcome: 'not-sent' })
    meeting++
    return answered(open, signals, caller, address, accept, options, () => meeting--)
  })
}

function answered(
  open: OpenRtc,
  signals: AsyncIterable<Signal>,
  { peer, signal }: Caller,
  address: string,
  accept: Accept,
  { maxMessage = MAX_MESSAGE, handshake: patience = PATIENCE }: WebRtcOptions,
  done: () => void,
): AsyncIterable<Signal> {
  const met = (each: Met): void => {
    const pipe = new DataPipe(each, { ...vouched(peer), address, host: each.channel.host ?? '' }, maxMessage, false)
    pipe.open(accept(new MessageConnection(pipe)))
  }
  const answer = answerPeer(open, signals, { patience, signal }, met)
  void answer.settled.finally(done)
  return answer.signals
}

/** The certificate's fingerprint came by signalling: who speaks there holds the other end, or chose who does. */
function vouched({ pid, uid, gid, identity }: Peer): Partial<Peer> {
  return { ...(identity !== undefined && { identity }), ...(uid !== undefined && { pid, uid, gid }) } as Partial<Peer>
}

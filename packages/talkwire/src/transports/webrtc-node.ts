/** node-datachannel (libdatachannel) as the meeting needs it. */
import { isIP } from 'node:net'
import { networkInterfaces } from 'node:os'
import type { DataChannel, IceServer as NativeServer, PeerConnection, RelayType } from 'node-datachannel'
import { TalkwireError } from '../error.js'
import {
  noRelay,
  type ChannelEvents,
  type IceServer,
  type OpenRtc,
  type RtcChannel,
  type RtcOptions,
  type RtcPeer,
} from './webrtc-meeting.js'
import { LOW, SUBPROTOCOL } from './webrtc-pieces.js'
import type { Signal } from './webrtc-signals.js'

type Library = typeof import('node-datachannel')

export async function library(): Promise<Library> {
  try {
    return (await import('node-datachannel')) as Library
  } catch (cause) {
    throw new TalkwireError('MISSING_PACKAGE', 'webrtc: needs the package "node-datachannel"; run npm install node-datachannel', { cause })
  }
}

/**
 * Milliseconds before who offers tells its candidates. Who answers begins DTLS as soon as it has a way, and libdatachannel may lose that
 * beginning where it comes while the other side is still making its own end; it comes again after a second. Until who answers knows a
 * candidate it finds a way only behind the one who offers, and both have it by now where nothing stands between them.
 */
const HEAD_START = 100

/** Throws TypeError for servers that are none. */
export const opener = (
  { PeerConnection: Native }: Library,
  { iceServers = [], bindAddress = onlyLoopback(), iceTransportPolicy = 'all' }: RtcOptions,
): OpenRtc => {
  const servers = iceServers.flatMap(nativeServers)
  return (role, events) => {
    const native = new Native('talkwire', { iceServers: servers, iceTransportPolicy, ...(bindAddress !== undefined && { bindAddress }) })
    let taken = false
    /** The first one; nobody asked for more. */
    const take = (channel: DataChannel): void => {
      letGo(channel)
      if (taken) return channel.close()
      taken = true
      events.channel(new NativeChannel(native, channel))
    }
    const described = describing(native, role)
    native.onLocalDescription((sdp, type) => events.signal({ type: type as 'offer' | 'answer', sdp }))
    const waiting = new Set<NodeJS.Timeout>()
    const say = (signal: Signal): void => {
      if (role === 'answer') return events.signal(signal)
      const timer = setTimeout(() => (waiting.delete(timer), events.signal(signal)), HEAD_START)
      waiting.add(timer)
    }
    native.onLocalCandidate((text, mid) => described.after(() => say({ candidate: text.replace(/^a=/, ''), mid })))
    // Candidates come through a queue of their own; the description has them already.
    native.onGatheringStateChange((state) => {
      if (iceTransportPolicy === 'relay' && state === 'complete' && !native.localDescription()?.sdp.includes('a=candidate:'))
        events.failed(noRelay())
    })
    let offered: DataChannel | undefined
    let opened: (() => void) | undefined
    let connected = false
    native.onStateChange((state) => {
      connected ||= state === 'connected'
      if (state !== 'failed' && state !== 'closed') return
      // Where the other side accepted and ended at once, nothing tells that it had accepted.
      if (connected && opened) opened()
      else events.failed()
    })
    if (role === 'answer') native.onDataChannel(take)
    else {
      const channel = (offered = native.createDataChannel('talkwire', { protocol: SUBPROTOCOL }))
      letGo(offered)
      opened = () => taken || take(channel)
      channel.onOpen(opened)
    }
    return {
      take: described.take,
      close() {
        waiting.forEach(clearTimeout)
        end(native, offered)
      },
    }
  }
}

/** The other side's signals; `after` calls back once its description has been taken. */
function describing(native: PeerConnection, role: 'offer' | 'answer'): Pick<RtcPeer, 'take'> & { after(action: () => void): void } {
  let described = false
  const later: (() => void)[] = []
  const after = (action: () => void): void => void (described ? action() : later.push(action))
  const describe = (sdp: string, type: 'offer' | 'answer'): void => {
    if (described || type === role) throw nonsense(`this ${type} is not expected`)
    const lines = sdp.split(/\r?\n/)
    const rest = lines.filter((line) => !line.startsWith('a=candidate:'))
    native.setRemoteDescription(rest.join('\r\n'), type as never)
    described = true
    for (const line of lines) if (!rest.includes(line)) add(line.slice(2), '0')
    // Ours go only now, too. Who has them reaches us at once, and libdatachannel holds his certificate against a fingerprint that it is
    // still reading.
    for (const action of later.splice(0)) action()
  }
  const add = (candidate: string, mid: string): void => {
    if (hasAddress(candidate)) native.addRemoteCandidate(candidate, mid)
  }
  return {
    after,
    take(signal) {
      try {
        if ('sdp' in signal) describe(signal.sdp, signal.type)
        else after(() => add(signal.candidate, signal.mid))
      } catch (cause) {
        throw nonsense("the other side's description is none that WebRTC understands", cause)
      }
    },
  }
}

const nonsense = (text: string, cause?: unknown): TalkwireError =>
  cause instanceof TalkwireError ? cause : new TalkwireError('INVALID_INPUT', text, { cause, outcome: 'not-sent' })

/**
 * Pages hide their addresses behind names in `.local`. Nothing is lost without them: the page comes to us. To look up whatever name a
 * peer writes would let it choose whom we ask.
 */
const hasAddress = (candidate: string): boolean => isIP(candidate.split(' ')[4] ?? '') !== 0

/** libdatachannel leaves loopback out, unless it is told to take nothing else. */
function onlyLoopback(): string | undefined {
  const all = Object.values(networkInterfaces()).flat()
  return all.every((each) => each!.internal) ? '127.0.0.1' : undefined
}

const RELAYS: Readonly<Record<string, RelayType>> = { udp: 'TurnUdp', tcp: 'TurnTcp' }

function nativeServers({ urls, username, credential }: IceServer): (string | NativeServer)[] {
  return [urls].flat().map((url) => {
    const match = /^(stuns?|turns?):(\[[^\]]+\]|[^:?]+)(?::(\d+))?(?:\?transport=(udp|tcp))?$/.exec(url)
    if (!match) throw new TypeError(`${JSON.stringify(url)} is no STUN or TURN server; write for example stun:stun.example:3478`)
    const [, scheme, hostname = '', port = scheme!.endsWith('s') ? '5349' : '3478', transport = 'udp'] = match
    if (scheme!.startsWith('stun')) return `${scheme}:${hostname}:${port}`
    const relayType = scheme === 'turns' ? 'TurnTls' : RELAYS[transport]!
    return { hostname, port: Number(port), relayType, ...(username && { username }), ...(credential && { password: credential }) }
  })
}

/** A channel of whose end nobody is told keeps the process alive after it. */
const letGo = (channel: DataChannel): void => channel.onClosed(() => {})

/** Not inside one of their own callbacks: what they then still have to call keeps the process alive. */
function end(native: PeerConnection, channel: DataChannel | undefined): void {
  setImmediate(() => {
    told(() => channel?.close(), undefined)
    native.close()
  })
}

/** What a channel says of itself; one that is closed already throws. */
function told<T>(ask: () => T, otherwise: T): T {
  try {
    return ask()
  } catch {
    return otherwise
  }
}

class NativeChannel implements RtcChannel {
  readonly protocol: string
  readonly maxMessage: number
  readonly host: string | undefined
  private over = false

  constructor(
    private readonly native: PeerConnection,
    private readonly channel: DataChannel,
  ) {
    this.protocol = told(() => channel.getProtocol(), SUBPROTOCOL)
    this.maxMessage = told(() => channel.maxMessageSize(), 64 * 1024)
    this.host = told(() => native.getSelectedCandidatePair()?.remote.address, undefined)
  }

  private get isOpen(): boolean {
    return !this.over && told(() => this.channel.isOpen(), false)
  }

  get buffered(): number {
    return this.isOpen ? told(() => this.channel.bufferedAmount(), 0) : 0
  }

  attach({ frame, low, closed }: ChannelEvents): void {
    const { channel, native } = this
    // The last frames come through a queue of their own, which this one may overtake.
    const end = (): void => void setImmediate(() => setImmediate(closed))
    if (!this.isOpen) return end()
    channel.setBufferedAmountLowThreshold(LOW)
    channel.onBufferedAmountLow(() => !this.over && low())
    channel.onClosed(end)
    native.onStateChange((state) => {
      if (state === 'failed' || state === 'closed') end()
    })
    channel.onMessage((message) => {
      if (!this.over) frame(message instanceof ArrayBuffer ? new Uint8Array(message) : message)
    })
  }

  send(frame: string | Uint8Array): void {
    if (!this.isOpen) return
    try {
      if (typeof frame === 'string') this.channel.sendMessage(frame)
      else this.channel.sendMessageBinary(frame)
    } catch {
      // It has ended since it was asked, in another thread: `closed` tells.
    }
  }

  close(): void {
    if (this.over) return
    this.over = true
    end(this.native, this.channel)
  }
}

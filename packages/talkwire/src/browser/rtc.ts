/** A browser's RTCPeerConnection as the meeting needs it. */
import { TalkwireError } from '../error.js'
import { noRelay, type OpenRtc, type RtcChannel, type RtcOptions } from '../transports/webrtc-meeting.js'
import { LOW, SUBPROTOCOL } from '../transports/webrtc-pieces.js'

/** Of the browser's, what is used here. */
interface NativeChannel {
  readonly protocol: string
  readonly readyState: string
  readonly bufferedAmount: number
  binaryType: string
  bufferedAmountLowThreshold: number
  onopen: () => void
  onclose: () => void
  onbufferedamountlow: () => void
  onmessage: (event: { data: string | ArrayBuffer }) => void
  send(data: string | Uint8Array): void
  close(): void
}
interface Description {
  readonly type: string
  readonly sdp: string
}
interface NativePeer {
  readonly connectionState: string
  readonly localDescription: Description | null
  readonly sctp: { readonly maxMessageSize: number } | null
  onicecandidate: (event: { candidate: { candidate: string; sdpMid: string | null } | null }) => void
  onconnectionstatechange: () => void
  ondatachannel: (event: { channel: NativeChannel }) => void
  createDataChannel(label: string, options: { protocol: string }): NativeChannel
  setLocalDescription(): Promise<void>
  setRemoteDescription(description: Description): Promise<void>
  addIceCandidate(candidate: { candidate: string; sdpMid: string }): Promise<void>
  close(): void
}
declare const RTCPeerConnection: new (configuration: Required<BrowserOptions>) => NativePeer

/** Of the options, what a page has a say in. */
export type BrowserOptions = Pick<RtcOptions, 'iceServers' | 'iceTransportPolicy'>

export const openRtc =
  ({ iceServers = [], iceTransportPolicy = 'all' }: BrowserOptions): OpenRtc =>
  (role, events) => {
    const peer = new RTCPeerConnection({ iceServers, iceTransportPolicy })
    let taken = false
    const take = (channel: NativeChannel): void => {
      if (taken) return channel.close()
      taken = true
      channel.binaryType = 'arraybuffer'
      events.channel(channelOf(peer, channel))
    }
    const describe = async (): Promise<void> => {
      await peer.setLocalDescription()
      const { type, sdp } = peer.localDescription!
      events.signal({ type: type as 'offer' | 'answer', sdp })
    }
    let found = false
    peer.onicecandidate = ({ candidate }) => {
      // Without one, all have been told.
      if (!candidate?.candidate) return iceTransportPolicy === 'relay' && !found && events.failed(noRelay())
      found = true
      events.signal({ candidate: candidate.candidate, mid: candidate.sdpMid ?? '0' })
    }
    peer.onconnectionstatechange = () => {
      if (peer.connectionState === 'failed') events.failed()
    }
    peer.ondatachannel = ({ channel }) => take(channel)
    if (role === 'offer') {
      const channel = peer.createDataChannel('talkwire', { protocol: SUBPROTOCOL })
      channel.onopen = () => take(channel)
      void describe()
    }
    return {
      async take(signal) {
        try {
          if ('candidate' in signal) return await peer.addIceCandidate({ candidate: signal.candidate, sdpMid: signal.mid })
          if (signal.type === role) throw new TypeError(`this ${signal.type} is not expected`)
          await peer.setRemoteDescription(signal)
          if (role === 'answer') await describe()
        } catch (cause) {
          throw new TalkwireError('INVALID_INPUT', "the other side's description is none that WebRTC understands", {
            cause,
            outcome: 'not-sent',
          })
        }
      },
      close: () => peer.close(),
    }
  }

function channelOf(peer: NativePeer, channel: NativeChannel): RtcChannel {
  return {
    protocol: channel.protocol,
    maxMessage: peer.sctp?.maxMessageSize ?? 64 * 1024,
    host: undefined,
    get buffered() {
      return channel.bufferedAmount
    },
    attach({ frame, low, closed }) {
      channel.bufferedAmountLowThreshold = LOW
      channel.onbufferedamountlow = low
      channel.onclose = closed
      peer.onconnectionstatechange = () => {
        if (peer.connectionState === 'failed' || peer.connectionState === 'closed') closed()
      }
      channel.onmessage = ({ data }) => frame(typeof data === 'string' ? data : new Uint8Array(data))
    },
    send(frame) {
      if (channel.readyState === 'open') channel.send(frame)
    },
    close: () => peer.close(),
  }
}

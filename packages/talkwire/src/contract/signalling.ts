/** What two sides call each other by before they have a data channel: docs/transports/webrtc.md. */
import { isSignal, type Signal } from '../transports/webrtc-signals.js'
import { contract, rpc, stream } from './contract.js'
import type { StandardSchema } from './standard-schema.js'

const signal: StandardSchema<Signal, Signal> = {
  '~standard': {
    version: 1,
    vendor: 'talkwire',
    validate: (value) => (isSignal(value) ? { value } : { issues: [{ message: 'no description and no candidate of WebRTC' }] }),
  },
}

/**
 * `meet` is called by who offers: it sends an offer, then candidates; an answer and candidates come. Whoever relays passes both streams
 * on. It goes on while the two have their channel.
 */
export const signalling = contract('signalling/1', { meet: rpc({ input: stream(signal), output: stream(signal) }) })

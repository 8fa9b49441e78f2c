/** The suites that every transport, codec and protocol passes, ours and anybody's. See docs/compliance.md. */
export { testTransport, type Stage, type Test, type TransportSuite } from './transport.js'
export { testLock, type Held, type LockHolder, type LockSuite, type LockTraits, type LockUnderTest } from './lock.js'
export { testFairPair, testLockPair, type LockPairSuite } from './lock-pairs.js'
export { playFarEnd } from './ends.js'
export { testCodec, type CodecSuite, type InvalidPayload, type RawWriter } from './codec.js'
export { testDialect, type DialectSuite } from './dialect.js'
export { testErrors, testProtocol, type ProtocolSuite } from './protocol.js'
export { testSession, type SessionSuite } from './session.js'

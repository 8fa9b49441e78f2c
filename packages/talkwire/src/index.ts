/** Talkwire: two processes call each other's functions over the fastest wire both have. */
export { TalkwireError, type Code, type Outcome, type TalkwireErrorOptions } from './error.js'
export * from './contract/contract.js'
export {
  bridge,
  compareContracts,
  contractHash,
  discover,
  find,
  fromJsonSchema,
  fromOpenApi,
  fromOpenRpc,
  jsonSchema,
  list,
  openRpc,
  speaksForeign,
} from './on-demand.js'
export type { ContractDescription, JsonSchema } from './contract/json-schema.js'
export type { OpenRpcDocument } from './contract/openrpc.js'
export { signalling } from './contract/signalling.js'
export type { Change } from './contract/compare.js'
export { verdictOf, type Verdict } from './contract/verdict.js'
export type { StandardSchema, InputOf, OutputOf } from './contract/standard-schema.js'
export { ndarray, shapeOf, type NdArray, type TypedArray, type DType } from './codecs/codec.js'
export { Descriptor, collectedDescriptors, fd } from './descriptor.js'
export { serve, type ServeOptions, type RunningService } from './serve.js'
export type { Bridge, BridgeOptions } from './bridge.js'
export type { Balance, Directory } from './balance.js'
export { checkDialectCalls } from './abilities.js'
export type { DiscoverOptions } from './discover.js'
export { connect, implement, sessionOf, withOptions, type Command, type ConnectOptions, type Implementation } from './connect.js'
export { ref, type Ref, type ReferenceReport } from './session/references.js'
export { context } from './session/incoming.js'
export { defaultLimits, type Limits } from './session/limits.js'
export type { ServerCall, ServerInterceptor, SessionStats } from './session/session.js'
export type { ClientCall, ClientInterceptor, ConnectionChange, ReconnectOptions } from './session/link.js'
export type { Entry } from './discovery/names.js'
export type { Peer } from './transports/transport.js'

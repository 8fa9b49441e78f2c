/**
 * gRPC: `grpc://127.0.0.1:50051`, `grpcs:` over TLS, `grpc+unix:bank`. The same port answers gRPC-Web and Connect, by content type.
 * docs/protocols/grpc.md.
 */
import type { Contract } from '../contract/contract.js'
import { TalkwireError } from '../error.js'
import type { Dialect, DialectTraits } from './dialect.js'

export const traits: DialectTraits = {
  inputStream: true,
  outputStream: true,
  duplex: true,
  events: true,
  oneway: true,
  progress: false,
  deadline: true,
  metadata: true,
  cancellation: true,
  untyped: false,
  crossHost: true,
}

/** The library is loaded with what uses it. */
export async function using<T>(scheme: string, load: () => Promise<T>): Promise<T> {
  try {
    return await load()
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw cause
    throw new TalkwireError('MISSING_PACKAGE', `${scheme}: needs the package @bufbuild/protobuf; run npm install @bufbuild/protobuf`, {
      cause,
    })
  }
}

/** Throws UNSUPPORTED. */
export function needsContract(scheme: string): never {
  throw new TalkwireError('UNSUPPORTED', `${scheme}: is called by a contract: its bytes do not say what they are; pass one to connect`)
}

const dialect = (scheme: string, secure: boolean, local: boolean): Dialect => ({
  scheme,
  speaks: 'calls',
  ...(!local && { tokens: true as const }),
  traits: local ? { ...traits, crossHost: false } : traits,
  async listen(address, service, admit, options) {
    const { serveGrpc } = await using(scheme, () => import('./grpc-server.js'))
    return serveGrpc(address, secure, service, admit, options)
  },
  async guest(address, service, admit, options) {
    const { grpcGuest } = await using(scheme, () => import('./grpc-server.js'))
    return grpcGuest(address, secure, service, admit, options)
  },
  async site(service, options) {
    const { grpcOverHttp } = await using(scheme, () => import('./grpc-server.js'))
    return grpcOverHttp(service, options)
  },
  async connect(address, options) {
    if (!options.contract) needsContract(scheme)
    const { connectGrpc } = await using(scheme, () => import('./grpc-client.js'))
    return connectGrpc(address, secure, options)
  },
  async discover(address, options) {
    const { discoverGrpc } = await using(scheme, () => import('./grpc-discover.js'))
    return discoverGrpc(address, secure, options)
  },
})

export const grpc = dialect('grpc', false, false)
export const grpcs = dialect('grpcs', true, false)
export const grpcUnix = dialect('grpc+unix', false, true)

/** The `.proto` of a contract. Rejects with UNSUPPORTED for what protobuf has no word for, MISSING_PACKAGE. */
export async function protoOf(contract: Contract): Promise<string> {
  const { fileOf } = await import('./protobuf-schema.js')
  const { protoText } = await using('grpc', () => import('./protobuf-text.js'))
  return protoText(await fileOf(contract))
}

/** The same as a `google.protobuf.FileDescriptorSet`, for tools that take one. Rejects as `protoOf`. */
export async function descriptorSetOf(contract: Contract): Promise<Uint8Array> {
  const { fileOf } = await import('./protobuf-schema.js')
  const { descriptorSet } = await using('grpc', () => import('./protobuf-descriptor.js'))
  return descriptorSet(await fileOf(contract))
}

/**
 * The contract of a service in a `.proto` (its text; it needs the package protobufjs), or in a `google.protobuf.FileDescriptorSet`.
 * Its methods are called `sayHello` for `SayHello`, fields as in protobuf's JSON, 64 bits are bigints. `service`: which, where there are
 * several. `imports`: the texts of files that it imports, by their path there; those of `google/protobuf/` are known.
 * Rejects with TypeError for what is no `.proto`, UNSUPPORTED, MISSING_PACKAGE.
 */
export async function protoContract(
  source: string | Uint8Array,
  { service, imports = {} }: { readonly service?: string; readonly imports?: Readonly<Record<string, string>> } = {},
): Promise<Contract> {
  const { contractOf, readDescriptorSet } = await using('grpc', () => import('./protobuf-contract.js'))
  if (typeof source !== 'string') return contractOf(readDescriptorSet(source), service)
  const { parseProto } = await using('grpc', () => import('./protobuf-parse.js'))
  return contractOf(readDescriptorSet(await parseProto(source, imports)), service)
}

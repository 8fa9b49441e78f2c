/** What a gRPC server says of itself by reflection, as a contract. */
import { fromBinary } from '@bufbuild/protobuf'
import { FileDescriptorProtoSchema, type FileDescriptorProto } from '@bufbuild/protobuf/wkt'
import type { Contract } from '../contract/contract.js'
import { TalkwireError } from '../error.js'
import type { DialectDiscoverOptions } from './dialect.js'
import type { ConnectionBase } from '../transports/transport.js'
import type { Asked } from './grpc-ask.js'
import { openCallee } from './grpc-client.js'
import { REFLECT, reflectionFiles } from './grpc-reflection.js'
import type { File } from './protobuf-model.js'
import { contractOf } from './protobuf-contract.js'

interface Answer {
  readonly file_descriptor_response?: { readonly file_descriptor_proto: readonly Uint8Array[] }
  readonly list_services_response?: { readonly service: readonly { readonly name: string }[] }
  readonly error_response?: { readonly error_message: string }
}

/** Rejects as `Dialect.discover`. */
export async function discoverGrpc(address: string, secure: boolean, options: DialectDiscoverOptions): Promise<Contract> {
  return discoverBy(address, await openCallee(address, secure, options))
}

/** The same over an open connection, which it closes. */
export async function discoverBy(
  address: string,
  { connection, callee }: { connection: ConnectionBase; callee: Asked },
): Promise<Contract> {
  try {
    const { file, names } = await list(callee, address)
    const services = names.filter((name) => !name.startsWith('grpc.'))
    if (services.length !== 1)
      throw new TalkwireError(
        'UNSUPPORTED',
        services.length === 0
          ? `${address} serves nothing but health and reflection`
          : `${address} has several services: ${services.join(', ')}; take the .proto of one: protoContract(text, { service })`,
      )
    return await contractOf(await filesOf(callee, file, services[0]!), services[0])
  } finally {
    await connection.close()
  }
}

async function list(callee: Asked, address: string): Promise<{ file: File; names: string[] }> {
  for (const file of reflectionFiles) {
    try {
      const { list_services_response: told } = await ask(callee, file, { host: '', list_services: '' })
      return { file, names: (told?.service ?? []).map(({ name }) => name) }
    } catch (reason) {
      if (!(reason instanceof TalkwireError) || reason.code !== 'METHOD_NOT_FOUND') throw reason
    }
  }
  throw new TalkwireError('UNSUPPORTED', `${address} has no reflection; take its .proto: protoContract(text)`)
}

/** The file of a service, and those that it needs: some servers give them at once, some one by one. */
async function filesOf(callee: Asked, reflection: File, service: string): Promise<FileDescriptorProto[]> {
  const files = new Map<string, FileDescriptorProto>()
  const add = async (request: object): Promise<void> => {
    const { file_descriptor_response: told, error_response: error } = await ask(callee, reflection, request)
    if (!told) throw new TalkwireError('UNSUPPORTED', `reflection does not tell what it has: ${error?.error_message ?? 'no answer'}`)
    for (const bytes of told.file_descriptor_proto) {
      const file = fromBinary(FileDescriptorProtoSchema, bytes)
      files.set(file.name, file)
    }
  }
  await add({ host: '', file_containing_symbol: service })
  for (const file of files.values())
    for (const path of file.dependency) if (!files.has(path)) await add({ host: '', file_by_filename: path })
  return [...files.values()]
}

function ask(callee: Asked, file: File, request: object): Promise<Answer> {
  return new Promise((resolve, reject) => {
    let answer: Answer = {}
    const call = callee.start(file, REFLECT, undefined, undefined, {
      result: () => resolve(answer),
      error: reject,
      item(value, size) {
        answer = value as Answer
        call.grant(size)
        return size
      },
    })
    call.input(request, 0)
    call.endInput()
  })
}

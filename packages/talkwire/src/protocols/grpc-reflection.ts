/** grpc.reflection.v1 and v1alpha: what a server serves, told to whoever asks. https://github.com/grpc/grpc/blob/master/doc/server-reflection.md */
import { field, ofMessage, scalar, type Field, type File, type Message } from './protobuf-model.js'

const text = (name: string, number: number, oneof?: string): Field =>
  oneof === undefined
    ? field(name, number, scalar('string'), 'implicit', { absent: '' })
    : field(name, number, scalar('string'), 'optional', { oneof })

function reflectionFile(version: 'v1' | 'v1alpha'): File {
  const of = `grpc.reflection.${version}`
  const message = (name: string, fields: Field[]): Message => ({ name: `${of}.${name}`, shape: 'object', fields })
  const ask = 'message_request'
  const tell = 'message_response'
  const extension = message('ExtensionRequest', [text('containing_type', 1), field('extension_number', 2, scalar('int32'))])
  const request = message('ServerReflectionRequest', [
    text('host', 1),
    text('file_by_filename', 3, ask),
    text('file_containing_symbol', 4, ask),
    field('file_containing_extension', 5, ofMessage(extension), 'optional', { oneof: ask }),
    text('all_extension_numbers_of_type', 6, ask),
    text('list_services', 7, ask),
  ])
  const files = message('FileDescriptorResponse', [field('file_descriptor_proto', 1, scalar('bytes'), 'repeated')])
  const numbers = message('ExtensionNumberResponse', [text('base_type_name', 1), field('extension_number', 2, scalar('int32'), 'repeated')])
  const service = message('ServiceResponse', [text('name', 1)])
  const services = message('ListServiceResponse', [field('service', 1, ofMessage(service), 'repeated')])
  const error = message('ErrorResponse', [field('error_code', 1, scalar('int32')), text('error_message', 2)])
  const response = message('ServerReflectionResponse', [
    text('valid_host', 1),
    field('original_request', 2, ofMessage(request), 'optional'),
    field('file_descriptor_response', 4, ofMessage(files), 'optional', { oneof: tell }),
    field('all_extension_numbers_response', 5, ofMessage(numbers), 'optional', { oneof: tell }),
    field('list_services_response', 6, ofMessage(services), 'optional', { oneof: tell }),
    field('error_response', 7, ofMessage(error), 'optional', { oneof: tell }),
  ])
  return {
    path: `grpc/reflection/${version}/reflection.proto`,
    package: of,
    service: 'ServerReflection',
    methods: [
      {
        name: 'ServerReflectionInfo',
        member: REFLECT,
        input: request,
        inputStream: true,
        output: response,
        outputStream: true,
        idempotent: false,
        errors: new Map(),
      },
    ],
    messages: [request, extension, response, files, numbers, services, service, error],
    enums: [],
  }
}

export const REFLECT = 'reflect'
export const reflectionFiles: readonly File[] = [reflectionFile('v1'), reflectionFile('v1alpha')]

export interface ReflectionRequest {
  readonly host: string
  readonly file_by_filename?: string
  readonly file_containing_symbol?: string
  readonly file_containing_extension?: object
  readonly all_extension_numbers_of_type?: string
  readonly list_services?: string
}

/** What is known of the files that a server tells of. */
export interface Known {
  readonly services: readonly string[]
  /** A descriptor and all that it needs; undefined: there is no such file, or no file that has such a name. */
  byPath(path: string): Uint8Array[] | undefined
  bySymbol(name: string): Uint8Array[] | undefined
}

const NOT_FOUND = 5

/** The answer to one question. */
export function reflect(request: ReflectionRequest, known: Known): unknown {
  const answer = { valid_host: request.host, original_request: request }
  if (request.list_services !== undefined)
    return { ...answer, list_services_response: { service: known.services.map((name) => ({ name })) } }
  const { file_by_filename: path, file_containing_symbol: symbol } = request
  const files = path !== undefined ? known.byPath(path) : symbol !== undefined ? known.bySymbol(symbol) : undefined
  if (files) return { ...answer, file_descriptor_response: { file_descriptor_proto: files } }
  const what = path ?? symbol ?? 'extensions'
  return { ...answer, error_response: { error_code: NOT_FOUND, error_message: `there is no ${what.slice(0, 200)} here` } }
}

/** The descriptors of files, made when they are first asked for. */
export async function knownFiles(files: readonly File[], services: readonly string[]): Promise<Known> {
  const { descriptorBytes, descriptorsOf, symbolsOf } = await import('./protobuf-descriptor.js')
  const all = new Map(files.flatMap((file) => [...descriptorsOf(file)]))
  const owners = new Map(files.flatMap((file) => symbolsOf(file).map((symbol) => [symbol, file.path])))
  const byPath = (path: string): Uint8Array[] | undefined => {
    const own = all.get(path)
    return own && [own, ...own.dependency.flatMap((each) => all.get(each) ?? [])].map(descriptorBytes)
  }
  return {
    services,
    byPath,
    bySymbol(name) {
      const path =
        owners.get(name) ?? [...all.values()].find((file) => file.messageType.some((each) => `${file.package}.${each.name}` === name))?.name
      return path === undefined ? undefined : byPath(path)
    },
  }
}

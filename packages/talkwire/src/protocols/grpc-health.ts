/** grpc.health.v1: whether a service is served. https://github.com/grpc/grpc/blob/master/doc/health-checking.md */
import { TalkwireError } from '../error.js'
import { field, scalar, type Enum, type File, type Message } from './protobuf-model.js'

const PACKAGE = 'grpc.health.v1'
const request: Message = {
  name: `${PACKAGE}.HealthCheckRequest`,
  shape: 'object',
  fields: [field('service', 1, scalar('string'), 'implicit', { absent: '' })],
}
const status: Enum = {
  name: `${PACKAGE}.HealthCheckResponse.ServingStatus`,
  values: [
    ['UNKNOWN', 0],
    ['SERVING', 1],
    ['NOT_SERVING', 2],
    ['SERVICE_UNKNOWN', 3],
  ],
}
const response: Message = {
  name: `${PACKAGE}.HealthCheckResponse`,
  shape: 'object',
  fields: [field('status', 1, { kind: 'enum', enum: status })],
}

export const HEALTH = 'check'
export const WATCH = 'watch'
/** The code with which our own server says that it does not serve what is asked for. */
export const NOT_SERVED = 'NOT_SERVED'

const method = (name: string, member: string, outputStream: boolean) => ({
  name,
  member,
  input: request,
  inputStream: false,
  output: response,
  outputStream,
  idempotent: !outputStream,
  errors: new Map(),
})

export const healthFile: File = {
  path: 'grpc/health/v1/health.proto',
  package: PACKAGE,
  service: 'Health',
  methods: [method('Check', HEALTH, false), method('Watch', WATCH, true)],
  messages: [request, response],
  enums: [status],
}

interface Watched {
  readonly service: string
}

/** Throws NOT_SERVED for another service than those; '' is the server itself. */
export function check({ service }: Watched, services: readonly string[]): { status: string } {
  if (service !== '' && !services.includes(service))
    throw new TalkwireError(NOT_SERVED, `${JSON.stringify(service.slice(0, 200))} is not served here; ${services.join(', ')} are`)
  return { status: 'SERVING' }
}

/** A service that is not there may still come: for who waits that is no error. */
export const watched = ({ service }: Watched, services: readonly string[]): { status: string } => ({
  status: service === '' || services.includes(service) ? 'SERVING' : 'SERVICE_UNKNOWN',
})

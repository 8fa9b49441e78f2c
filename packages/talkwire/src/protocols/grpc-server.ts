/** A service of ours as gRPC, gRPC-Web and Connect: which path is which method, who hears of events, health and reflection. */
import { TalkwireError } from '../error.js'
import { nearest } from '../suggest.js'
import { inputOf, type Service } from '../session/service.js'
import type { Listener } from '../transports/transport.js'
import type { Admit, DialectServerOptions, OpenCall } from './dialect.js'
import { ServerCall, type Route } from './grpc-call.js'
import { check, HEALTH, healthFile, watched } from './grpc-health.js'
import { knownFiles, reflect, reflectionFiles, type Known, type ReflectionRequest } from './grpc-reflection.js'
import { idiomOf, TYPES } from './grpc-idioms.js'
import type { Guest } from '../transports/one-port.js'
import { guestGrpc, httpSite, listenGrpc, type Exchange, type GrpcSite } from './grpc-site.js'
import type { Site } from './http-server.js'
import { fullName, pathOf, type File } from './protobuf-model.js'
import { fileOf } from './protobuf-schema.js'

/** Rejects as `Dialect.listen`. */
export async function serveGrpc(
  address: string,
  secure: boolean,
  service: Service,
  admit: Admit,
  options: DialectServerOptions,
): Promise<Listener> {
  const file = await fileOf(service.contract!)
  return listenGrpc(address, secure, admit, createSite(service, file, options), options)
}

/** For one listener of many. Rejects with UNSUPPORTED. */
export async function grpcGuest(
  address: string,
  secure: boolean,
  service: Service,
  admit: Admit,
  options: DialectServerOptions,
): Promise<Guest> {
  const file = await fileOf(service.contract!)
  return guestGrpc(address, secure, admit, createSite(service, file, options), options)
}

/** gRPC-Web and Connect over HTTP/1.1 on such a listener. Rejects with UNSUPPORTED. */
export const grpcOverHttp = async (service: Service, options: DialectServerOptions): Promise<Site> =>
  httpSite(createSite(service, await fileOf(service.contract!), options))

function createSite(service: Service, file: File, options: DialectServerOptions): GrpcSite {
  const events = new Events()
  const routes = new Map([...routesOf(service, file, events), ...builtin(file, events)])
  return {
    claims: (path) => routes.has(path),
    handle(exchange) {
      const idiom = idiomOf(exchange)
      if (!idiom)
        return exchange.only(415, { 'accept-post': TYPES, 'content-type': 'text/plain' }, Buffer.from(`content types here: ${TYPES}\n`))
      if (exchange.method !== 'POST' && exchange.method !== 'GET') return exchange.only(405, { allow: 'POST' })
      const route = routes.get(exchange.path)
      if (!route) {
        idiom.fail(exchange, notFound(exchange.path, file))
        return void exchange.body.resume()
      }
      new ServerCall(exchange, idiom, route, options).run()
    },
    refuse(exchange, { error, status }) {
      const idiom = idiomOf(exchange)
      if (idiom && exchange.headers['content-type'] !== undefined) idiom.fail(exchange, error)
      else exchange.only(status, { 'content-type': 'text/plain' }, Buffer.from(`${error.message}\n`))
      exchange.body.resume()
    },
    onEvent: (connection, event, payload) => events.tell(connection, event, payload),
    closing: (connection) => events.end(connection),
  }
}

function routesOf(service: Service, file: File, events: Events): Map<string, Route> {
  const routes = new Map<string, Route>()
  for (const method of file.methods) {
    const own = service.methods.get(method.member)
    routes.set(
      pathOf(file, method.name),
      own
        ? { method, oneway: own.oneway, open: ({ caller }, params, meta, answer) => caller.call(method.member, params, meta, answer) }
        : { method, open: (exchange, _params, _meta, answer) => events.add(exchange, method.member, answer) },
    )
  }
  return routes
}

const nothing = { cancel() {}, grant() {}, input: () => 0, endInput() {} }

/** Health and reflection. No session knows of them: they ask for no handler. */
function builtin(file: File, events: Events): Map<string, Route> {
  const services = [file, healthFile, ...reflectionFiles].map(fullName)
  const routes = new Map<string, Route>()
  for (const method of healthFile.methods)
    routes.set(pathOf(healthFile, method.name), {
      method,
      open({ connection }, params, _meta, answer) {
        const asked = inputOf(params) as { service: string }
        if (method.member === HEALTH) answer.result(check(asked, services))
        else {
          answer.push(watched(asked, services))
          return { ...nothing, cancel: events.hold(connection, answer) }
        }
        return nothing
      },
    })
  let known: Promise<Known> | undefined
  for (const each of reflectionFiles) {
    const [method] = each.methods
    const files = (): Promise<Known> => (known ??= knownFiles([file, healthFile, ...reflectionFiles], services))
    routes.set(pathOf(each, method!.name), {
      method: method!,
      open: ({ connection }, _params, _meta, answer) => reflecting(files, answer, events.hold(connection, answer)),
    })
  }
  return routes
}

/** Answers question by question. */
function reflecting(files: () => Promise<Known>, answer: ServerCall, release: () => void): OpenCall {
  let before = Promise.resolve()
  const then = (action: () => void | Promise<void>): void => {
    before = before.then(action).catch((reason: unknown) => answer.error(TalkwireError.from(reason, 'INTERNAL', 'ran')))
  }
  return {
    ...nothing,
    cancel: release,
    input(request, size) {
      then(async () => {
        answer.push(reflect(request as ReflectionRequest, await files()))
        answer.grantInput(size)
      })
      return size
    },
    endInput(error) {
      then(() => {
        release()
        answer.finish(error)
      })
    },
  }
}

function notFound(path: string, file: File): TalkwireError {
  const asked = path.slice(0, 200)
  const near = nearest(
    asked,
    file.methods.map(({ name }) => pathOf(file, name)),
  )
  const hint = near === undefined ? `this is ${fullName(file)}, and` : `did you mean "${near}"?`
  return new TalkwireError('METHOD_NOT_FOUND', `there is nothing at ${JSON.stringify(asked)}; ${hint} reflection tells its methods`)
}

/** No event is called so. */
const HELD = ''

/** Calls that stay open to be told of events, by connection. */
class Events {
  private readonly all = new WeakMap<object, Map<string, Set<ServerCall>>>()

  add({ connection, caller }: Exchange, event: string, call: ServerCall): OpenCall {
    const listeners = this.all.get(connection) ?? new Map<string, Set<ServerCall>>()
    this.all.set(connection, listeners)
    const calls = listeners.get(event) ?? new Set()
    listeners.set(event, calls)
    let over = false
    caller.subscribe(event).then(
      () => {
        if (over) return
        calls.add(call)
        call.open()
      },
      (reason: unknown) => call.error(TalkwireError.from(reason)),
    )
    return {
      cancel() {
        over = true
        calls.delete(call)
        if (calls.size === 0) caller.unsubscribe(event)
      },
      grant() {},
      input: () => 0,
      endInput() {},
    }
  }

  /** A call that lasts until its connection ends. Returns what forgets it. */
  hold(connection: object, call: ServerCall): () => void {
    const listeners = this.all.get(connection) ?? new Map<string, Set<ServerCall>>()
    this.all.set(connection, listeners)
    const calls = listeners.get(HELD) ?? new Set()
    listeners.set(HELD, calls.add(call))
    return () => void calls.delete(call)
  }

  /** What a listener was too slow for is left out: nothing in gRPC says so. */
  tell(connection: object, event: string, payload: unknown): boolean {
    let more = true
    for (const call of this.all.get(connection)?.get(event) ?? []) more = call.push(inputOf(payload)) && more
    return more
  }

  end(connection: object): void {
    for (const calls of this.all.get(connection)?.values() ?? []) for (const call of calls) call.finish()
    this.all.delete(connection)
  }
}

/** What one side of a connection serves: a contract with its handlers, or plain functions. */
import { isStream, validateMethodName, type Contract, type Functions, type Rpc } from '../contract/contract.js'
import type { StandardSchema } from '../contract/standard-schema.js'
import { TalkwireError } from '../error.js'
import { asInput, asParams, isPlain } from './params.js'

type Handler = (...args: any[]) => unknown

export interface Method {
  readonly name: string
  readonly handler: Handler
  /** The function as it was given: its text has the names of its parameters. */
  readonly source?: Handler
  /** True: arguments by position, as the function takes them. False: `(input, ctx)`. */
  readonly positional: boolean
  readonly inputStream: boolean
  readonly outputStream: boolean
  readonly oneway: boolean
  /** Of the input, or of each element of the input stream. */
  readonly input: StandardSchema | undefined
  /** Names of the input's members, for callers that pass them by position. */
  readonly parameters?: readonly string[]
  /** Undefined: any declared error may pass. */
  readonly errors: ReadonlySet<string> | undefined
  /** One of the session's own: no interceptor sees it, and its errors are for the caller. */
  readonly builtin?: true
}

export interface Service {
  readonly name: string
  readonly contract: Contract | undefined
  /** A Map: a name from the wire never reaches a prototype. */
  readonly methods: ReadonlyMap<string, Method>
  readonly events: ReadonlySet<string> | undefined
}

/** Throws TypeError for missing or excess handlers. */
export function contractService(contract: Contract, handlers: object): Service {
  const methods = new Map<string, Method>()
  const events = new Set<string>()
  for (const [name, member] of Object.entries(contract.members)) {
    if (member.kind === 'event') events.add(name)
    else methods.set(name, contractMethod(contract, name, member, handlers))
  }
  if (Object.getPrototypeOf(handlers) === Object.prototype) {
    for (const name of Object.keys(handlers))
      if (!methods.has(name)) throw new TypeError(`${contract.id} has no method "${name}"; add it to the contract or remove the handler`)
  }
  return { name: contract.name, contract, methods, events }
}

function contractMethod(contract: Contract, name: string, member: Rpc, handlers: object): Method {
  const { input, output, errors, oneway, parameters } = member
  const handler = (handlers as Record<string, unknown>)[name]
  if (typeof handler !== 'function') throw new TypeError(`there is no handler for "${name}" of ${contract.id}; add a function of that name`)
  const inputStream = isStream(input)
  return {
    name,
    handler: (handler as Handler).bind(handlers),
    positional: false,
    inputStream,
    outputStream: isStream(output),
    oneway,
    input: isStream(input) ? input.item : input,
    errors: new Set(Object.keys(errors)),
    ...(parameters && { parameters }),
  }
}

const generators = new Set(['GeneratorFunction', 'AsyncGeneratorFunction'])

/** Own functions of an object, or the methods of an instance of a class. Throws TypeError when there are none. */
export function functionsService(name: string, functions: Functions | object): Service {
  if (typeof functions !== 'object' || functions === null)
    throw new TypeError(`"${name}" serves an object of functions, such as { add: (a, b) => a + b }, not a ${typeof functions}`)
  const methods = new Map<string, Method>()
  for (const [method, handler] of functionsOf(functions)) {
    validateMethodName(method)
    methods.set(method, {
      name: method,
      handler: handler.bind(functions),
      source: handler,
      positional: true,
      inputStream: false,
      outputStream: generators.has(handler.constructor.name),
      oneway: false,
      input: undefined,
      errors: undefined,
    })
  }
  if (methods.size === 0) throw new TypeError(`"${name}" serves no function; pass an object of functions`)
  return { name, contract: undefined, methods, events: undefined }
}

function* functionsOf(object: object): Generator<[string, Handler]> {
  const seen = new Set(['constructor'])
  for (let at: object | null = object; at && at !== Object.prototype; at = Object.getPrototypeOf(at) as object | null) {
    for (const name of Object.getOwnPropertyNames(at)) {
      const value: unknown = Object.getOwnPropertyDescriptor(at, name)?.value
      if (typeof value !== 'function' || seen.has(name) || name.startsWith('_')) continue
      seen.add(name)
      yield [name, value as Handler]
    }
  }
}

/** The input of a contract's method from JSON-RPC params: by name it is the object itself, by position its only element, or its members by their names. */
export function inputOf(params: unknown, parameters?: readonly string[]): unknown {
  if (parameters && Array.isArray(params) && !isWhole(params, parameters)) return byName(params, parameters)
  return asInput(params)
}

const isParameter = (key: string, parameters: readonly string[]): boolean =>
  parameters.includes(key) || parameters.at(-1) === `${REST}${key}`

/** A caller that knows no parameters passes the input as the only one. An empty object is more likely a parameter. */
function isWhole(params: readonly unknown[], parameters: readonly string[]): boolean {
  if (params.length !== 1 || !isPlain(params[0])) return false
  const keys = Object.keys(params[0])
  return keys.length > 0 && keys.every((key) => isParameter(key, parameters))
}

const REST = '...'

/** `...rest`, the last of them, takes all that are left. Others that are too many stay visible, so that validation refuses them. */
function byName(params: readonly unknown[], parameters: readonly string[]): Record<string, unknown> {
  const input: Record<string, unknown> = {}
  for (const [at, value] of params.entries()) {
    const name = parameters[at] ?? `parameter ${at + 1}`
    if (name.startsWith(REST)) return { ...input, [name.slice(REST.length)]: params.slice(at) }
    if (value !== undefined) input[name] = value
  }
  return input
}

/** Params that carry one input; its members one after the other for who takes them by position. */
export function paramsOf(input: unknown, parameters?: readonly string[]): unknown {
  if (parameters) return isPlain(input) ? inOrder(input, parameters) : input === undefined ? [] : [input]
  return asParams(input)
}

/** Without those at the end that are missing. Throws TypeError for a member that is no parameter, and for a rest that is no list. */
function inOrder(input: Readonly<Record<string, unknown>>, parameters: readonly string[]): unknown[] {
  for (const key of Object.keys(input))
    if (!isParameter(key, parameters) && input[key] !== undefined)
      throw new TypeError(`"${key}" is no parameter; there are ${parameters.join(', ')}`)
  const list: unknown[] = []
  for (const name of parameters) {
    const rest = name.startsWith(REST) ? name.slice(REST.length) : undefined
    const value = Object.hasOwn(input, rest ?? name) ? input[rest ?? name] : undefined
    if (rest === undefined || value === undefined) list.push(value)
    else if (Array.isArray(value)) return [...list, ...(value as unknown[])]
    else throw new TypeError(`"${rest}" is a list: the parameters that are left`)
  }
  while (list.length > 0 && list.at(-1) === undefined) list.pop()
  return list
}

export const notFound = (service: Service | undefined, method: string): TalkwireError =>
  new TalkwireError(
    'METHOD_NOT_FOUND',
    `${service ? `"${service.name}"` : 'this side'} has no method ${JSON.stringify(method.slice(0, 128))}${suggestion(service, method)}`,
  )

function suggestion(service: Service | undefined, method: string): string {
  const lower = method.toLowerCase()
  const near = [...(service?.methods.keys() ?? [])].find(
    (name) => name.toLowerCase() === lower || name.startsWith(method) || method.startsWith(name),
  )
  return near && method.length > 2 ? `; did you mean "${near}"?` : ''
}

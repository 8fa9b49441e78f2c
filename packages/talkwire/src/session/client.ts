/** The caller's typed view of a service. */
import { isStream, type CallOptions, type Listener, type Rpc } from '../contract/contract.js'
import type { CallPath, ClientCall } from './link.js'
import { once } from './once.js'
import { paramsOf } from './service.js'

const links = new WeakMap<object, CallPath>()

/** The link under a client made by `connect`. Throws TypeError for anything else. */
export function linkOf(client: object): CallPath {
  const link = links.get(client)
  if (!link) throw new TypeError('this is no client made by connect()')
  return link
}

/** The typed view: an object with one function for each method. `defaults` go into every call. */
export function createClient(link: CallPath, defaults?: CallOptions): object {
  const { contract } = link.options
  const client: Record<PropertyKey, unknown> = Object.create(null)
  client['on'] = (event: string, listener: Listener<any>) => link.on(event, listener)
  client['once'] = (event: string, options?: CallOptions) => once(link, event, merge(defaults, options))
  client['close'] = () => link.close()
  client[Symbol.asyncDispose] = () => link.close()
  Object.defineProperty(client, 'closed', { get: () => link.ended })
  if (contract) {
    for (const [name, member] of Object.entries(contract.members))
      if (member.kind === 'rpc') client[name] = contractMethod(link, name, member, defaults)
  }
  const view = contract
    ? client
    : new Proxy(client, {
        get: (target, name) =>
          name in target || typeof name === 'symbol' || name === 'then'
            ? target[name]
            : (target[name] = functionMethod(link, name, defaults)),
      })
  links.set(view, link)
  return view
}

function contractMethod(
  link: CallPath,
  name: string,
  { input, output, idempotent, oneway, parameters }: Rpc,
  defaults: CallOptions | undefined,
): unknown {
  const schema = isStream(output) ? output.item : output
  const uploads = isStream(input)
  const plain = link.options.interceptors.length === 0
  if (oneway && plain) return (value: unknown) => link.notify(name, paramsOf(value, parameters))
  if (oneway) return intercepted(link, name, defaults, ({ input: value }) => link.notify(name, paramsOf(value, parameters)))
  if (isStream(output))
    return intercepted(link, name, defaults, ({ input: value, options }) =>
      link.stream(
        name,
        uploads ? [] : paramsOf(value, parameters),
        uploads ? (value as AsyncIterable<unknown>) : undefined,
        options,
        schema,
      ),
    )
  if (uploads)
    return intercepted(link, name, defaults, ({ input: value, options }) =>
      link.upload(name, value as AsyncIterable<unknown>, options, schema),
    )
  if (!plain)
    return intercepted(link, name, defaults, ({ input: value, options }) =>
      link.unary(name, paramsOf(value, parameters), options, schema, idempotent),
    )
  return (value: unknown, options: CallOptions | undefined = defaults) =>
    link.unary(name, paramsOf(value, parameters), merge(defaults, options), schema, idempotent)
}

function functionMethod(link: CallPath, name: string, defaults: CallOptions | undefined): unknown {
  const run = ({ input, options }: ClientCall): unknown =>
    link.session?.peerStreams?.has(name)
      ? link.stream(name, input, undefined, options, undefined)
      : link.unary(name, input, options, undefined, false)
  if (link.options.interceptors.length > 0) {
    const chain = chained(link, run)
    return (...args: unknown[]) => chain({ method: name, input: args, options: defaults })
  }
  return (...args: unknown[]) => run({ method: name, input: args, options: defaults })
}

function intercepted(link: CallPath, method: string, defaults: CallOptions | undefined, run: (call: ClientCall) => unknown): unknown {
  const chain = chained(link, run)
  return (input: unknown, options?: CallOptions) => chain({ method, input, options: merge(defaults, options) })
}

function chained(link: CallPath, run: (call: ClientCall) => unknown): (call: ClientCall) => unknown {
  return link.options.interceptors.reduceRight<(call: ClientCall) => unknown>((next, interceptor) => (call) => interceptor(call, next), run)
}

const merge = (defaults: CallOptions | undefined, options: CallOptions | undefined): CallOptions | undefined =>
  defaults === undefined || options === defaults ? options : { ...defaults, ...options }

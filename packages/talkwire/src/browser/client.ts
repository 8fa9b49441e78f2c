/** The caller's typed view of a service, in a page. */
import { isStream, type CallOptions, type Listener, type Rpc } from '../contract/contract.js'
import { TalkwireError } from '../error.js'
import { validateTimeout } from '../session/deadline.js'
import { after } from '../timers.js'
import type { ClientCall } from '../session/link.js'
import { asParams } from '../session/params.js'
import type { BrowserLink } from './link.js'

const links = new WeakMap<object, BrowserLink>()

/** The same client with options for every call: `withOptions(client, { timeout: 1000 }).add(2, 5)`. Closing either closes both. */
export function withOptions<T extends object>(client: T, options: CallOptions): T {
  const link = links.get(client)
  if (!link) throw new TypeError('this is no client made by connect()')
  return createClient(link, options) as T
}

export function createClient(link: BrowserLink, defaults?: CallOptions): object {
  const { contract, interceptors } = link.options
  const method = (name: string, member?: Rpc): unknown => {
    const chain = interceptors.reduceRight<(call: ClientCall) => unknown>(
      (next, interceptor) => (call) => interceptor(call, next),
      (call) => invoke(link, call, member),
    )
    if (!member) return (...input: unknown[]) => chain({ method: name, input, options: defaults })
    return (input: unknown, options?: CallOptions) =>
      chain({ method: name, input, options: defaults ? { ...defaults, ...options } : options })
  }
  const client = Object.create(null) as Record<PropertyKey, unknown>
  const close = (): Promise<void> => link.close()
  Object.assign(client, {
    on: (event: string, listener: Listener<any>) => link.on(event, listener),
    once: (event: string, options?: CallOptions) => once(link, event, { ...defaults, ...options }),
    close,
    [Symbol.asyncDispose]: close,
  })
  Object.defineProperty(client, 'closed', { get: () => link.ended })
  for (const [name, member] of Object.entries(contract?.members ?? {})) if (member.kind === 'rpc') client[name] = method(name, member)
  const view = contract
    ? client
    : new Proxy(client, {
        get: (target, name) =>
          name in target || typeof name === 'symbol' || name === 'then' ? target[name] : (target[name] = method(name)),
      })
  links.set(view, link)
  return view
}

/** Without a contract the input is the list of arguments, and the service has told which methods stream. */
function invoke(link: BrowserLink, { method, input, options }: ClientCall, member: Rpc | undefined): unknown {
  const output = member?.output
  const schema = isStream(output) ? output.item : output
  const uploads = isStream(member?.input)
  const params = uploads ? [] : member ? asParams(input) : input
  if (member?.oneway) return link.notify(method, params)
  const call = { method, params, input: uploads ? (input as AsyncIterable<unknown>) : undefined, options, schema }
  if (isStream(output) || link.session?.peerStreams?.has(method)) return link.stream(call)
  return link.call({ ...call, idempotent: member?.idempotent === true || options?.idempotent === true })
}

function once(link: BrowserLink, event: string, { signal, timeout }: CallOptions): Promise<unknown> {
  return new Promise((resolve, reject) => {
    validateTimeout(timeout)
    signal?.throwIfAborted()
    let over = (): void => {}
    const end = (settle: (value: unknown) => void, value: unknown): void => {
      over()
      settle(value)
    }
    const subscribing = link.on(event, (payload) => end(resolve, payload))
    const gone = (cause: TalkwireError | undefined): void =>
      end(reject, new TalkwireError('CONNECTION_CLOSED', 'the connection was closed', { cause }))
    const forget = link.onEnded(gone)
    const timer = after(timeout, () =>
      end(reject, new TalkwireError('DEADLINE_EXCEEDED', `no event "${event}" within ${timeout} ms; raise timeout`)),
    )
    const onAbort = (): void => end(reject, signal!.reason)
    signal?.addEventListener('abort', onAbort)
    over = () => {
      clearTimeout(timer)
      forget()
      signal?.removeEventListener('abort', onAbort)
      subscribing.then((off) => off()).catch(() => {})
    }
    subscribing.catch((reason: unknown) => end(reject, reason))
  })
}

/** Several instances of one service behind one client: docs/hub/hub.md. */
import { chooseAddress } from './choose.js'
import type { CallOptions, Listener, Unsubscribe } from './contract/contract.js'
import { TalkwireError } from './error.js'
import { lazily, until, type CallPath, type Link, type LinkOptions } from './session/link.js'
import type { Session } from './session/session.js'

/** `round-robin`: one after the other. `least-pending`: whoever has the fewest of our calls. `sticky`: the same until it is gone. */
export type Balance = 'round-robin' | 'least-pending' | 'sticky'

/** A running service, as its directory knows it. */
export interface Instance {
  readonly id: string
  /** Those that can be reached from here. */
  readonly addresses: readonly string[]
}

/** Who knows where services run: a hub. */
export interface Directory {
  /** Tells who is there, and again at each change. Resolves when it was told the first time. */
  follow(service: string, changed: (instances: readonly Instance[]) => void): Promise<{ close(): Promise<void> }>
}

export interface BalanceOptions extends Pick<LinkOptions, 'contract' | 'interceptors' | 'onError'> {
  readonly service: string
  readonly balance: Balance
  /** A link to one instance, that is not made again when it is lost. */
  reach(address: string): Promise<Link>
}

interface Place {
  readonly id: string
  readonly address: string
  link: Promise<Link> | undefined
  /** Calls of ours that it has not answered. */
  pending: number
  /** When it failed last, on the clock of performance.now(). */
  failed: number
}

interface Listening {
  readonly event: string
  readonly listener: Listener<any>
  readonly at: Map<Place, Promise<Unsubscribe>>
}

/** Milliseconds in which who failed is only asked when nobody else is there. */
const SHUNNED = 1_000
/** It did not run, or not there: another instance may be asked. */
const ELSEWHERE = new Set(['UNAVAILABLE', 'CONNECTION_LOST', 'CONNECTION_CLOSED', 'PEER_NOT_FOUND', 'PEER_EXITED'])

export class Balanced implements CallPath {
  private places: Place[] = []
  private turn = 0
  private stuck: Place | undefined
  private watching: { close(): Promise<void> } | undefined
  private closed = false
  private readonly listening = new Set<Listening>()
  private readonly endings = new Set<(cause: TalkwireError | undefined) => void>()
  private current: Session | undefined

  constructor(readonly options: BalanceOptions) {}

  /** Resolves when an instance has answered. Rejects with PEER_NOT_FOUND, or what the last one that was tried said. */
  async open(directory: Directory): Promise<this> {
    this.watching ??= await directory.follow(this.options.service, (instances) => this.update(instances))
    await this.somewhere(undefined, false, () => Promise.resolve())
    return this
  }

  /** The session of whoever was asked last. */
  get session(): Session | undefined {
    return this.current
  }

  get ended(): Promise<TalkwireError | undefined> {
    return new Promise((resolve) => this.onEnded(resolve))
  }

  onEnded(action: (cause: TalkwireError | undefined) => void): () => void {
    if (this.closed) action(undefined)
    else this.endings.add(action)
    return () => this.endings.delete(action)
  }

  unary(...[method, params, options, schema, idempotent]: Parameters<Link['unary']>): Promise<unknown> {
    const again = idempotent || options?.idempotent === true
    return this.somewhere(options, again, (link, left) => link.unary(method, params, left, schema, idempotent))
  }

  /** What was read cannot be sent twice: only connecting is tried elsewhere. */
  upload(...[method, input, options, schema]: Parameters<Link['upload']>): Promise<unknown> {
    return this.somewhere(options, false, (link, left, leave) => leave(link.upload(method, input, left, schema)))
  }

  stream(...[method, params, input, options, schema]: Parameters<Link['stream']>): AsyncIterableIterator<unknown> {
    return lazily(
      this.somewhere(options, false, (link, left, leave) =>
        leave(Promise.resolve(link.stream(method, params, input, left, schema))),
      ) as Promise<AsyncIterableIterator<unknown>>,
    )
  }

  notify(method: string, params: unknown): Promise<void> {
    return this.somewhere(undefined, false, (link) => link.notify(method, params)) as Promise<void>
  }

  /** At every instance, also at those that come later. */
  async on(event: string, listener: Listener<any>): Promise<Unsubscribe> {
    const wish: Listening = { event, listener, at: new Map() }
    this.listening.add(wish)
    const accepted = await Promise.allSettled(this.places.map((place) => this.listen(wish, place)))
    const failed = accepted.find((each) => each.status === 'rejected')
    if (failed && accepted.every((each) => each.status === 'rejected')) {
      this.listening.delete(wish)
      throw failed.reason
    }
    const off = async (): Promise<void> => {
      this.listening.delete(wish)
      await Promise.allSettled([...wish.at.values()].map(async (each) => (await each)()))
    }
    return Object.assign(off, { [Symbol.asyncDispose]: off })
  }

  async close(): Promise<void> {
    if (this.closed) return
    this.closed = true
    await this.watching?.close()
    await Promise.allSettled(this.places.map(async ({ link }) => (await link)?.close()))
    for (const action of this.endings) action(undefined)
  }

  private update(instances: readonly Instance[]): void {
    const known = new Map(this.places.map((place) => [place.id, place]))
    this.places = instances.flatMap(({ id, addresses }): Place[] => {
      const address = chooseAddress(addresses)
      if (address === undefined) return []
      const old = known.get(id)
      return [old?.address === address ? old : { id, address, link: undefined, pending: 0, failed: -Infinity }]
    })
    for (const place of known.values()) if (!this.places.includes(place)) this.leave(place)
    for (const wish of this.listening) for (const place of this.places) this.listen(wish, place).catch(() => {})
  }

  /** It takes no new calls; those that it has are still answered. */
  private leave(place: Place): void {
    if (this.stuck === place) this.stuck = undefined
    place.link?.then((link) => link.close()).catch((reason: unknown) => this.options.onError(reason, 'close'))
  }

  private listen(wish: Listening, place: Place): Promise<Unsubscribe> {
    let accepted = wish.at.get(place)
    if (accepted) return accepted
    accepted = this.linkTo(place).then(async (link) => {
      link.onEnded(() => wish.at.delete(place))
      return link.on(wish.event, wish.listener)
    })
    wish.at.set(place, accepted)
    accepted.catch(() => wish.at.delete(place))
    return accepted
  }

  private linkTo(place: Place): Promise<Link> {
    if (place.link) return place.link
    const opening = this.options.reach(place.address).then((link) => {
      link.onEnded(() => {
        if (place.link !== opening) return
        place.link = undefined
        for (const wish of this.listening) if (this.places.includes(place)) this.listen(wish, place).catch(() => {})
      })
      return link
    })
    place.link = opening
    opening.catch(() => {
      if (place.link === opening) place.link = undefined
    })
    return opening
  }

  /** The call at one instance after the other, until one takes it. `leave`: from here on a failure is the caller's. */
  private async somewhere(
    options: CallOptions | undefined,
    repeatable: boolean,
    action: (link: Link, options: CallOptions | undefined, leave: <T>(left: T) => T) => Promise<unknown>,
  ): Promise<unknown> {
    const deadline = options?.timeout === undefined ? undefined : performance.now() + options.timeout
    const tried = new Set<Place>()
    let left = false
    let last: TalkwireError | undefined
    for (;;) {
      const place = this.pick(tried)
      if (!place) throw last ?? this.nobody()
      tried.add(place)
      place.pending++
      try {
        const link = await this.linkTo(place)
        this.current = link.session
        const leave = <T>(value: T): T => {
          left = true
          return value
        }
        return await action(link, until(deadline, options), leave)
      } catch (reason) {
        const elsewhere = reason instanceof TalkwireError && ELSEWHERE.has(reason.code) && (reason.outcome === 'not-sent' || repeatable)
        if (!elsewhere || left || this.closed) throw reason
        place.failed = performance.now()
        // Where it may have run says more than where it was not sent.
        if (last === undefined || last.outcome === 'not-sent') last = reason
      } finally {
        place.pending--
      }
    }
  }

  private pick(tried: ReadonlySet<Place>): Place | undefined {
    if (this.closed) throw new TalkwireError('CONNECTION_CLOSED', 'this client is closed; connect() makes a new one')
    const open = this.places.filter((place) => !tried.has(place))
    const now = performance.now()
    const well = open.filter(({ failed }) => now - failed > SHUNNED)
    const from = well.length > 0 ? well : open
    if (from.length === 0) return undefined
    if (this.options.balance === 'least-pending') return from.reduce((least, place) => (place.pending < least.pending ? place : least))
    if (this.options.balance === 'sticky') return from.includes(this.stuck!) ? this.stuck : (this.stuck = from[0])
    return from[this.turn++ % from.length]
  }

  private nobody(): TalkwireError {
    return new TalkwireError(
      'PEER_NOT_FOUND',
      `no instance of "${this.options.service}" that can be reached from here is registered at the hub; start one, and hub.register() it`,
    )
  }
}

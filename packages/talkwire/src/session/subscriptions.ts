/** The events that a peer wants, and how many it was too slow for. */
import type { Session } from './session.js'
import { visibleError } from './validate.js'

/** In place of a payload: only a count of lost events. */
export const LOST = Symbol('lost')

const MOST = 1000

export class Subscriptions {
  /** Events lost since the last one that was delivered. */
  private lost: Map<string, number> | undefined

  constructor(private readonly session: Session) {}

  /** Sends an event if the peer subscribed. A peer that reads too slowly loses it, and is told how many. */
  emit(event: string, payload: unknown): void {
    const { session } = this
    if (session.connection.oneWay === 'out') return session.tell(event, payload)
    const lost = this.lost?.get(event)
    if (lost === undefined || session.state === 'closed') return
    if (session.connection.buffered > session.limits.outgoing) return void this.lost!.set(event, lost + 1)
    if (lost > 0) {
      session.tell('$/lost', { event, count: lost })
      this.lost!.set(event, 0)
    }
    session.tell(event, payload)
  }

  add(params: unknown): null {
    const event = eventName(params)
    const { service } = this.session.options
    if (service?.events && !service.events.has(event))
      throw visibleError(
        'INVALID_INPUT',
        `"${service.name}" has no event ${JSON.stringify(event)}; it has ${[...service.events].slice(0, 8).join(', ') || 'none'}`,
      )
    const lost = (this.lost ??= new Map())
    if (lost.size >= MOST) throw visibleError('LIMIT_EXCEEDED', `more than ${MOST} subscriptions on one connection; end some`)
    if (!lost.has(event)) lost.set(event, 0)
    return null
  }

  remove(params: unknown): null {
    this.lost?.delete(eventName(params))
    return null
  }
}

function eventName(params: unknown): string {
  const event = Array.isArray(params) ? (params[0] as unknown) : (params as { event?: unknown } | undefined)?.event
  if (typeof event !== 'string' || event.length > 128) throw visibleError('INVALID_INPUT', 'give the name of an event: {"event": "…"}')
  return event
}

/** Pulls from a consumer. In a cluster the server that leads it may die, and what it was asked for with it: it says that it lives while it waits. */
import type { Msg } from '@nats-io/transport-node'
import type { Nats } from './connection.js'

export interface Pull {
  /** So many more, at most; `waits` false: of what is there. */
  ask(count: number, waits?: boolean): void
  /** Asked for and not come. */
  readonly open: number
  /** What was asked for before will not come: the connection is another. */
  reset(): void
  stop(): void
}

/** How often the server says that it lives, milliseconds. */
const BEAT = 2000
/** After so many beats without a word from it, it is asked again: one may be late, and so may we. */
const SILENT = 3
/** Before a consumer that is not there, or has no leader now, is asked again, milliseconds. */
const PAUSE = 50

/** `over`: what was asked for will not come: there is none for now (`none`), no consumer, or nobody knows what it sent (`gone`), or it is to be asked for again. */
export function puller(
  nats: Nats,
  stream: string,
  consumer: string,
  got: (message: Msg) => void,
  over: (gone: boolean, none: boolean) => void,
): Pull {
  let open = 0
  let silent = 0
  let isStopped = false
  const listen = () => {
    const inbox = nats.library.createInbox()
    return nats.connection.subscribe(inbox, {
      callback(error, message) {
        if (error) return
        silent = 0
        const status = message.headers?.code ?? 0
        if (message.data.length > 0 || status === 0) {
          open--
          return got(message)
        }
        if (status === 100) return
        open = 0
        if (status === 503) setTimeout(() => isStopped || open > 0 || over(true, false), PAUSE)
        else over(status === 409 && /Deleted|Shutdown/i.test(message.headers!.description), status === 404 || status === 408)
      },
    })
  }
  let subscription = listen()
  /** With another inbox: who leads the consumer lets go of what goes where nobody listens. */
  const reset = (): void => {
    open = 0
    silent = 0
    subscription.unsubscribe()
    if (!nats.closed) subscription = listen()
  }
  const beats = setInterval(() => {
    if (open === 0 || nats.away || ++silent < SILENT) return
    reset()
    // What it sends to the inbox of before, when it stood still and goes on, is nobody's: a consumer without acknowledgements is made anew.
    over(true, false)
  }, BEAT).unref()
  return {
    get open() {
      return open
    },
    ask(count, waits = true) {
      open += count
      silent = 0
      const wish = { batch: count, ...(waits ? { expires: 30e9, idle_heartbeat: BEAT * 1e6 } : { no_wait: true }) }
      nats.connection.publish(`$JS.API.CONSUMER.MSG.NEXT.${stream}.${consumer}`, JSON.stringify(wish), { reply: subscription.getSubject() })
    },
    reset,
    stop() {
      isStopped = true
      clearInterval(beats)
      subscription.unsubscribe()
    },
  }
}

/** A hub's first connection to beanstalkd, made again by itself; whoever consumes has more. */
import { TalkwireError } from '../../../error.js'
import type { OpenOptions } from '../../driver.js'
import { brokerAddress } from '../broker-address.js'
import { calls, pauses } from '../broker.js'
import { openLine, type Answer, type Line } from './line.js'

export interface Beanstalk {
  readonly prefix: string
  ask(command: string, body?: Uint8Array): Promise<Answer>
  /** As `ask`, in a tube. */
  askIn(tube: string, command: string, body?: Uint8Array): Promise<Answer>
  /** Another connection, closed with the hub. */
  another(): Promise<Line>
  /** Called when there is a connection again. */
  back(what: () => void): () => void
  closing(what: () => unknown): () => void
  onError: OpenOptions['onError']
  close(): Promise<void>
}

const FORM = 'beanstalkd is beanstalk://host:11300?prefix=shop; the prefix has letters, digits, "_" and "-"'

export async function connectBeanstalk(address: string, options: OpenOptions): Promise<Beanstalk> {
  const { url, host, prefix } = brokerAddress(address, ['beanstalk'], /^\/?$/, FORM)
  options.signal?.throwIfAborted()
  const place = { host, port: Number(url.port || 11300) }
  const others = new Set<Line>()
  const backs = calls()
  const closings = calls()
  let closing: Promise<void> | undefined
  let wake: (() => void) | undefined
  const lost = (cause: TalkwireError): void => {
    if (closing) return
    options.onConnection({ state: 'lost', cause })
    void again()
  }
  const again = async (): Promise<void> => {
    const pause = pauses()
    wake = pause.end
    while (!closing) {
      await pause.next()
      if (closing) return
      const next = await openLine(place, undefined, lost).catch(() => undefined)
      if (!next) continue
      main = next
      if (closing) return next.abort()
      options.onConnection({ state: 'connected' })
      return void backs.all()
    }
  }
  let main = await openLine(place, options.signal, lost).catch((reason: unknown) => {
    options.signal?.throwIfAborted()
    throw reason
  })
  const ready = (): void => {
    if (closing) throw new TalkwireError('CLOSED', 'the hub was closed')
  }
  return {
    prefix,
    async ask(command, body) {
      ready()
      return main.ask(command, body)
    },
    async askIn(tube, command, body) {
      ready()
      const [, answer] = await Promise.all([main.ask(`use ${tube}`), main.ask(command, body)])
      return answer
    },
    async another() {
      ready()
      const line: Line = await openLine(place, undefined, () => void others.delete(line))
      others.add(line)
      if (closing) line.abort()
      ready()
      return line
    },
    back: (what) => backs.add(what),
    closing: (what) => closings.add(what),
    onError: options.onError,
    close: () =>
      (closing ??= (async () => {
        await closings.all()
        wake?.()
        for (const line of others) line.abort()
        await main.close()
      })()),
  }
}

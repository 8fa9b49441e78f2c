import { TalkwireError } from '../index.js'
import { json, type Command, type Values } from './command.js'
import { connectingOptions, readConnecting } from './connecting.js'
import { interruption } from './interruption.js'
import { Failure, exitCode, note, outputClosed, print, toLine } from './output.js'
import { suggestion } from '../suggest.js'
import { describe, hangUp, open, type Target } from './target.js'

/** Milliseconds that a service may be away before we give up. */
const AWAY = 5_000

export const watch: Command = {
  usage: 'watch <name or address> <event>',
  summary: "print a service's events as JSON, one a line, until Ctrl-C",
  help: `A service that restarts within ${AWAY / 1000} s is found again; later ends with exit code 3. How many events were lost is said on stderr.`,
  options: { ...connectingOptions, json },
  examples: [
    ['talkwire watch bank overdrawn', 'until Ctrl-C'],
    ['talkwire watch bank overdrawn | head -1', 'wait for one'],
  ],
  words: { least: 2, most: 2 },
  run,
}

async function run([name, event]: readonly string[], values: Values): Promise<number> {
  const signal = AbortSignal.any([interruption(), outputClosed])
  const gone = new AbortController()
  const giveUp = (reason: unknown): void => gone.abort(new Failure(exitCode.notFound, reason))
  const target = await open(name!, {
    ...readConnecting(values, signal),
    reconnect: { giveUp: AWAY },
    onError: (reason, what) => (what === 'reconnect' ? giveUp(reason) : note(String(reason))),
  })
  // A child process or a pipe does not come back: then nothing is left to wait for.
  process.once('beforeExit', () => giveUp(new TalkwireError('CONNECTION_CLOSED', 'the service is gone; start it and watch again')))
  try {
    await subscribe(target, event!, values['json'] === true)
    await aborted(AbortSignal.any([signal, gone.signal]))
    return exitCode.ok
  } finally {
    await hangUp(target, AbortSignal.any([signal, gone.signal]))
  }
}

async function subscribe(target: Target, event: string, inJson: boolean): Promise<void> {
  const { events } = await describe(target, { timeout: 1000 }).catch(() => ({ events: new Map<string, unknown>() }))
  if (events.size > 0 && !events.has(event))
    throw new TalkwireError(
      'INVALID_INPUT',
      `"${target.name}" has no event ${JSON.stringify(event)}${suggestion(event, [...events.keys()])}`,
    )
  await target.client.on(event, (payload, { lost }) => {
    if (lost > 0) note(inJson ? toLine({ lost }) : `lost ${lost} events: they came faster than they were read`)
    void print(toLine(payload))
  })
}

const aborted = (signal: AbortSignal): Promise<never> =>
  new Promise((_, reject) => {
    if (signal.aborted) return reject(signal.reason)
    signal.addEventListener('abort', () => reject(signal.reason), { once: true })
  })

/** The hub that a command is about. */
import { TalkwireError } from '../index.js'
import { openHub, type Hub } from '../hub/index.js'
import { text, type Option, type Values } from './command.js'
import { clean, exitCode, Failure, note } from './output.js'

export const hubOption: Option = {
  type: 'string',
  value: 'address',
  help: "the hub, such as hub:jobs or nats://127.0.0.1:4222; default: this user's own, started when nobody runs it",
}

const ABSENT = new Set(['PEER_NOT_FOUND', 'UNAVAILABLE', 'START_FAILED', 'CONNECTION_LOST'])

/** Runs with the hub, and closes it. Throws Failure with the exit code for "nobody there". */
export async function withHub(values: Values, signal: AbortSignal, action: (hub: Hub) => Promise<number>): Promise<number> {
  let hub: Hub
  try {
    hub = await openHub(text(values, 'hub'), {
      signal,
      onError: (error, what) => note(`talkwire: ${clean(what)}: ${clean(error instanceof Error ? error.message : String(error))}`),
    })
  } catch (reason) {
    throw reason instanceof TalkwireError && ABSENT.has(reason.code) ? new Failure(exitCode.notFound, reason) : reason
  }
  try {
    return await action(hub)
  } finally {
    await hub.close()
  }
}

/** The action that a command's first word names. Throws the error that `unknown` makes. */
export function actionOf<T>(actions: Readonly<Record<string, T>>, word: string, unknown: (known: string) => Error): T {
  const action = Object.hasOwn(actions, word) ? actions[word] : undefined
  if (action === undefined) throw unknown(Object.keys(actions).join(', '))
  return action
}

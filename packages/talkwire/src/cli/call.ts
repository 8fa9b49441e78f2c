import { createInterface } from 'node:readline'
import { TalkwireError } from '../index.js'
import { json, text, texts, type Command, type Values } from './command.js'
import { connectingOptions, readConnecting } from './connecting.js'
import { interruption } from './interruption.js'
import { exitCode, note, outputClosed, print, toLine, toText, UsageError } from './output.js'
import { suggestion } from '../suggest.js'
import { describe, hangUp, open, type Method, type Target } from './target.js'
import { readArguments, readJsonStdin, readMilliseconds, readPairs, readWord, STDIN } from './words.js'

export const call: Command = {
  usage: 'call <name or address> <method> [argument…]',
  summary: 'call a method, print its result as JSON',
  help: `An argument is JSON, or else the word as it is. name=value passes arguments by name, - reads one as JSON from stdin.
For a method that takes a stream each argument is an element, and - reads one from each line of stdin.
A stream is printed as it comes, one value a line. Ctrl-C cancels the call.`,
  options: {
    timeout: { type: 'string', value: 'ms', help: 'milliseconds until the call is given up, here and there' },
    metadata: { type: 'string', multiple: true, value: 'key=value', help: 'text for the handler; may be repeated' },
    progress: { type: 'boolean', help: 'print what the handler reports, on stderr' },
    stream: { type: 'boolean', help: 'the arguments are the elements of a stream (known by itself for a service with a contract)' },
    ...connectingOptions,
    json,
  },
  examples: [
    ['talkwire call calc add 2 5', 'by position'],
    ['talkwire call bank deposit account=savings amount=5', 'by name'],
    ['talkwire call unix:/run/bank.sock balance \'{"account":"savings"}\' --timeout 1000', 'by address, with a deadline'],
    ["talkwire call 'spawn:python3 -m talkwire serve eigen.py' eigenvalues '[[2,0],[0,3]]'", 'a process for one call'],
    ['talkwire call calc add 2 5 --wait 10000', 'a service that is only starting'],
    ['curl -s https://example.org/a.json | talkwire call texts clean -', 'from stdin'],
    ['talkwire call bank watch account=savings | head -3', 'the first values of a stream'],
  ],
  words: { least: 2, most: Infinity },
  run,
}

async function run([name, method, ...words]: readonly string[], values: Values): Promise<number> {
  const timeout = readMilliseconds('timeout', text(values, 'timeout'))
  const metadata = readPairs(texts(values, 'metadata'))
  const inJson = values['json'] === true
  const signal = AbortSignal.any([interruption(), outputClosed])
  const options = {
    signal,
    ...(timeout !== undefined && { timeout }),
    ...(Object.keys(metadata).length > 0 && { metadata }),
    ...(values['progress'] === true && {
      onProgress: (value: unknown) => note(inJson ? toLine({ progress: value }) : `progress: ${toLine(value)}`),
    }),
  }
  const connecting = readConnecting(values, signal)
  // What is wrong with the arguments is said before anything happens; stdin is read when it is known how.
  for (const word of words) if (word !== STDIN) readWord(/^[A-Za-z_$][\w$]*=(.*)$/s.exec(word)?.[1] ?? word)
  const target = await open(name!, connecting)
  try {
    const known = await methodOf(target, method!, { signal, ...(timeout !== undefined && { timeout }) })
    const request: Request = {
      target,
      method: method!,
      options,
      known,
      streams: known?.streams === true || target.session.peerStreams?.has(method!) === true,
    }
    if (values['stream'] === true || known?.contract?.input?.stream === true) await callWithStream(request, words, inJson)
    else await callPlainly(request, words, inJson)
    return exitCode.ok
  } catch (reason) {
    throw await helpful(reason, target, method!, signal)
  } finally {
    await hangUp(target, signal)
  }
}

/** Without a contract nothing is known beforehand that hello has not said. */
async function methodOf(target: Target, method: string, options: { signal: AbortSignal; timeout?: number }): Promise<Method | undefined> {
  if (target.entry && !target.entry.contract?.includes('/')) return undefined
  try {
    const { methods } = await describe(target, options)
    return methods.find((each) => each.name === method)
  } catch (reason) {
    options.signal.throwIfAborted()
    // A service that will not describe itself may still answer.
    if (reason instanceof TalkwireError && !reason.code.startsWith('CONNECTION_') && reason.code !== 'DEADLINE_EXCEEDED') return undefined
    throw reason
  }
}

interface Request {
  readonly target: Target
  readonly method: string
  readonly options: { readonly signal: AbortSignal }
  readonly known: Method | undefined
  readonly streams: boolean
}

async function callPlainly({ target, method, options, known, streams }: Request, words: readonly string[], inJson: boolean): Promise<void> {
  const { positional, named } = await readArguments(words, readJsonStdin)
  const params = paramsFor(known, target.contract !== undefined, positional, named)
  if (streams) await printAll(target.session.calls.stream(method, params, undefined, options))
  else await print((inJson ? toLine : toText)(await target.session.call(method, params, options)))
}

type Named = Readonly<Record<string, unknown>>

/** As the service takes them: most of the foreign ones have one input with named members, functions a list. Throws UsageError. */
function paramsFor(known: Method | undefined, foreign: boolean, positional: readonly unknown[], named: Named | undefined): unknown {
  const { parameters, input } = known?.contract ?? {}
  if (parameters)
    return named ? parameters.flatMap((name) => (name.startsWith('...') ? (named[name.slice(3)] ?? []) : [named[name]])) : positional
  const schema = typeof input?.schema === 'object' ? input.schema : {}
  const properties = Object.keys((schema['properties'] ?? {}) as object)
  if (named || !foreign || positional.length === 0 || properties.length === 0) return named ?? positional
  if (positional.length === 1 && typeof positional[0] === 'object' && positional[0] !== null) return positional[0]
  if (positional.length > properties.length)
    throw new UsageError(`"${known!.name}" takes ${properties.join(', ')}; there are more arguments`)
  return Object.fromEntries(positional.map((value, at) => [properties[at]!, value]))
}

async function callWithStream({ target, method, options, streams }: Request, words: readonly string[], inJson: boolean): Promise<void> {
  const input = elements(words, options.signal)
  if (streams) await printAll(target.session.calls.stream(method, [], input, options))
  else await print((inJson ? toLine : toText)(await target.session.calls.upload(method, input, options)))
}

async function* elements(words: readonly string[], signal: AbortSignal): AsyncGenerator<unknown> {
  for (const word of words) {
    if (word !== STDIN) yield readWord(word)
    else for await (const line of createInterface({ input: process.stdin, signal })) if (line.trim() !== '') yield readWord(line.trim())
  }
}

async function printAll(values: AsyncIterable<unknown>): Promise<void> {
  for await (const value of values) await print(toLine(value))
}

/** The same error; a mistyped method gets its neighbours. */
async function helpful(reason: unknown, target: Target, method: string, signal: AbortSignal): Promise<unknown> {
  if (reason instanceof TypeError) return new UsageError(reason.message)
  if (!(reason instanceof TalkwireError) || reason.code !== 'METHOD_NOT_FOUND' || reason.message.includes('did you mean')) return reason
  const known = await describe(target, { signal, timeout: 1000 }).then(
    ({ methods }) => methods.map((each) => each.name),
    () => [],
  )
  const { code, outcome } = reason
  return new TalkwireError(code, reason.message.replace(`[${code}] `, '') + suggestion(method, known), { outcome, cause: reason })
}

import type { Message } from '../hub/index.js'
import { json, text, type Command, type Values } from './command.js'
import { interruption } from './interruption.js'
import { hubOption, withHub } from './opening.js'
import { exitCode, note, outputClosed, print, toLine, UsageError } from './output.js'
import { readCount } from './words.js'

export const sub: Command = {
  usage: 'sub <pattern>',
  summary: 'print what is published on topics of the hub, one a line, until Ctrl-C',
  help: 'A line is {"topic", "data"} and what else is known. How many were lost is said on stderr.',
  options: {
    hub: hubOption,
    from: { type: 'string', value: 'time', help: 'all that is kept, or from a time on: all, 2030-12-31T10:00:00Z; default: new ones' },
    group: { type: 'string', value: 'name', help: 'each message goes to one member of the group' },
    count: { type: 'string', value: 'number', help: 'end after so many' },
    json,
  },
  examples: [
    ["talkwire sub 'orders.>'", 'until Ctrl-C'],
    ['talkwire sub lamp.kitchen --count 1', 'wait for one'],
    ["talkwire sub 'orders.*' --from all | jq .data", 'what was kept, too'],
  ],
  words: { least: 1, most: 1 },
  run,
}

async function run([pattern]: readonly string[], values: Values): Promise<number> {
  const signal = AbortSignal.any([interruption(), outputClosed])
  const most = readCount('count', text(values, 'count')) ?? Infinity
  const from = start(text(values, 'from'))
  const group = text(values, 'group')
  return withHub(values, signal, async (hub) => {
    const messages = await hub.topic(pattern!).subscribe({ ...(from && { from }), ...(group !== undefined && { group }), signal })
    let seen = 0
    try {
      for await (const message of messages) {
        await show(message, values['json'] === true)
        if (++seen >= most) break
      }
    } catch (reason) {
      signal.throwIfAborted()
      throw reason
    }
    return exitCode.ok
  })
}

async function show({ topic, data, headers, position, time, retained, lost }: Message, inJson: boolean): Promise<void> {
  if (lost > 0) note(inJson ? toLine({ lost }) : `lost ${lost} messages: they came faster than they were read`)
  await print(
    toLine({
      topic,
      data,
      ...(Object.keys(headers).length > 0 && { headers }),
      ...(position !== undefined && { position }),
      ...(time && { time: time.toISOString() }),
      ...(retained && { retained }),
    }),
  )
}

function start(word: string | undefined): 'all' | Date | undefined {
  if (word === undefined || word === 'all') return word
  const time = new Date(word)
  if (!Number.isNaN(time.getTime())) return time
  throw new UsageError(`--from takes "all" or a time such as 2030-12-31T10:00:00Z, not ${JSON.stringify(word)}`)
}

import { json, type Command, type Values } from './command.js'
import { connectingOptions, readConnecting } from './connecting.js'
import { interruption } from './interruption.js'
import { clean, exitCode, outputClosed, print, toLine } from './output.js'
import { signature, typeText } from './signature.js'
import { describe as ask, hangUp, open, type Description, type Target } from './target.js'

export const describe: Command = {
  usage: 'describe <name or address>',
  summary: 'show what a service offers: methods, events, types',
  options: { ...connectingOptions, json },
  examples: [
    ['talkwire describe bank', 'for people'],
    ['talkwire describe bank --json > bank.openrpc.json', 'the OpenRPC document'],
  ],
  words: { least: 1, most: 1 },
  run,
}

async function run([name]: readonly string[], values: Values): Promise<number> {
  const signal = AbortSignal.any([interruption(), outputClosed])
  const target = await open(name!, readConnecting(values, signal))
  try {
    const description = await ask(target, { signal })
    await print(values['json'] === true ? toLine(description.document) : describeForPeople(description, target))
    return exitCode.ok
  } finally {
    await hangUp(target, signal)
  }
}

function describeForPeople({ title, contract, methods, events, document }: Description, { entry, name }: Target): string {
  const lines = [`${clean(contract ?? title)}  ${clean(entry ? entry.addresses.join(' ') : name)}`]
  if (methods.length > 0) lines.push('methods')
  for (const method of methods) {
    lines.push(`  ${signature(method, document)}`)
    if (method.summary) lines.push(`      ${clean(method.summary)}`)
    for (const [error, details] of Object.entries(method.contract?.errors ?? {}))
      lines.push(`      throws ${clean(error)} ${typeText(details, document)}`)
  }
  if (events.size > 0) lines.push('events')
  for (const [event, payload] of events) lines.push(`  ${clean(event)} ${typeText(payload, document)}`)
  return lines.join('\n')
}

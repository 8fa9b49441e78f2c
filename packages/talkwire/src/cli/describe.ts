import { fromOpenRpc, jsonSchema, openRpc, type Contract } from '../index.js'
import { json, text, type Command, type Values } from './command.js'
import { connectingOptions, readConnecting } from './connecting.js'
import { formFor, forms } from './forms.js'
import { interruption } from './interruption.js'
import { contractIn, importModule, isModule } from './modules.js'
import { clean, exitCode, outputClosed, print, toLine } from './output.js'
import { signature, typeText } from './signature.js'
import { describe as ask, hangUp, open, read, type Description, type Target } from './target.js'

export const describe: Command = {
  usage: 'describe <name, address or module>',
  summary: 'show what a service offers: methods, events, types',
  options: {
    as: { type: 'string', value: Object.keys(forms).join('|'), help: 'in the language of others: what their tools take' },
    export: { type: 'string', value: 'name', help: 'of a module with several contracts: which one' },
    ...connectingOptions,
    json,
  },
  examples: [
    ['talkwire describe bank', 'for people'],
    ['talkwire describe bank --json > bank.openrpc.json', 'the OpenRPC document'],
    ['talkwire describe bank --as proto > bank.proto', 'what protoc takes'],
    ['talkwire describe ./bank.ts --as openapi', 'of a contract that nobody serves'],
  ],
  words: { least: 1, most: 1 },
  run,
}

async function run([name]: readonly string[], values: Values): Promise<number> {
  const as = text(values, 'as')
  const form = as === undefined ? undefined : formFor(as)
  if (isModule(name!)) return describeModule(name!, form, values)
  const signal = AbortSignal.any([interruption(), outputClosed])
  const target = await open(name!, readConnecting(values, signal))
  try {
    const description = await ask(target, { signal })
    if (form) {
      const contract = target.contract ?? (await fromOpenRpc(description.document, target.name))
      return await printed(await form(contract))
    }
    await print(values['json'] === true ? toLine(description.document) : describeForPeople(description, target))
    return exitCode.ok
  } finally {
    await hangUp(target, signal)
  }
}

async function describeModule(file: string, form: ((contract: Contract) => Promise<string>) | undefined, values: Values): Promise<number> {
  const contract = contractIn(await importModule(file), file, text(values, 'export'))
  if (form) return printed(await form(contract))
  const description = read((await openRpc(await jsonSchema(contract))) as never, contract.name)
  await print(values['json'] === true ? toLine(description.document) : describeForPeople(description, { entry: undefined, name: file }))
  return exitCode.ok
}

async function printed(document: string): Promise<number> {
  await print(document.replace(/\n$/, ''))
  return exitCode.ok
}

function describeForPeople(
  { title, contract, methods, events, document }: Description,
  { entry, name }: Pick<Target, 'entry' | 'name'>,
): string {
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

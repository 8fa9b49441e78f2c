// Text in, cleaned text out: node main.mjs <address> < text
import { createInterface } from 'node:readline'
import { connect, TalkwireError } from 'talkwire'

/** @type {import('talkwire').FunctionsClient<{ clean(text: string): string }>} */
const converter = await connect(process.argv[2] ?? 'fifo:/tmp/cleaner')

for await (const line of createInterface({ input: process.stdin })) {
  try {
    console.log(await converter.clean(line))
  } catch (reason) {
    const { code, declared, details, message } = TalkwireError.from(reason)
    console.error(declared ? `${code}: ${JSON.stringify(details)}` : message)
    process.exitCode = 1
  }
}
await converter.close()

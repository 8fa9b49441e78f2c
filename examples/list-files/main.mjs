// Lists the files of a folder through a child process: node main.mjs [folder]
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { connect, TalkwireError } from 'talkwire'

const here = fileURLToPath(new URL('.', import.meta.url))
const folder = path.resolve(process.argv[2] ?? here)

/** @type {import('talkwire').FunctionsClient<typeof import('./lister.mjs').files>} */
const lister = await connect('spawn:node lister.mjs', { cwd: here })
try {
  for await (const { name, size } of lister.list(folder)) console.log(`${String(size).padStart(8)}  ${name}`)
} catch (error) {
  console.error(TalkwireError.from(error).message)
  process.exitCode = 1
} finally {
  await lister.close() // the child ends with its connection
}

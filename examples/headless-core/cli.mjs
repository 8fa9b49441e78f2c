// A command line: node cli.mjs list | add <title> | finish <id> | about | quit
import { isError } from 'talkwire'
import { tasks } from './contract.mjs'
import { connectCore, show } from './core-client.mjs'

const [command = 'list', ...words] = process.argv.slice(2)
const core = await connectCore()
try {
  if (command === 'list') for (const task of await core.list()) console.log(show(task))
  else if (command === 'add') console.log(show(await core.add({ title: words.join(' ') })))
  else if (command === 'finish') console.log(show(await core.finish({ id: Number(words[0]) })))
  else if (command === 'about') console.log(`the core is process ${(await core.about()).pid}`)
  else if (command === 'quit') await core.quit()
  else throw new TypeError(`there is no command "${command}"`)
} catch (error) {
  console.error(
    isError(error, tasks, 'finish', 'NoSuchTask') ? `there is no task ${error.details.id}` : error instanceof Error ? error.message : error,
  )
  process.exitCode = 1
}
await core.close()

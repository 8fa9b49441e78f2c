// A screen that is always up to date: node screen.mjs. Type a title to add a task, a number to finish one, Ctrl-D to leave.
import { createInterface } from 'node:readline'
import { TalkwireError } from 'talkwire'
import { connectCore, show } from './core-client.mjs'

const leaving = new AbortController()
const core = await connectCore()
await core.on('changed', (task) => console.log(`* ${show(task)}`)) // from whichever client
await core.on('ending', ({ pid }) => {
  console.log(`--- process ${pid} has ended`)
  leaving.abort()
  void core.close() // or else we would connect again, and so start a new core
})
for (const task of await core.list()) console.log(show(task))
console.log(`--- process ${(await core.about()).pid}`)

for await (const line of createInterface({ input: process.stdin, signal: leaving.signal })) {
  try {
    if (/^\d+$/.test(line)) await core.finish({ id: Number(line) })
    else await core.add({ title: line })
  } catch (error) {
    console.log(`! ${TalkwireError.from(error).code}`)
  }
}
await core.close()

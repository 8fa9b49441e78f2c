// A printer that is up or down, and tells everybody who has put a pid file into the directory.
import { createInterface } from 'node:readline'
import { SignalGroup } from 'talkwire/signals'

const watchers = new SignalGroup(process.argv[2] ?? 'watchers')
let up = false
console.log('the printer is down; Enter turns it on and off')
for await (const _ of createInterface({ input: process.stdin })) {
  up = !up
  const { told, gone } = watchers.notify(up ? 'up' : 'down')
  console.log(`${up ? 'up' : 'down'}: ${told.length} told, ${gone.length} gone`)
}

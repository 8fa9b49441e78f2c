// Pushes orders for labels, hears which are printed, and shows what could not be.
import { openHub } from 'talkwire/hub'

const hub = await openHub(process.env.HUB ?? 'amqp://127.0.0.1:5672')
const labels = hub.queue('labels')
const printed = await hub.topic('labels.printed').subscribe()

await labels.push({ order: 1, to: 'Ann' })
await labels.push({ order: 2 })
await labels.push({ order: 3, to: 'Bob' }, { delay: 1_000 })
await labels.push({ order: 4, to: 'Eve' }, { priority: 9 })
console.log('pushed 4 orders')

for (let left = 3; left > 0; left--) {
  const { value } = await printed.next()
  console.log(`order ${value.data.order} is printed: ${value.data.label}`)
}
for (const { data, reason } of await labels.deadLetters()) console.log(`order ${data.order} is not: ${reason}`)
await hub.close()

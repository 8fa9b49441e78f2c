// Packs orders as long as there is something in stock, on whichever hub it is told: `warehouse.mjs nats://127.0.0.1:4222`.
import { openHub } from 'talkwire/hub'

const hub = await openHub(process.argv[2] ?? process.env.HUB)
const orders = hub.queue('orders')
const stock = hub.state('stock')
const news = hub.topic('warehouse.*')

// A second warehouse would fill the same stock.
const open = await hub.lease('warehouse').tryAcquire()
if (!open) {
  console.log('another warehouse is open')
  process.exit()
}
await stock.set('tea', 2)
await stock.set('coffee', 1)

const heard = await news.subscribe()
const packer = await orders.consume(async ({ data: { number, item } }) => {
  let left = 0
  await stock.update(item, (count) => Math.max(0, (left = count) - 1))
  await news.publish({ number, item }, { to: left > 0 ? 'warehouse.packed' : 'warehouse.sold-out' })
})
await hub.topic('stock').respond(async (item) => (await stock.get(item))?.value ?? 0)

const wanted = ['tea', 'coffee', 'tea', 'tea']
for (const [index, item] of wanted.entries()) await orders.push({ number: index + 1, item })
for (const _ of wanted) {
  const { value } = await heard.next()
  console.log(`order ${value.data.number}, ${value.data.item}: ${value.topic}`)
}
console.log(`${await hub.topic('stock').request('tea')} tea left, opened ${await hub.counter('opened').add()} times`)

await packer.close()
await open.release()
await hub.close()

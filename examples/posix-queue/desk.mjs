// node desk.mjs NAME: hears from a C program over a POSIX message queue, the urgent first, and answers over another one.
import { PosixQueue } from 'talkwire/queues'

const name = process.argv[2] ?? 'oven'
const size = { messages: 10, messageSize: 64 }
const readings = PosixQueue.openOrCreate(name, size)
const orders = PosixQueue.openOrCreate(`${name}-orders`, size)

for await (const { bytes, priority } of readings) {
  const text = bytes.toString()
  if (text === 'done') break
  console.log(priority > 0 ? `alarm: ${text} degrees` : `${text} degrees`)
  if (priority > 0) await orders.send('switch it off', { priority: 9 })
}
for (const queue of [readings, orders]) {
  queue.close()
  PosixQueue.unlink(queue.name)
}

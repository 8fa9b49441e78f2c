// RabbitMQ through amqplib: a quorum queue, publishing with confirms. `?kind=classic`: the kind of queue that our driver declares.
import amqp from 'amqplib'

const QUEUE = 'jobs'
/** @type {Record<string, object>} */
const KINDS = {
  quorum: { 'x-queue-type': 'quorum' },
  classic: { 'x-queue-type': 'classic', 'x-max-priority': 9, 'x-dead-letter-exchange': '', 'x-dead-letter-routing-key': `${QUEUE}.dead` },
}

/** @param {string} address @returns {Promise<import('./index.mjs').End>} */
export async function open(address) {
  const { host, searchParams } = new URL(address)
  const kind = KINDS[searchParams.get('kind') ?? 'quorum']
  const connection = await amqp.connect(`amqp://${host}`)
  const channel = await connection.createConfirmChannel()
  const declare = () => channel.assertQueue(QUEUE, { durable: true, arguments: kind })
  return {
    push: (body) =>
      new Promise((resolve, reject) =>
        channel.sendToQueue(QUEUE, Buffer.from(body), { persistent: true }, (reason) => (reason ? reject(reason) : resolve(undefined))),
      ),
    async work(take) {
      await declare()
      await channel.prefetch(256)
      await channel.consume(QUEUE, (message) => {
        if (!message) return
        take(message.content)
        channel.ack(message)
      })
    },
    close: () => connection.close(),
  }
}

// RabbitMQ through amqplib: a quorum queue, publishing with confirms.
import amqp from 'amqplib'

const QUEUE = 'jobs'

/** @param {string} address @returns {Promise<import('./index.mjs').End>} */
export async function open(address) {
  const connection = await amqp.connect(address)
  const channel = await connection.createConfirmChannel()
  const declare = () => channel.assertQueue(QUEUE, { durable: true, arguments: { 'x-queue-type': 'quorum' } })
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

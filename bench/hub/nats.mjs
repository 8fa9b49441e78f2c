// NATS through its own client: core subjects, and a work queue of JetStream in files. `?subject=fan`: the name counts, for it is read byte by byte.
import { AckPolicy, jetstream, jetstreamManager, RetentionPolicy, StorageType } from '@nats-io/jetstream'
import { connect } from '@nats-io/transport-node'

const STREAM = 'JOBS'

/** @param {string} address @returns {Promise<import('./index.mjs').End>} */
export async function open(address) {
  const { host, searchParams } = new URL(address)
  const subject = searchParams.get('subject') ?? 'fan'
  const connection = await connect({ servers: host })
  const stream = jetstream(connection)
  return {
    publish: (body) => connection.publish(subject, body),
    settled: () => connection.flush(),
    async subscribe(take) {
      connection.subscribe(subject, { callback: (_, { data }) => take(data) })
      await connection.flush()
    },
    push: (body) => stream.publish('jobs', body),
    async work(take) {
      const manager = await jetstreamManager(connection)
      await manager.streams.add({ name: STREAM, subjects: ['jobs'], retention: RetentionPolicy.Workqueue, storage: StorageType.File })
      await manager.consumers.add(STREAM, { durable_name: 'workers', ack_policy: AckPolicy.Explicit })
      const consumer = await stream.consumers.get(STREAM, 'workers')
      const messages = await consumer.consume({ max_messages: 256 })
      void (async () => {
        for await (const message of messages) {
          take(message.data)
          message.ack()
        }
      })()
    },
    close: () => connection.close(),
  }
}

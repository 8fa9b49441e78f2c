/** Requests are NATS' own, on the subjects `PREFIX-requests.TOPIC`, and groups its queue groups. Each reply but the last has the header `Talkwire-More`. */
import { TalkwireError } from '../../../error.js'
import type { RequestsDriver } from '../../driver.js'
import type { Nats } from './connection.js'

const MORE = 'Talkwire-More'

export function requests(nats: Nats): RequestsDriver {
  const root = `${nats.prefix}-requests.`
  const { connection, library } = nats
  return {
    async request(topic, message, onReply) {
      const inbox = library.createInbox()
      let answered!: () => void
      let refused!: (reason: TalkwireError) => void
      const heard = new Promise<void>((resolve, reject) => ([answered, refused] = [resolve, reject]))
      const subscription = connection.subscribe(inbox, {
        callback(error, reply) {
          if (error) return refused(nats.errorOf(error))
          if (reply.headers?.code === 503) return refused(new TalkwireError('PEER_NOT_FOUND', `nobody answers requests to "${topic}"`))
          answered()
          onReply({ ...nats.incoming(reply), more: reply.headers?.has(MORE) ?? false })
        },
      })
      const stop = (): void => subscription.unsubscribe()
      try {
        connection.publish(root + topic, message.body, { headers: nats.headersOf(message), reply: inbox })
        // The server says that there is nobody before it answers what was asked after it.
        void connection.flush().then(answered, (reason: unknown) => refused(nats.errorOf(reason)))
        await heard
      } catch (reason) {
        stop()
        throw nats.errorOf(reason)
      }
      return { stop }
    },
    async respond(pattern, group, onRequest) {
      const subscription = connection.subscribe(root + pattern, {
        ...(group !== undefined && { queue: group }),
        callback(error, request) {
          if (error) return nats.onError(nats.errorOf(error), pattern)
          onRequest({
            ...nats.incoming(request),
            topic: request.subject.slice(root.length),
            position: undefined,
            time: undefined,
            retained: false,
            reply: async (message, more) => {
              request.respond(message.body, { headers: nats.headersOf(message, more ? { [MORE]: '1' } : {}) })
            },
          })
        },
      })
      await connection.flush().catch((reason: unknown) => {
        throw nats.errorOf(reason)
      })
      return {
        resume() {},
        close: async () => {
          if (!subscription.isClosed()) subscription.unsubscribe()
          if (!nats.closed && !nats.away) await connection.flush().catch(() => {})
        },
      }
    },
  }
}

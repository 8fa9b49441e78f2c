/** The topic `orders.new` is `VirtualTopic.PREFIX.orders.new`: ActiveMQ keeps a queue for each group of a topic that begins so. */
import { TalkwireError } from '../../../error.js'
import { foreignNames } from '../broker-names.js'
import type { Place } from './line.js'

const { toPart, fromPart } = foreignNames('\\s\\p{Cc}/+#')
/** What separates names there, and what begins options. */
const TAKEN = /[,?]/

const partsOf = (name: string): string =>
  name
    .split('.')
    .map((part) => (part === '*' || part === '>' ? part : toPart(part)))
    .join('.')

export interface Names {
  topic(topic: string): Place
  /** What a group of a topic reads. */
  group(group: string, topic: string): Place
  topicOf(name: string): string
  queue(queue: string): Place
  dead(queue: string): Place
  /** Whom a group answers for, and whom everybody. */
  asked(topic: string): Place
  askedAll(topic: string): Place
  requestOf(name: string): string
  readonly probe: Place
}

export function namesOf(prefix: string): Names {
  const topics = `VirtualTopic.${prefix}.`
  const requests = `${prefix}.requests.`
  const back = (name: string): string => name.split('.').map(fromPart).join('.')
  return {
    topic: (topic) => ({ kind: 'topic', name: topics + partsOf(free(topic)) }),
    group: (group, topic) => ({
      kind: 'queue',
      name: `Consumer.${encodeURIComponent(group).replaceAll('.', '%2E').replaceAll('*', '%2A')}.${topics}${partsOf(free(topic))}`,
    }),
    topicOf: (name) => back(name.slice(name.indexOf(topics) + topics.length)),
    queue: (queue) => ({ kind: 'queue', name: `${prefix}.queue.${free(queue)}` }),
    dead: (queue) => ({ kind: 'queue', name: `${prefix}.dead.${free(queue)}` }),
    asked: (topic) => ({ kind: 'queue', name: requests + partsOf(free(topic)) }),
    askedAll: (topic) => ({ kind: 'topic', name: requests + partsOf(free(topic)) }),
    requestOf: (name) => back(name.slice(requests.length)),
    probe: { kind: 'queue', name: `${prefix}.queue.talkwire-probe` },
  }
}

function free(name: string): string {
  if (!TAKEN.test(name)) return name
  throw new TalkwireError('INVALID_INPUT', `ActiveMQ gives "," and "?" in names a meaning of its own: ${JSON.stringify(name).slice(0, 80)}`)
}

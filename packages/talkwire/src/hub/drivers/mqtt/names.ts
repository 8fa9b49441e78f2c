/** `orders.new` is `PREFIX/orders/new`. */
import { foreignNames } from '../broker-names.js'

const { toPart, fromPart } = foreignNames('\\s\\p{Cc}.*>')

export const toMqtt = (topic: string): string => topic.split('.').map(toPart).join('/')
export const fromMqtt = (topic: string): string => topic.split('/').map(fromPart).join('.')

/** MQTT's `#` takes the parent, too; ours does not. */
export const filterOf = (pattern: string): string =>
  pattern
    .split('.')
    .map((part) => (part === '*' ? '+' : part === '>' ? '#' : toPart(part)))
    .join('/')

const SHARE = /^\$share\/[^/]*\//

export const shareOf = (group: string, filter: string): string => `$share/${encodeURIComponent(group)}/${filter}`

/** Whether a topic could be in both: of two such subscriptions of one client a broker may tell once, or twice. */
export function overlap(one: string, other: string): boolean {
  const [parts, others] = [one, other].map((filter) => filter.replace(SHARE, '').split('/')) as [string[], string[]]
  for (let index = 0; index < Math.max(parts.length, others.length); index++) {
    const [part, its] = [parts[index], others[index]]
    if (part === '#' || its === '#') return true
    if (part === undefined || its === undefined || (part !== its && part !== '+' && its !== '+')) return false
  }
  return true
}

export function matchesFilter(filter: string, topic: string): boolean {
  const wanted = filter.replace(SHARE, '').split('/')
  const parts = topic.split('/')
  for (const [index, part] of wanted.entries()) {
    if (part === '#') return parts.length >= index
    if (index >= parts.length || (part !== '+' && part !== parts[index])) return false
  }
  return parts.length === wanted.length
}

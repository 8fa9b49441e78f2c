/** `orders.new` is `PREFIX/orders/new`. What a foreign part has that none of ours may have is `%` and two digits for each byte; an empty part is `%`. */
const FOREIGN = /[\s\p{Cc}.*>]/gu
const FOREIGN_ALONE = /^[\s\p{Cc}.*>]$/u

const escape = (character: string): string =>
  [...Buffer.from(character)].map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`).join('')

function foreign(written: string): string {
  try {
    const character = decodeURIComponent(written)
    return FOREIGN_ALONE.test(character) ? character : written
  } catch {
    return written
  }
}

const toPart = (part: string): string =>
  part === '%' ? '' : part.replaceAll(/%[C-F][0-9A-F](?:%[89AB][0-9A-F])+|%[0-7][0-9A-F]/g, foreign)
const fromPart = (part: string): string => (part === '' ? '%' : part.replaceAll(FOREIGN, escape))

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

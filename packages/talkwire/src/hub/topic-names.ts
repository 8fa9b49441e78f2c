/** Topics and patterns. `orders.eu.new`: parts between dots. In patterns `*` is one part, `>` at the end the rest, one part at least. */
import { TalkwireError } from '../error.js'

/** What no broker of ours gives another meaning: no space, control character, slash, plus or number sign. Drivers write `%2F` for what a foreign name has beyond it. */
const PART = /^[^\s\p{Cc}.*>/+#]+$/u
const LONGEST = 255

/** Throws INVALID_INPUT. */
export function validateTopic(topic: string): void {
  if (isName(topic, (part) => PART.test(part))) return
  throw new TalkwireError(
    'INVALID_INPUT',
    `${JSON.stringify(topic).slice(0, 80)} is no topic: parts between dots, such as "orders.eu.new", without spaces, "*", ">", "/", "+" and "#", ${LONGEST} characters at most`,
  )
}

/** Throws INVALID_INPUT. */
export function validatePattern(pattern: string): void {
  const fits = (part: string, last: boolean): boolean => PART.test(part) || part === '*' || (part === '>' && last)
  if (isName(pattern, fits)) return
  throw new TalkwireError(
    'INVALID_INPUT',
    `${JSON.stringify(pattern).slice(0, 80)} is no pattern: a topic in which "*" stands for one part, and ">" at the end for the rest, such as "orders.*" or "orders.>"`,
  )
}

export const isPattern = (pattern: string): boolean => /(^|\.)(\*|>)(\.|$)/.test(pattern)

function isName(name: unknown, fits: (part: string, last: boolean) => boolean): boolean {
  if (typeof name !== 'string' || name.length > LONGEST) return false
  const parts = name.split('.')
  return parts.every((part, index) => fits(part, index === parts.length - 1))
}

export function matchesPattern(pattern: string, topic: string): boolean {
  const wanted = pattern.split('.')
  const parts = topic.split('.')
  for (const [index, part] of wanted.entries()) {
    if (part === '>') return parts.length > index
    if (index >= parts.length || (part !== '*' && part !== parts[index])) return false
  }
  return parts.length === wanted.length
}

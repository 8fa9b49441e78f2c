/** Whether a connection begins with a call of varlink, or with one of JSON-RPC by hand: both are JSON objects. Sans I/O. */

/** The first member that is no method; what is before it is a method at most. */
const MEMBER = /^\s*\{\s*(?:"method"\s*:\s*"(?:[^"\\]|\\.)*"\s*,\s*)?"(\w+)"/
/** A method and nothing else, with the byte behind it. */
const ALONE = /^\s*\{\s*"method"\s*:\s*"(?:[^"\\]|\\.)*"\s*\}([^])/
/** The beginning of either. */
const BEGINNING = /^\s*(?:\{\s*(?:"(?:\w*(?:"\s*(?::\s*(?:"(?:[^"\\]|\\.)*(?:\\|"\s*(?:\}|,\s*(?:"\w*)?)?)?)?)?)?)?)?)?$/
const MEMBERS = new Set(['parameters', 'more', 'oneway', 'upgrade'])

/** Undefined: that shows only in more bytes. */
export function beginsCall(first: Buffer): boolean | undefined {
  const text = first.toString('latin1')
  const member = MEMBER.exec(text)?.[1]
  if (member !== undefined && member !== 'method') return MEMBERS.has(member)
  const behind = ALONE.exec(text)?.[1]
  if (behind !== undefined) return behind === '\0'
  return BEGINNING.test(text) ? undefined : false
}

/** The names of a function's parameters, read from its source text: for people who look at a service, not for calling it. */

/** Longer than any list of parameters that somebody wants to read. */
const LONGEST = 2_000
const NAME = /^(?:\.\.\.\s*)?[\p{ID_Start}$_][\p{ID_Continue}$]*$/u
/** Comments, regular expressions, templates; before the parenthesis also strings and whatever else is no plain function. */
const UNUSUAL = /[/`]/
const UNUSUAL_HEAD = /[/`'"={}]/

/**
 * `['a', 'b', '...rest']` for `(a, b = 1, ...rest) => …`; a parameter that is taken apart is `arg1`, by its place.
 * Undefined where the text is not plainly readable, and for native and bound functions.
 */
export function parameterNames(handler: (...args: never[]) => unknown): readonly string[] | undefined {
  const text = Function.prototype.toString.call(handler).slice(0, LONGEST)
  if (text.includes('[native code]')) return undefined
  const single = /^(?:async\s+)?([^\s=(]+)\s*=>/.exec(text)?.[1]
  if (single !== undefined) return NAME.test(single) ? [single] : undefined
  const open = text.indexOf('(')
  if (open < 0 || UNUSUAL_HEAD.test(text.slice(0, open))) return undefined
  return split(text, open + 1)?.map((part, index) => {
    const name = part.split('=', 1)[0]!.trim()
    return NAME.test(name) ? name : `arg${index + 1}`
  })
}

/** The pieces between commas, up to the closing parenthesis. */
function split(text: string, start: number): string[] | undefined {
  const parts: string[] = []
  let depth = 0
  let from = start
  for (let at = start; at < text.length; at++) {
    const char = text[at]!
    if (UNUSUAL.test(char)) return undefined
    if (char === '"' || char === "'") {
      const end = text.indexOf(char, at + 1)
      if (end < 0 || text.slice(at, end).includes('\\')) return undefined
      at = end
    } else if (depth === 0 && (char === ',' || char === ')')) {
      const part = text.slice(from, at).trim()
      if (part !== '') parts.push(part)
      if (char === ')') return parts
      from = at + 1
    } else if ('([{'.includes(char)) depth++
    else if (')]}'.includes(char)) depth--
  }
  return undefined
}

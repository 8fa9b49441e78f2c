/** Names of foreign programs as parts of topics: what none of ours may have is `%` and two digits for each byte; an empty part is `%`. */
export interface ForeignNames {
  /** What a foreign program calls a part of ours. */
  readonly toPart: (part: string) => string
  readonly fromPart: (part: string) => string
}

const ESCAPED = /%[C-F][0-9A-F](?:%[89AB][0-9A-F])+|%[0-7][0-9A-F]/g

const escape = (character: string): string =>
  [...Buffer.from(character)].map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`).join('')

/** `characters`: those that are escaped, as in the brackets of a regular expression. */
export function foreignNames(characters: string): ForeignNames {
  const foreign = new RegExp(`[${characters}]`, 'gu')
  const alone = new RegExp(`^[${characters}]$`, 'u')
  const back = (written: string): string => {
    try {
      const character = decodeURIComponent(written)
      return alone.test(character) ? character : written
    } catch {
      return written
    }
  }
  return {
    toPart: (part) => (part === '%' ? '' : part.replaceAll(ESCAPED, back)),
    fromPart: (part) => (part === '' ? '%' : part.replaceAll(foreign, escape)),
  }
}

/**
 * XML as XML-RPC and SOAP need it: a strict parser (saxes) without DTDs, entities of one's own and external files, with limits
 * on depth and number; text that is safe to write. XML 1.0, Namespaces in XML 1.0. Sans I/O.
 */
import { tooDeep, tooMany } from '../codecs/codec.js'
import { TalkwireError } from '../error.js'

export interface Element {
  /** Without its prefix. */
  readonly name: string
  /** The namespace; '' without one, and where namespaces are not read. */
  readonly uri: string
  /** By their names as written, prefixes included. */
  readonly attributes: ReadonlyMap<string, string>
  readonly children: Element[]
  /** All text directly inside, CDATA too. */
  text: string
  /** What a prefix stands for here; '' is the default namespace. For names in values, such as xsi:type. */
  readonly resolve: (prefix: string) => string | undefined
}

export interface XmlLimits {
  readonly depth: number
  /** Most elements inside each other, where a value of that depth takes more. */
  readonly elements?: number
  /** Most elements and attributes. */
  readonly values: number
}

export interface Xml {
  /** The root element. Throws INVALID_MESSAGE, TOO_DEEP, LIMIT_EXCEEDED. */
  parse(text: string, limits: XmlLimits, namespaces?: boolean): Element
}

/** Rejects with MISSING_PACKAGE. */
export async function loadXml(scheme: string): Promise<Xml> {
  const { SaxesParser } = await import('saxes').catch((cause: unknown) => {
    throw new TalkwireError('MISSING_PACKAGE', `${scheme}: needs the package saxes; npm install saxes`, { cause })
  })
  return {
    parse(text, limits, namespaces = false) {
      const parser = new SaxesParser({ xmlns: namespaces, position: false })
      const tree = new Tree(limits)
      parser.on('doctype', () => {
        throw new TalkwireError('INVALID_MESSAGE', 'a DOCTYPE is refused here, whatever it holds; send the XML without it')
      })
      parser.on('opentag', (tag) => {
        const attributes = new Map<string, string>()
        for (const [name, value] of Object.entries(tag.attributes)) attributes.set(name, typeof value === 'string' ? value : value.value)
        if (!namespaces) return tree.open(tag.name.slice(tag.name.indexOf(':') + 1), '', attributes, () => undefined)
        const { local, uri, ns } = tag as { local: string; uri: string; ns: Record<string, string> }
        tree.open(local, uri, attributes, (prefix) => ns[prefix])
      })
      // Not from `opentag`: by then all of them would be in memory.
      parser.on('attribute', () => tree.count())
      parser.on('closetag', () => tree.close())
      parser.on('text', (piece) => tree.text(piece))
      parser.on('cdata', (piece) => tree.text(piece))
      try {
        parser.write(text).close()
      } catch (reason) {
        if (reason instanceof TalkwireError) throw reason
        throw new TalkwireError('INVALID_MESSAGE', `not XML: ${(reason as Error).message.slice(0, 200)}`, { cause: reason })
      }
      return tree.root!
    },
  }
}

class Tree {
  root: Element | undefined
  private readonly path: Element[] = []
  private counted = 0

  constructor(private readonly limits: XmlLimits) {}

  count(): void {
    if (++this.counted > this.limits.values) throw tooMany(this.limits.values)
  }

  open(name: string, uri: string, attributes: Map<string, string>, own: (prefix: string) => string | undefined): void {
    this.count()
    const parent = this.path.at(-1)
    if (this.path.length >= (this.limits.elements ?? this.limits.depth)) throw tooDeep(this.limits.depth)
    const element: Element = {
      name,
      uri,
      attributes,
      children: [],
      text: '',
      resolve: (prefix) => own(prefix) ?? parent?.resolve(prefix),
    }
    if (parent) parent.children.push(element)
    else this.root = element
    this.path.push(element)
  }

  close(): void {
    this.path.pop()
  }

  text(piece: string): void {
    const at = this.path.at(-1)
    if (at) at.text += piece
  }
}

/** The child of that name; the first, where there are several. */
export const childOf = (element: Element, name: string): Element | undefined => element.children.find((child) => child.name === name)

// ── bytes ────────────────────────────────────────────────────────────────────────────────────────

const ENCODINGS = new Set(['utf-8', 'utf-16le', 'utf-16be', 'windows-1252'])

/** The text of a document: by its byte order mark, else the charset of its content type, else its declaration, else UTF-8. RFC 7303 § 3. Throws INVALID_MESSAGE. */
export function readXmlText(body: Buffer, contentType = ''): string {
  const label = markOf(body) ?? /;\s*charset\s*=\s*"?([\w.:-]+)/i.exec(contentType)?.[1] ?? declared(body) ?? 'utf-8'
  try {
    const decoder = new TextDecoder(label, { fatal: true })
    if (ENCODINGS.has(decoder.encoding)) return decoder.decode(body)
  } catch (cause) {
    throw new TalkwireError('INVALID_MESSAGE', `the body is not text in ${JSON.stringify(label.slice(0, 40))}; send UTF-8`, { cause })
  }
  throw new TalkwireError('INVALID_MESSAGE', `the encoding ${JSON.stringify(label.slice(0, 40))} is not taken; send UTF-8`)
}

const markOf = (body: Buffer): string | undefined =>
  body[0] === 0xff && body[1] === 0xfe ? 'utf-16le' : body[0] === 0xfe && body[1] === 0xff ? 'utf-16be' : undefined

const declared = (body: Buffer): string | undefined =>
  /^(?:\u00ef\u00bb\u00bf)?<\?xml[^>]*?\sencoding\s*=\s*["']([\w.:-]+)["']/.exec(body.toString('latin1', 0, 200))?.[1]

// ── writing ──────────────────────────────────────────────────────────────────────────────────────

export const DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'

/** What text cannot hold as it is. A carriage return would arrive as a line feed. */
// oxlint-disable-next-line no-control-regex
const SPECIAL = /[<>&"\r\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff\ud800-\udfff]/u
const EACH = new RegExp(SPECIAL, 'gu')
const escapes: Readonly<Record<string, string>> = { '<': '&lt;', '>': '&gt;', '&': '&amp;', '"': '&quot;', '\r': '&#13;' }

/** Text of an element. Throws TypeError for what XML has no way to say: control characters, halves of a surrogate pair. */
export const escapeText = (text: string): string => (SPECIAL.test(text) ? text.replace(EACH, escaped) : text)

/** The value of an attribute between double quotes. Throws TypeError. */
export const escapeAttribute = (text: string): string => escapeBreaks(escapeText(text))
/** The same for what is escaped as text already. */
export const escapeBreaks = (text: string): string => text.replace(/[\t\n]/g, (char) => `&#${char.charCodeAt(0)};`)

/** Text that came from elsewhere, as far as XML can say it. */
export const cleanText = (text: string): string => text.replace(EACH, (char) => (escapes[char] === undefined ? '\ufffd' : char))

function escaped(char: string): string {
  const safe = escapes[char]
  if (safe !== undefined) return safe
  const code = char.charCodeAt(0).toString(16).padStart(4, '0').toUpperCase()
  throw new TypeError(`XML has no place for the character U+${code}; send such text as bytes`)
}

/** Envelopes and faults of SOAP 1.1 (w3.org/TR/2000/NOTE-SOAP-20000508) and 1.2 (w3.org/TR/soap12-part1). Sans I/O. */
import type { DepthLimits } from '../codecs/depth.js'
import { plainMessage, TalkwireError, type Outcome } from '../error.js'
import type { Limits } from '../session/limits.js'
import { readMessage, writeMessage, XSI, type Message, type Operation } from './soap-schema.js'
import { childOf, cleanText, DECLARATION, escapeAttribute, escapeText, type Element, type Xml } from './xml.js'

export type Version = '1.1' | '1.2'
export const TYPES: Readonly<Record<Version, string>> = { '1.1': 'text/xml; charset=utf-8', '1.2': 'application/soap+xml; charset=utf-8' }
const NAMESPACES: Readonly<Record<Version, string>> = {
  '1.1': 'http://schemas.xmlsoap.org/soap/envelope/',
  '1.2': 'http://www.w3.org/2003/05/soap-envelope',
}
/** Of the element in a fault's detail that has the error's name and outcome. */
const OWN = 'urn:talkwire:soap'
/** `Envelope`, `Body`, the wrapper and what is around an inner list. */
const AROUND = 6

const invalid = (what: string): TalkwireError => new TalkwireError('INVALID_MESSAGE', `no SOAP: ${what}`)

export interface Envelope {
  readonly version: Version
  readonly body: Element
}

/** The one element in the body. Throws INVALID_MESSAGE, TOO_DEEP, LIMIT_EXCEEDED, UNSUPPORTED for a header that must be understood. */
export function readEnvelope(
  xml: Xml,
  text: string,
  { depth, around = 0, values }: Pick<Limits, 'depth' | 'values'> & DepthLimits,
): Envelope {
  const root = xml.parse(text, { depth, elements: depth + around + AROUND, values }, true)
  const version = root.uri === NAMESPACES['1.1'] ? '1.1' : root.uri === NAMESPACES['1.2'] ? '1.2' : undefined
  if (root.name !== 'Envelope' || !version) throw invalid('the root is the Envelope of SOAP 1.1 or 1.2')
  const body = root.children.find(({ name, uri }) => name === 'Body' && uri === root.uri)
  if (!body || body.children.length !== 1) throw invalid('an envelope has one Body with one element')
  for (const header of childOf(root, 'Header')?.children ?? [])
    for (const [name, value] of header.attributes)
      if (name.endsWith(':mustUnderstand') && header.resolve(name.slice(0, -15)) === root.uri && /^(1|true)$/.test(value.trim()))
        throw new TalkwireError('UNSUPPORTED', `the header ${header.name.slice(0, 80)} must be understood, and is not; leave it out`)
  return { version, body: body.children[0]! }
}

export const writeEnvelope = (version: Version, body: string): string =>
  `${DECLARATION}<s:Envelope xmlns:s="${NAMESPACES[version]}"><s:Body>${body}</s:Body></s:Envelope>\n`

/** Throws TypeError. */
export const writeBody = (name: string, namespace: string, content: string): string =>
  `<t:${name} xmlns:t="${namespace}" xmlns:xsi="${XSI}">${content}</t:${name}>`

/** The same for a service of others. */
export const writeForeign = ({ name, uri }: { readonly name: string; readonly uri: string }, attributes: string, content: string): string =>
  `<f:${name} xmlns:f="${escapeAttribute(uri)}" xmlns:xsi="${XSI}"${attributes}>${content}</f:${name}>`

const CLIENTS = new Set([
  'INVALID_MESSAGE',
  'INVALID_REQUEST',
  'INVALID_INPUT',
  'METHOD_NOT_FOUND',
  'TOO_DEEP',
  'LIMIT_EXCEEDED',
  'MESSAGE_TOO_LARGE',
  'UNAUTHENTICATED',
  'PERMISSION_DENIED',
])

export const isSenders = (error: TalkwireError): boolean => error.declared || CLIENTS.has(error.code)

/** An envelope with a fault. */
export function writeFault(version: Version, error: TalkwireError, namespace: string, operation?: Operation): string {
  const text = escapeText(cleanText(error.message))
  const detail = `${declaredDetail(error, namespace, operation)}<e:error xmlns:e="${OWN}" code="${escapeAttribute(cleanText(error.code))}" outcome="${error.outcome}"/>`
  const [client, server] = version === '1.1' ? ['Client', 'Server'] : ['Sender', 'Receiver']
  const code = isSenders(error) ? client : server
  return writeEnvelope(
    version,
    version === '1.1'
      ? `<s:Fault><faultcode>s:${code}</faultcode><faultstring>${text}</faultstring><detail>${detail}</detail></s:Fault>`
      : `<s:Fault><s:Code><s:Value>s:${code}</s:Value></s:Code><s:Reason><s:Text xml:lang="en">${text}</s:Text></s:Reason><s:Detail>${detail}</s:Detail></s:Fault>`,
  )
}

function declaredDetail(error: TalkwireError, namespace: string, operation: Operation | undefined): string {
  const message = error.declared ? operation?.errors.get(error.code) : undefined
  if (!message) return ''
  try {
    return writeBody(`${operation!.name}.${error.code}`, namespace, writeMessage(message, error.details))
  } catch {
    return ''
  }
}

export const isFault = ({ name, uri }: Element): boolean => name === 'Fault' && Object.values(NAMESPACES).includes(uri)

const outcomes = new Set<unknown>(['not-sent', 'maybe-ran', 'ran'])

/** Never throws: an error is also made of what a foreign service says. */
export function readFault(fault: Element, operation: Operation): TalkwireError {
  const reason = childOf(fault, 'Reason')
  const text =
    (childOf(fault, 'faultstring') ?? (reason && childOf(reason, 'Text')))?.text.trim() ?? 'the service sent a fault without a text'
  const detail = childOf(fault, 'detail') ?? childOf(fault, 'Detail')
  const own = detail?.children.find(({ name, uri }) => name === 'error' && uri === OWN)
  for (const element of detail?.children ?? []) {
    const [code, message] = declaredBy(element, operation) ?? []
    if (code === undefined || !message) continue
    try {
      return new TalkwireError(code, unprefixed(text, code), { declared: true, outcome: 'ran', details: readMessage(message, element) })
    } catch {
      break
    }
  }
  const code = own?.attributes.get('code') ?? 'UNKNOWN'
  const outcome = own?.attributes.get('outcome')
  return new TalkwireError(code, unprefixed(text, code), { outcome: outcomes.has(outcome) ? (outcome as Outcome) : 'ran' })
}

function declaredBy({ name, uri }: Element, { name: method, errors, wire }: Operation): [code: string, message: Message] | undefined {
  if (wire) return [...errors].find(([, { element }]) => element?.name === name && element.uri === uri)
  const code = name.slice(method.length + 1)
  const message = name.startsWith(`${method}.`) ? errors.get(code) : undefined
  return message && [code, message]
}

const unprefixed = (text: string, code: string): string => plainMessage({ message: text, code } as TalkwireError)

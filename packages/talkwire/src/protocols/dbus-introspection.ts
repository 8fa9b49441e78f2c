/** What an object of D-Bus says of itself, in XML: written, and read from others. Sans I/O. Source: D-Bus Specification, "Introspection Data Format". */
import { TalkwireError } from '../error.js'
import { isInterface, isMember } from './dbus-message.js'
import type { Argument } from './dbus-schema.js'
import { splitSignature } from './dbus-types.js'
import { escapeAttribute } from './xml.js'

export interface MethodNode {
  readonly inputs: readonly Argument[]
  readonly outputs: readonly Argument[]
  readonly oneway?: boolean
}
export interface SignalNode {
  readonly values: readonly Argument[]
}
export interface PropertyNode {
  readonly signature: string
  readonly access: 'read' | 'write' | 'readwrite'
  /** No signal tells that it changed. */
  silent?: boolean
}
export interface InterfaceNode {
  readonly methods: ReadonlyMap<string, MethodNode>
  readonly signals: ReadonlyMap<string, SignalNode>
  readonly properties: ReadonlyMap<string, PropertyNode>
}
export interface ObjectNode {
  readonly interfaces: ReadonlyMap<string, InterfaceNode>
  /** The last part of the path of each. */
  readonly children: readonly string[]
}

// ── writing ──────────────────────────────────────────────────────────────────────────────────────

const DOCTYPE =
  '<!DOCTYPE node PUBLIC "-//freedesktop//DTD D-BUS Object Introspection 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd">\n'
const NO_REPLY = 'org.freedesktop.DBus.Method.NoReply'
const EMITS = 'org.freedesktop.DBus.Property.EmitsChangedSignal'

const attribute = (name: string, value: string): string => ` ${name}="${escapeAttribute(value)}"`
const named = (name: string): string => (name === '' ? '' : attribute('name', name))
const annotation = (name: string, value: string): string => `      <annotation${attribute('name', name)}${attribute('value', value)}/>\n`

function element(tag: string, attributes: string, inner: string, indent: string): string {
  return inner === '' ? `${indent}<${tag}${attributes}/>\n` : `${indent}<${tag}${attributes}>\n${inner}${indent}</${tag}>\n`
}

const argumentsText = (list: readonly Argument[], direction: string): string =>
  list.map(({ name, signature }) => `      <arg${named(name)}${attribute('type', signature)}${direction}/>\n`).join('')

export function writeObject({ interfaces, children }: ObjectNode): string {
  let text = ''
  for (const [name, { methods, signals, properties }] of interfaces) {
    let inner = ''
    for (const [method, { inputs, outputs, oneway }] of methods) {
      const list = argumentsText(inputs, ' direction="in"') + argumentsText(outputs, ' direction="out"')
      inner += element('method', named(method), list + (oneway ? annotation(NO_REPLY, 'true') : ''), '    ')
    }
    for (const [signal, { values }] of signals) inner += element('signal', named(signal), argumentsText(values, ''), '    ')
    for (const [property, { signature, access, silent }] of properties)
      inner += element(
        'property',
        named(property) + attribute('type', signature) + attribute('access', access),
        silent ? annotation(EMITS, 'false') : '',
        '    ',
      )
    text += element('interface', named(name), inner, '  ')
  }
  for (const child of children) text += element('node', named(child), '', '  ')
  return `${DOCTYPE}<node>\n${text}</node>\n`
}

// ── reading ──────────────────────────────────────────────────────────────────────────────────────

const bad = (what: string): TalkwireError => new TalkwireError('INVALID_MESSAGE', `the introspection of D-Bus: ${what}`)

/** Most characters, and most elements in each other, of what others say of themselves. */
const LONGEST = 4 * 1024 * 1024
const DEEPEST = 32

interface Tag {
  readonly name: string
  readonly attributes: ReadonlyMap<string, string>
  readonly opens: boolean
  readonly closes: boolean
}

const ENTITIES: Readonly<Record<string, string>> = { '&lt;': '<', '&gt;': '>', '&amp;': '&', '&quot;': '"', '&apos;': "'" }

/**
 * Its tags, in order. The form is XML's, with the document type that every object of D-Bus writes, so it is not read by what reads
 * XML of strangers elsewhere, which takes none: here nothing of it is read, and no entities are but the five of XML.
 */
function* tagsOf(text: string): Generator<Tag> {
  if (text.length > LONGEST) throw bad(`${text.length} characters, the limit is ${LONGEST}`)
  for (let at = text.indexOf('<'); at >= 0; at = text.indexOf('<', at)) {
    const skipped = text.startsWith('<!--', at) ? '-->' : text.startsWith('<?', at) ? '?>' : text.startsWith('<!', at) ? '>' : undefined
    const end = text.indexOf(skipped ?? '>', at)
    if (end < 0) throw bad('it ends within a tag')
    if (skipped === undefined) yield readTag(text.slice(at + 1, end))
    else if (skipped === '>' && text.slice(at, end).includes('[')) throw bad('a document type with declarations of its own')
    at = end + (skipped ?? '>').length
  }
}

function readTag(text: string): Tag {
  const match = /^(\/?)([A-Za-z_][\w.:-]*)((?:\s+[\w.:-]+\s*=\s*(?:"[^"<]*"|'[^'<]*'))*)\s*(\/?)$/.exec(text)
  if (!match) throw bad(`${JSON.stringify(text.slice(0, 80))} is no tag`)
  const attributes = new Map<string, string>()
  for (const [, name, double, single] of match[3]!.matchAll(/([\w.:-]+)\s*=\s*(?:"([^"]*)"|'([^']*)')/g))
    attributes.set(
      name!,
      (double ?? single!).replace(/&(?:lt|gt|amp|quot|apos);/g, (entity) => ENTITIES[entity]!),
    )
  return { name: match[2]!, attributes, opens: match[1] === '', closes: match[1] === '/' || match[4] === '/' }
}

interface Mutable {
  readonly methods: Map<string, { inputs: Argument[]; outputs: Argument[]; oneway: boolean }>
  readonly signals: Map<string, { values: Argument[] }>
  readonly properties: Map<string, PropertyNode>
}

/** Throws INVALID_MESSAGE. */
export function readObject(text: string): ObjectNode {
  const interfaces = new Map<string, Mutable>()
  const children: string[] = []
  const path: string[] = []
  let current: Mutable | undefined
  let member: Part | undefined
  const open = ({ name, attributes }: Tag): void => {
    const at = path.join('/')
    const own = attributes.get('name') ?? ''
    if (at === 'node' && name === 'node') children.push(own)
    else if (at === 'node' && name === 'interface' && isInterface(own)) {
      current = interfaces.get(own) ?? { methods: new Map(), signals: new Map(), properties: new Map() }
      interfaces.set(own, current)
    } else if (at === 'node/interface' && current && isMember(own)) member = openMember(current, name, own, attributes)
    else if (/^node\/interface\/(method|signal|property)$/.test(at) && member) openPart(member, name, attributes)
  }
  for (const tag of tagsOf(text)) {
    if (tag.opens) {
      open(tag)
      if (path.push(tag.name) > DEEPEST) throw bad(`more than ${DEEPEST} elements in each other`)
    }
    if (!tag.closes) continue
    if (path.pop() !== tag.name) throw bad(`</${tag.name.slice(0, 40)}> closes nothing`)
    const at = path.join('/')
    if (at === 'node/interface') member = undefined
    else if (at === 'node') current = undefined
  }
  if (path.length > 0) throw bad('it ends too early')
  return { interfaces, children }
}

/** What stands within it is added. */
interface Part {
  inputs?: Argument[]
  outputs?: Argument[]
  values?: Argument[]
  oneway?: boolean
  silent?: boolean
}

function openMember(of: Mutable, kind: string, name: string, attributes: ReadonlyMap<string, string>) {
  if (kind === 'method') {
    const method = { inputs: [], outputs: [], oneway: false }
    of.methods.set(name, method)
    return method
  }
  if (kind === 'signal') {
    const signal = { values: [] }
    of.signals.set(name, signal)
    return signal
  }
  const access = attributes.get('access')
  if (kind !== 'property' || (access !== 'read' && access !== 'write' && access !== 'readwrite')) return undefined
  const property: PropertyNode & Part = { signature: typeIn(attributes), access, silent: false }
  of.properties.set(name, property)
  return property
}

function openPart(member: Part, kind: string, attributes: ReadonlyMap<string, string>): void {
  const value = attributes.get('value')
  if (kind === 'annotation' && attributes.get('name') === NO_REPLY) member.oneway = value === 'true'
  if (kind === 'annotation' && attributes.get('name') === EMITS) member.silent = value === 'false' || value === 'const'
  if (kind !== 'arg' || member.silent !== undefined) return
  const argument = { name: attributes.get('name') ?? '', signature: typeIn(attributes) }
  const list = member.values ?? (attributes.get('direction') === 'out' ? member.outputs : member.inputs)
  list!.push(argument)
}

function typeIn(attributes: ReadonlyMap<string, string>): string {
  const signature = attributes.get('type') ?? ''
  if (splitSignature(signature).length !== 1) throw bad(`${JSON.stringify(signature.slice(0, 40))} is no type`)
  return signature
}

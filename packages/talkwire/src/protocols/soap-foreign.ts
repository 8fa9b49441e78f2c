/**
 * What a foreign WSDL 1.1 (w3.org/TR/wsdl) means: operations with their elements and types of XML Schema, as a client writes and reads
 * them. Document/literal and RPC/literal, SOAP 1.1 and 1.2. What it cannot read leaves out the operation, with the reason. Sans I/O.
 */
import type { Version } from './soap-message.js'
import { scalarOf, type Field, type Message, type Operation, type Structure } from './soap-schema.js'
import { childOf, type Element } from './xml.js'

const SOAP: Readonly<Record<string, Version>> = {
  'http://schemas.xmlsoap.org/wsdl/soap/': '1.1',
  'http://schemas.xmlsoap.org/wsdl/soap12/': '1.2',
}
const SCHEMA = 'http://www.w3.org/2001/XMLSchema'
/** Types inside each other. */
const MOST_DEPTH = 64

export interface ForeignService {
  readonly name: string
  readonly operations: ReadonlyMap<string, Operation>
  readonly leftOut: Readonly<Record<string, string>>
  /** Where the WSDL says that the service is. */
  readonly location: string | undefined
}

/** `documents`: the WSDL, and what it imports. Throws TypeError for what is no WSDL with a binding for SOAP. */
export function readWsdl(documents: readonly Element[]): ForeignService {
  const reader = new Reader(documents)
  return reader.service()
}

/** Where the parts of a WSDL stand that are elsewhere. */
export const importsOf = (root: Element): string[] =>
  everything(root).flatMap(({ name, attributes }) =>
    name === 'import' || name === 'include' ? (attributes.get('schemaLocation') ?? attributes.get('location') ?? []) : [],
  )

function everything(root: Element): Element[] {
  const all: Element[] = [root]
  for (const element of all) all.push(...element.children)
  return all
}

const local = (name: string): string => name.slice(name.indexOf(':') + 1)
const key = (uri: string, name: string): string => `{${uri}}${name}`

interface Declared {
  readonly element: Element
  readonly schema: Element
}

class Reader {
  private readonly messages = new Map<string, Element>()
  private readonly portTypes = new Map<string, Element>()
  private readonly bindings: Element[] = []
  private readonly services: Element[] = []
  private readonly elements = new Map<string, Declared>()
  private readonly types = new Map<string, Declared>()
  private readonly structures = new Map<Element, Structure>()
  private readonly namespace: string

  constructor(documents: readonly Element[]) {
    this.namespace = documents[0]!.attributes.get('targetNamespace') ?? ''
    for (const document of documents)
      for (const element of everything(document)) {
        const { name, attributes, uri } = element
        if (uri === SCHEMA && name === 'schema') this.readSchema(element)
        else if (name === 'message') this.messages.set(attributes.get('name') ?? '', element)
        else if (name === 'portType') this.portTypes.set(attributes.get('name') ?? '', element)
        else if (name === 'binding' && SOAP[uri] === undefined) this.bindings.push(element)
        else if (name === 'service') this.services.push(element)
      }
  }

  private readSchema(schema: Element): void {
    const target = schema.attributes.get('targetNamespace') ?? ''
    for (const element of schema.children) {
      const name = element.attributes.get('name')
      if (name === undefined) continue
      if (element.name === 'element') this.elements.set(key(target, name), { element, schema })
      else if (element.name === 'complexType' || element.name === 'simpleType') this.types.set(key(target, name), { element, schema })
    }
  }

  service(): ForeignService {
    const found = this.binding()
    if (!found) throw new TypeError('this WSDL has no binding for SOAP 1.1 or 1.2')
    const { binding, soap, version } = found
    const portType = this.portTypes.get(local(binding.attributes.get('type') ?? ''))
    const operations = new Map<string, Operation>()
    const leftOut: Record<string, string> = {}
    for (const bound of binding.children.filter((each) => each.name === 'operation')) {
      const name = bound.attributes.get('name') ?? ''
      const shape = portType?.children.find((each) => each.name === 'operation' && each.attributes.get('name') === name)
      try {
        if (!shape) throw new TypeError('its portType does not know it')
        operations.set(name, this.operation(name, shape, bound, soap, version))
      } catch (reason) {
        if (!(reason instanceof TypeError)) throw reason
        leftOut[name] = reason.message
      }
    }
    const name = this.services[0]?.attributes.get('name') ?? binding.attributes.get('name') ?? 'service'
    return { name, operations, leftOut, location: this.location(binding) }
  }

  /** SOAP 1.1 first: everyone has it. */
  private binding(): { binding: Element; soap: Element; version: Version } | undefined {
    for (const wanted of Object.keys(SOAP))
      for (const binding of this.bindings) {
        const soap = binding.children.find(({ name, uri }) => name === 'binding' && uri === wanted)
        if (soap) return { binding, soap, version: SOAP[wanted]! }
      }
    return undefined
  }

  private location(binding: Element): string | undefined {
    for (const { children } of this.services)
      for (const port of children)
        if (local(port.attributes.get('binding') ?? '') === binding.attributes.get('name'))
          return port.children.find(({ name }) => name === 'address')?.attributes.get('location')
    return undefined
  }

  private operation(name: string, shape: Element, bound: Element, soap: Element, version: Version): Operation {
    const own = bound.children.find(({ name: each, uri }) => each === 'operation' && SOAP[uri] !== undefined)
    const style = own?.attributes.get('style') ?? soap.attributes.get('style') ?? 'document'
    const body = childOf(bound, 'input') && childOf(childOf(bound, 'input')!, 'body')
    if (body?.attributes.get('use') === 'encoded') throw new TypeError('it is encoded (SOAP 1.1 § 5), and only literal messages are read')
    const input = this.message(shape, 'input')
    const output = childOf(shape, 'output') && this.message(shape, 'output')
    const rpcStyle = style === 'rpc'
    const request = rpcStyle
      ? { structure: this.parts(input, name), element: { name, uri: body?.attributes.get('namespace') ?? this.namespace } }
      : this.documentMessage(input)
    const answer = !output
      ? { structure: { kind: 'structure', name: `${name}Response`, fields: new Map() } satisfies Structure }
      : rpcStyle
        ? { structure: this.parts(output, `${name}Response`) }
        : this.documentMessage(output)
    return {
      name,
      request: request as Message,
      answer: unwrapped(answer as Message),
      errors: this.faults(shape),
      wire: { version, action: own?.attributes.get('soapAction') ?? '', element: request.element!, oneway: !output },
    }
  }

  /** Those that cannot be read are faults that nobody declared. */
  private faults(shape: Element): Map<string, Message> {
    const errors = new Map<string, Message>()
    for (const fault of shape.children.filter((each) => each.name === 'fault')) {
      const name = errorName(fault.attributes.get('name') ?? '')
      const message = this.messages.get(local(fault.attributes.get('message') ?? ''))
      if (name === undefined || !message || errors.has(name)) continue
      try {
        errors.set(name, this.documentMessage(message, true))
      } catch (reason) {
        if (!(reason instanceof TypeError)) throw reason
      }
    }
    return errors
  }

  private message(shape: Element, which: string): Element {
    const message = this.messages.get(local(childOf(shape, which)?.attributes.get('message') ?? ''))
    if (!message) throw new TypeError(`its ${which} message is not in the WSDL`)
    return message
  }

  private parts(message: Element, name: string): Structure {
    const fields = new Map<string, Field>()
    for (const part of message.children.filter((each) => each.name === 'part')) {
      const each = part.attributes.get('name') ?? ''
      if (part.attributes.has('element')) throw new TypeError('an RPC message with elements')
      fields.set(each, {
        name: each,
        uri: '',
        of: this.typeNamed(part, part.attributes.get('type') ?? '', 0),
        optional: false,
        nullable: true,
        list: false,
      })
    }
    return { kind: 'structure', name, fields, open: true }
  }

  private documentMessage(message: Element, plain = false): Message & { readonly element: { name: string; uri: string } } {
    const parts = message.children.filter((each) => each.name === 'part' && each.attributes.has('element'))
    if (parts.length !== 1) throw new TypeError('a document message has one part with an element')
    const { name, uri } = resolve(parts[0]!, parts[0]!.attributes.get('element')!)
    const declared = this.elements.get(key(uri, name))
    if (!declared) throw new TypeError(`<${name}> is declared nowhere`)
    const of = this.typeOf(declared.element, declared.schema, 0)
    if (of.kind === 'structure') return { structure: of, element: { name, uri } }
    if (!plain) throw new TypeError(`<${name}> is a plain value without a wrapper`)
    const only: Field = { name: 'value', of, place: 'text', optional: false, nullable: false, list: false }
    const structure: Structure = { kind: 'structure', name, fields: new Map([['value', only]]), open: true }
    return { structure, bare: 'value', element: { name, uri } }
  }

  // ── types ────────────────────────────────────────────────────────────────────────────────────────

  private typeOf(element: Element, schema: Element, depth: number): Field['of'] {
    if (depth > MOST_DEPTH) throw new TypeError('types are nested too deeply')
    const named = element.attributes.get('type')
    if (named !== undefined) return this.typeNamed(element, named, depth)
    const complex = childOf(element, 'complexType')
    if (complex) return this.structure(complex, schema, element.attributes.get('name') ?? '', depth)
    const simple = childOf(element, 'simpleType')
    if (simple) return this.simple(simple, depth)
    throw new TypeError(`<${element.attributes.get('name') ?? ''}> may hold anything`)
  }

  private typeNamed(at: Element, written: string, depth: number): Field['of'] {
    const { name, uri } = resolve(at, written)
    if (uri === SCHEMA) {
      const scalar = scalarOf(name)
      if (!scalar) throw new TypeError(`xs:${name} has no meaning here`)
      return scalar
    }
    const declared = this.types.get(key(uri, name))
    if (!declared) throw new TypeError(`the type ${name} is declared nowhere`)
    return declared.element.name === 'simpleType'
      ? this.simple(declared.element, depth)
      : this.structure(declared.element, declared.schema, name, depth)
  }

  private simple(type: Element, depth: number): Field['of'] {
    const restriction = childOf(type, 'restriction')
    const base = restriction?.attributes.get('base')
    if (restriction && base !== undefined) return this.typeNamed(restriction, base, depth + 1)
    // Lists and unions are text.
    return scalarOf('string')!
  }

  private structure(type: Element, schema: Element, name: string, depth: number): Structure {
    const known = this.structures.get(type)
    if (known) return known
    const structure: Structure = { kind: 'structure', name, fields: new Map(), open: true }
    this.structures.set(type, structure)
    this.fill(structure, type, schema, depth + 1)
    return structure
  }

  private fill(structure: Structure, type: Element, schema: Element, depth: number, optional = false): void {
    if (depth > MOST_DEPTH) throw new TypeError('types are nested too deeply')
    for (const part of type.children) {
      if (part.name === 'sequence' || part.name === 'all')
        this.fill(structure, part, schema, depth + 1, optional || part.attributes.get('minOccurs') === '0')
      else if (part.name === 'choice') this.fill(structure, part, schema, depth + 1, true)
      else if (part.name === 'element') this.addField(structure, part, schema, depth, optional)
      else if (part.name === 'complexContent') this.extend(structure, part, schema, depth)
      else if (part.name === 'simpleContent') this.extend(structure, part, schema, depth)
      else if (part.name === 'any') throw new TypeError(`${structure.name} may hold anything`)
      else if (part.name === 'attribute') this.addAttribute(structure, part)
    }
  }

  private extend(structure: Structure, content: Element, schema: Element, depth: number): void {
    const extension = childOf(content, 'extension')
    if (!extension) throw new TypeError(`${structure.name} restricts another type`)
    const base = this.typeNamed(extension, extension.attributes.get('base') ?? '', depth)
    if (base.kind === 'scalar') {
      structure.fields.set('value', { name: 'value', of: base, place: 'text', optional: false, nullable: false, list: false })
      return this.fill(structure, extension, schema, depth + 1)
    }
    for (const [name, field] of base.fields) structure.fields.set(name, field)
    this.fill(structure, extension, schema, depth + 1)
  }

  /** Those of other namespaces are left out. */
  private addAttribute(structure: Structure, written: Element): void {
    const attribute = written.attributes.get('name')
    const use = written.attributes.get('use')
    if (use === 'prohibited') return
    if (attribute === undefined || written.attributes.get('form') === 'qualified') {
      if (use === 'required') throw new TypeError(`${structure.name} has a required attribute of another namespace`)
      return
    }
    if (!/^[A-Za-z_][\w.-]*$/.test(attribute) || attribute === '__proto__') throw new TypeError(`"${attribute}" is no name of a member`)
    const type = written.attributes.get('type')
    const inline = childOf(written, 'simpleType')
    const of = type !== undefined ? this.typeNamed(written, type, 0) : inline ? this.simple(inline, 0) : scalarOf('string')!
    if (of.kind === 'structure') throw new TypeError(`the attribute "${attribute}" has a type of elements`)
    // An element may have the same name.
    let name = attribute
    while (structure.fields.has(name)) name = `${name}_`
    structure.fields.set(name, { name, of, place: { attribute }, optional: use !== 'required', nullable: false, list: false })
  }

  private addField(structure: Structure, written: Element, schema: Element, depth: number, optional: boolean): void {
    const ref = written.attributes.get('ref')
    const referred = ref === undefined ? undefined : resolve(written, ref)
    const declared = referred ? this.elements.get(key(referred.uri, referred.name)) : { element: written, schema }
    if (!declared) throw new TypeError(`<${ref!}> is declared nowhere`)
    const name = declared.element.attributes.get('name') ?? ''
    if (!/^[A-Za-z_][\w.-]*$/.test(name) || name === '__proto__') throw new TypeError(`<${name}> is no name of a member`)
    const form = written.attributes.get('form') ?? declared.schema.attributes.get('elementFormDefault')
    const qualified = referred !== undefined || form === 'qualified'
    const most = written.attributes.get('maxOccurs') ?? '1'
    structure.fields.set(name, {
      name,
      uri: qualified ? (declared.schema.attributes.get('targetNamespace') ?? '') : '',
      of: this.typeOf(declared.element, declared.schema, depth + 1),
      optional: optional || written.attributes.get('minOccurs') === '0',
      nullable: declared.element.attributes.get('nillable') === 'true',
      list: most === 'unbounded' || Number(most) > 1,
    })
  }
}

function resolve(at: Element, written: string): { name: string; uri: string } {
  const colon = written.indexOf(':')
  return { name: local(written), uri: at.resolve(colon < 0 ? '' : written.slice(0, colon)) ?? '' }
}

/** As declared errors are called. */
function errorName(written: string): string | undefined {
  const name = written
    .split(/[^A-Za-z0-9]+/)
    .map((word) => word.slice(0, 1).toUpperCase() + word.slice(1))
    .join('')
  return /^[A-Z][A-Za-z0-9]{0,63}$/.test(name) ? name : undefined
}

/** A wrapper around one value is that value. */
function unwrapped({ structure }: Message): Message {
  const [only, ...more] = structure.fields.keys()
  return more.length === 0 ? { structure, bare: only ?? 'result' } : { structure }
}

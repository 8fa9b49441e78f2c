/** A contract as WSDL 1.1 (w3.org/TR/wsdl): document/literal, wrapped, with bindings for SOAP 1.1 and 1.2. Sans I/O. */
import type { Contract } from '../contract/contract.js'
import type { Field, Message, Operation, Structure } from './soap-schema.js'
import { DECLARATION, escapeAttribute } from './xml.js'

/** The namespace of all that a contract names. */
export const namespaceOf = ({ name, version }: Pick<Contract, 'name' | 'version'>): string => `urn:talkwire:${name}:${version}`

export function wsdlOf(contract: Contract, operations: ReadonlyMap<string, Operation>, location: string): string {
  const all = [...operations.values()]
  const { name } = contract
  const binding = (version: '1.1' | '1.2', prefix: string): string =>
    `<w:binding name="${name}${prefix}" type="t:${name}"><${prefix}:binding style="document" transport="http://schemas.xmlsoap.org/soap/http"/>` +
    `${all.map((operation) => bindingOf(operation, prefix, `${namespaceOf(contract)}#${operation.name}`)).join('')}</w:binding>` +
    `<!-- SOAP ${version} -->`
  const port = (prefix: string): string =>
    `<w:port name="${name}${prefix}" binding="t:${name}${prefix}"><${prefix}:address location="${escapeAttribute(location)}"/></w:port>`
  return (
    `${DECLARATION}<w:definitions name="${name}" targetNamespace="${namespaceOf(contract)}" xmlns:t="${namespaceOf(contract)}"` +
    ` xmlns:w="http://schemas.xmlsoap.org/wsdl/" xmlns:xs="http://www.w3.org/2001/XMLSchema"` +
    ` xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap/" xmlns:soap12="http://schemas.xmlsoap.org/wsdl/soap12/">` +
    `<w:types>${schemaOf(namespaceOf(contract), all)}</w:types>` +
    all.map(messagesOf).join('') +
    `<w:portType name="${name}">${all.map(portOperation).join('')}</w:portType>` +
    `${binding('1.1', 'soap')}${binding('1.2', 'soap12')}` +
    `<w:service name="${name}">${port('soap')}${port('soap12')}</w:service></w:definitions>\n`
  )
}

const errorName = (operation: Operation, error: string): string => `${operation.name}.${error}`

const messagesOf = (operation: Operation): string =>
  [operation.name, `${operation.name}Response`, ...[...operation.errors.keys()].map((error) => errorName(operation, error))]
    .map((each) => `<w:message name="${each}"><w:part name="parameters" element="t:${each}"/></w:message>`)
    .join('')

function portOperation(operation: Operation): string {
  const { name, errors } = operation
  const faults = [...errors.keys()].map((error) => `<w:fault name="${error}" message="t:${errorName(operation, error)}"/>`).join('')
  return `<w:operation name="${name}"><w:input message="t:${name}"/><w:output message="t:${name}Response"/>${faults}</w:operation>`
}

function bindingOf({ name, errors }: Operation, prefix: string, action: string): string {
  const body = `<${prefix}:body use="literal"/>`
  const faults = [...errors.keys()].map((error) => `<w:fault name="${error}"><${prefix}:fault name="${error}" use="literal"/></w:fault>`)
  return (
    `<w:operation name="${name}"><${prefix}:operation soapAction="${action}" style="document"/>` +
    `<w:input>${body}</w:input><w:output>${body}</w:output>${faults.join('')}</w:operation>`
  )
}

function schemaOf(namespace: string, operations: readonly Operation[]): string {
  const types = new Map<string, Structure>()
  const elements = operations.flatMap((operation) => [
    element(operation.name, operation.request, types),
    element(`${operation.name}Response`, operation.answer, types),
    ...[...operation.errors].map(([error, message]) => element(errorName(operation, error), message, types)),
  ])
  // What is found while one is written is written after it: a Map goes on with what is added to it.
  let complex = ''
  for (const [name, structure] of types) complex += `<xs:complexType name="${name}">${sequenceOf(structure, types)}</xs:complexType>`
  return `<xs:schema targetNamespace="${namespace}" elementFormDefault="qualified">${elements.join('')}${complex}</xs:schema>`
}

const element = (name: string, { structure }: Message, types: Map<string, Structure>): string =>
  `<xs:element name="${name}"><xs:complexType>${sequenceOf(structure, types)}</xs:complexType></xs:element>`

const sequenceOf = ({ fields }: Structure, types: Map<string, Structure>): string =>
  `<xs:sequence>${[...fields.values()].map((field) => fieldElement(field, types)).join('')}</xs:sequence>`

function fieldElement({ name, of, optional, nullable, list }: Field, types: Map<string, Structure>): string {
  if (of.kind === 'structure') types.set(of.name, of)
  const type = of.kind === 'scalar' ? `xs:${of.type}` : `t:${of.name}`
  const occurs = `${optional || list ? ' minOccurs="0"' : ''}${list ? ' maxOccurs="unbounded"' : ''}`
  return `<xs:element name="${name}" type="${type}"${occurs}${nullable ? ' nillable="true"' : ''}/>`
}

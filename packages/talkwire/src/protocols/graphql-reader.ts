/** What is asked, parsed and validated, with limits that hold before it costs anything. Sans I/O. */
import type { DocumentNode, FieldNode, FragmentDefinitionNode, GraphQLError, GraphQLSchema, SelectionSetNode } from 'graphql'
import { TalkwireError } from '../error.js'
import type { Limits } from '../session/limits.js'
import { extensionsOf } from './graphql-errors.js'

export type Library = typeof import('graphql')

/** Words of a document: what has more was not written by hand, and takes long to parse. */
const TOKENS = 10_000
/** Fields and fragments that one document may select, each as often as it is used: comparing them costs the square of it. */
const FIELDS = 1_000
/** Names under which one field may stand beside itself below the root. It has no arguments there, so a second one repeats the first. */
const REPEATED = 4
/** Times that one document may ask for the schema. */
const INTROSPECTIONS = 4
/** Errors told of one document. */
const ERRORS = 20
/** Documents kept, of at most so many characters each. */
const KEPT = 200
const KEPT_LENGTH = 2_048

export interface DocumentReader {
  /** Throws GraphQLError. */
  parse(text: string): DocumentNode
  /** Empty: it is valid. */
  validate(document: DocumentNode): readonly GraphQLError[]
}

export function createReader(library: Library, schema: GraphQLSchema, limits: Limits): DocumentReader {
  const known = new Map<string, DocumentNode>()
  const texts = new WeakMap<DocumentNode, string>()
  const valid = new WeakSet<DocumentNode>()
  return {
    parse(text) {
      const before = known.get(text)
      if (before) return before
      const refuse = (error: TalkwireError): never => {
        throw new library.GraphQLError(error.message, { extensions: extensionsOf(error) })
      }
      if (isNested(text, BRACKETS * limits.depth)) refuse(deeper(limits.depth))
      const document = library.parse(text, { maxTokens: TOKENS })
      const error = new Measure(document, limits).error()
      if (error) refuse(error)
      texts.set(document, text)
      return document
    },
    validate(document) {
      if (valid.has(document)) return []
      const errors = library.validate(schema, document, library.specifiedRules, { maxErrors: ERRORS })
      if (errors.length > 0) return errors
      valid.add(document)
      const text = texts.get(document)
      if (text !== undefined && text.length <= KEPT_LENGTH) {
        if (known.size >= KEPT) known.delete(known.keys().next().value!)
        known.set(text, document)
      }
      return []
    },
  }
}

/** Of brackets in each other, for each level of a value or a selection: a document is parsed by a function that calls itself. */
const BRACKETS = 4

/** Whether a document has more brackets inside each other than that. */
function isNested(text: string, most: number): boolean {
  let open = 0
  for (let at = 0; at < text.length; at++) {
    const char = text[at]!
    if (char === '"') at = endOfText(text, at)
    else if (char === '#') at = indexOf(text, '\n', at)
    else if ('[({'.includes(char) && ++open > most) return true
    else if ('])}'.includes(char)) open--
  }
  return false
}

/** Where a text ends that begins there, or the end: parsing tells what is wrong with it. */
function endOfText(text: string, start: number): number {
  let at = start
  if (!text.startsWith('"""', start)) {
    for (at++; at < text.length && text[at] !== '"' && text[at] !== '\n'; at++) if (text[at] === '\\') at++
    return at
  }
  do at = indexOf(text, '"""', at + 3)
  while (text[at - 1] === '\\')
  return at + 2
}

function indexOf(text: string, what: string, from: number): number {
  const at = text.indexOf(what, from)
  return at < 0 ? text.length : at
}

const deeper = (depth: number): TalkwireError =>
  new TalkwireError('TOO_DEEP', `fields or values nested deeper than ${depth}; see limits.depth`)
const beyond = (text: string): TalkwireError => new TalkwireError('LIMIT_EXCEEDED', text)

/** How much a document selects. What is no valid GraphQL is let pass here: validation tells it better. */
class Measure {
  private readonly fragments = new Map<string, FragmentDefinitionNode>()
  private left = FIELDS
  private introspections = 0

  constructor(
    private readonly document: DocumentNode,
    private readonly limits: Limits,
  ) {
    for (const definition of document.definitions)
      if (definition.kind === 'FragmentDefinition') this.fragments.set(definition.name.value, definition)
  }

  error(): TalkwireError | undefined {
    try {
      for (const definition of this.document.definitions)
        if (definition.kind === 'OperationDefinition') this.root(definition.selectionSet)
        else if (definition.kind === 'FragmentDefinition') this.below(definition.selectionSet, 1)
      return undefined
    } catch (reason) {
      return TalkwireError.from(reason)
    }
  }

  private root(set: SelectionSetNode): void {
    const fields = this.fieldsOf(set)
    let calls = 0
    for (const { name } of fields) {
      if (name.value === '__schema' || name.value === '__type') this.introspections++
      else calls++
    }
    if (calls > this.limits.batch)
      throw beyond(`an operation of more than ${this.limits.batch} calls; send less at a time, or raise limits.batch`)
    if (this.introspections > INTROSPECTIONS) throw beyond(`the schema is asked for more than ${INTROSPECTIONS} times`)
    for (const { selectionSet } of fields) if (selectionSet) this.below(selectionSet, 2)
  }

  private below(set: SelectionSetNode, depth: number): void {
    if (depth > this.limits.depth) throw deeper(this.limits.depth)
    const keys = new Map<string, Set<string>>()
    for (const { name, alias, selectionSet } of this.fieldsOf(set)) {
      const names = keys.get(name.value) ?? new Set()
      keys.set(name.value, names.add(alias?.value ?? name.value))
      if (names.size > REPEATED) throw beyond(`"${name.value.slice(0, 100)}" is selected under more than ${REPEATED} names; select it once`)
      if (selectionSet) this.below(selectionSet, depth + 1)
    }
  }

  /** With those of its fragments. A fragment inside itself stands there once: validation refuses it. */
  private fieldsOf(set: SelectionSetNode, inside: readonly string[] = []): FieldNode[] {
    const fields: FieldNode[] = []
    for (const selection of set.selections) {
      if (--this.left < 0) throw beyond(`a document that selects more than ${FIELDS} fields; send less at a time`)
      if (selection.kind === 'Field') fields.push(selection)
      else if (selection.kind === 'InlineFragment') fields.push(...this.fieldsOf(selection.selectionSet, inside))
      else {
        const name = selection.name.value
        const fragment = inside.includes(name) ? undefined : this.fragments.get(name)
        if (fragment) fields.push(...this.fieldsOf(fragment.selectionSet, [...inside, name]))
      }
    }
    return fields
  }
}

/** The text of a `.thrift` file as what it declares. Sans I/O. Source: doc/specs and compiler/cpp/src/thrift/thriftl.ll, thrifty.yy of Apache Thrift. */

/** A place in a text, for errors. */
export interface At {
  readonly file: File
  readonly offset: number
}

export interface File {
  /** '': the text that was given first. */
  readonly name: string
  readonly text: string
  readonly includes: { readonly path: string; readonly at: At }[]
  readonly types: Map<string, TypeNode>
  readonly constants: Map<string, ConstantNode>
  readonly services: Map<string, ServiceNode>
}

export type TypeNode = TypedefNode | EnumNode | StructNode

export interface TypedefNode {
  readonly kind: 'typedef'
  readonly type: TypeRef
}

export interface EnumNode {
  readonly kind: 'enum'
  readonly name: string
  readonly values: readonly (readonly [name: string, number: number])[]
}

export interface StructNode {
  readonly kind: 'struct'
  readonly word: 'struct' | 'union' | 'exception'
  readonly name: string
  readonly fields: readonly FieldNode[]
}

export interface FieldNode {
  readonly at: At
  readonly id: number
  readonly name: string
  readonly need: 'required' | 'optional' | 'default'
  readonly type: TypeRef
  readonly initial: Value | undefined
}

export interface ConstantNode {
  readonly type: TypeRef
  readonly value: Value
}

export interface ServiceNode {
  readonly at: At
  readonly name: string
  readonly parent: { readonly name: string; readonly at: At } | undefined
  readonly functions: readonly FunctionNode[]
}

export interface FunctionNode {
  readonly at: At
  readonly name: string
  readonly oneway: boolean
  /** undefined: void. */
  readonly output: TypeRef | undefined
  readonly input: readonly FieldNode[]
  readonly errors: readonly FieldNode[]
}

export type Base = 'bool' | 'i8' | 'i16' | 'i32' | 'i64' | 'double' | 'string' | 'binary' | 'uuid'

export type TypeRef = { readonly at: At } & (
  | { readonly kind: 'base'; readonly name: Base }
  | { readonly kind: 'list'; readonly item: TypeRef }
  | { readonly kind: 'set'; readonly item: TypeRef }
  | { readonly kind: 'map'; readonly key: TypeRef; readonly value: TypeRef }
  | { readonly kind: 'name'; readonly name: string }
)

/** A constant as it is written. */
export type Value = { readonly at: At } & (
  | { readonly kind: 'number' | 'text' | 'name'; readonly text: string }
  | { readonly kind: 'list'; readonly items: readonly Value[] }
  | { readonly kind: 'map'; readonly entries: readonly (readonly [Value, Value])[] }
)

/** An error that says where it is: line and column, from 1. */
export function wrong({ file, offset }: At, text: string): TypeError {
  const before = file.text.slice(0, offset)
  const line = before.split('\n').length
  const column = offset - before.lastIndexOf('\n')
  return new TypeError(`${file.name === '' ? '' : `${file.name}, `}line ${line}, column ${column}: ${text}`)
}

// ── words ────────────────────────────────────────────────────────────────────────────────────────

type Kind = 'name' | 'number' | 'text' | 'sign' | 'end'

interface Token {
  readonly kind: Kind
  readonly text: string
  readonly at: At
}

const SPACE = /\s+|\/\/[^\n]*|#[^\n]*|\/\*[^]*?\*\//y
const TOKEN =
  /([A-Za-z_][\w.]*)|([+-]?(?:0x[\da-fA-F]+|(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?))|("(?:\\[^]|[^"\\])*"|'(?:\\[^]|[^'\\])*')|([{}()<>[\]:;,=*&-])/y
/** Words of a text, and types or constants in each other: nobody wrote more. */
const MOST = 1_000_000
const DEPTH = 64

function tokensOf(file: File): Token[] {
  const { text } = file
  const tokens: Token[] = []
  let offset = 0
  for (;;) {
    SPACE.lastIndex = offset
    if (SPACE.test(text)) {
      offset = SPACE.lastIndex
      continue
    }
    const at = { file, offset }
    if (offset === text.length) return [...tokens, { kind: 'end', text: '', at }]
    TOKEN.lastIndex = offset
    const found = TOKEN.exec(text)
    if (!found) throw wrong(at, unreadable(text, offset))
    if (tokens.length >= MOST) throw wrong(at, `more than ${MOST} words`)
    const [whole, name, number, literal] = found
    const kind = name !== undefined ? 'name' : number !== undefined ? 'number' : literal !== undefined ? 'text' : 'sign'
    tokens.push({ kind, text: kind === 'text' ? unescaped(whole.slice(1, -1)) : whole, at })
    offset = TOKEN.lastIndex
  }
}

function unreadable(text: string, offset: number): string {
  if (text.startsWith('/*', offset)) return 'a comment without its end'
  if (text[offset] === '"' || text[offset] === "'") return 'a text without its end'
  return `${JSON.stringify(String.fromCodePoint(text.codePointAt(offset)!))} has no meaning here`
}

const ESCAPES: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t', '"': '"', "'": "'", '\\': '\\' }
const unescaped = (text: string): string => text.replaceAll(/\\([^])/g, (whole, sign: string) => ESCAPES[sign] ?? whole)

// ── grammar ──────────────────────────────────────────────────────────────────────────────────────

const BASES: Readonly<Record<string, Base>> = {
  bool: 'bool',
  byte: 'i8',
  i8: 'i8',
  i16: 'i16',
  i32: 'i32',
  i64: 'i64',
  double: 'double',
  string: 'string',
  slist: 'string',
  binary: 'binary',
  uuid: 'uuid',
}

/** `name`: how it was included; '' for the first. Throws TypeError with line and column. */
export function parseThrift(text: string, name = ''): File {
  const file: File = { name, text, includes: [], types: new Map(), constants: new Map(), services: new Map() }
  new Parser(file).file()
  return file
}

class Parser {
  private readonly tokens: readonly Token[]
  private index = 0

  constructor(private readonly of: File) {
    this.tokens = tokensOf(of)
  }

  private get here(): Token {
    return this.tokens[this.index]!
  }

  private next(): Token {
    const token = this.here
    if (token.kind !== 'end') this.index++
    return token
  }

  private fail(wanted: string, { at, kind, text }: Token = this.here): never {
    throw wrong(at, `expected ${wanted}, found ${kind === 'end' ? 'the end' : JSON.stringify(text.slice(0, 40))}`)
  }

  private accept(text: string): boolean {
    const { here } = this
    if ((here.kind !== 'sign' && here.kind !== 'name') || here.text !== text) return false
    this.index++
    return true
  }

  private expect(text: string): void {
    if (!this.accept(text)) this.fail(JSON.stringify(text))
  }

  private take(kind: Kind, wanted: string): Token {
    return this.here.kind === kind ? this.next() : this.fail(wanted)
  }

  /** A name that something gets: without dots. */
  private own(wanted: string): Token {
    const token = this.take('name', wanted)
    return token.text.includes('.') ? this.fail(`${wanted} without a dot`, token) : token
  }

  private separator(): void {
    if (!this.accept(',')) this.accept(';')
  }

  /** `(a = "b", c)`, which compilers of other languages look at. */
  private annotations(): void {
    if (!this.accept('(')) return
    while (!this.accept(')')) {
      this.take('name', 'the name of an annotation')
      if (this.accept('=')) this.take('text', 'a text')
      this.separator()
    }
  }

  private until<T>(end: string, each: () => T): T[] {
    const found: T[] = []
    while (!this.accept(end)) found.push(each())
    return found
  }

  file(): void {
    while (this.here.kind !== 'end') this.declaration()
  }

  private declaration(): void {
    const word = this.take('name', 'a declaration')
    switch (word.text) {
      case 'include': {
        const { text, at } = this.take('text', 'the path of a file')
        return void this.of.includes.push({ path: text, at })
      }
      case 'cpp_include':
        return void this.take('text', 'the path of a file')
      case 'namespace':
        return this.namespace()
      case 'const':
        return this.constant()
      case 'typedef':
        return this.typedef()
      case 'enum':
        return this.enum()
      case 'senum':
        return this.senum(word.at)
      case 'struct':
      case 'union':
      case 'exception':
        return this.struct(word.text)
      case 'service':
        return this.service()
      default:
        this.fail('include, namespace, const, typedef, enum, struct, union, exception or service', word)
    }
  }

  private namespace(): void {
    if (!this.accept('*')) this.take('name', 'a language')
    // Smalltalk's have lines in them.
    do this.take('name', 'a namespace')
    while (this.accept('-'))
    this.annotations()
    this.separator()
  }

  private add<T>(to: Map<string, T>, { text, at }: Token, value: T): void {
    if (to.has(text)) throw wrong(at, `${text} is declared twice`)
    to.set(text, value)
  }

  private constant(): void {
    const type = this.type()
    const name = this.own('the name of a constant')
    this.expect('=')
    this.add(this.of.constants, name, { type, value: this.value() })
    this.separator()
  }

  private typedef(): void {
    const type = this.type()
    this.add(this.of.types, this.own('the name of a type'), { kind: 'typedef', type })
    this.annotations()
    this.separator()
  }

  private enum(): void {
    const name = this.own('the name of an enum')
    this.expect('{')
    const taken = new Set<string>()
    let number = -1
    const values = this.until('}', () => {
      const value = this.own('the name of a value')
      if (taken.has(value.text)) throw wrong(value.at, `${name.text} has ${value.text} twice`)
      taken.add(value.text)
      number = this.accept('=') ? this.integer(32) : number + 1
      this.annotations()
      this.separator()
      return [value.text, number] as const
    })
    this.add(this.of.types, name, { kind: 'enum', name: name.text, values })
    this.annotations()
    this.separator()
  }

  /** Long out of use: names that travel as texts. */
  private senum(at: At): void {
    const name = this.own('the name of a type')
    this.expect('{')
    this.until('}', () => {
      this.take('text', 'a text')
      this.separator()
    })
    this.add(this.of.types, name, { kind: 'typedef', type: { at, kind: 'base', name: 'string' } })
    this.annotations()
    this.separator()
  }

  private struct(word: StructNode['word']): void {
    const name = this.own(`the name of a${word === 'struct' ? '' : 'n'} ${word}`)
    this.accept('xsd_all')
    this.expect('{')
    this.add(this.of.types, name, { kind: 'struct', word, name: name.text, fields: this.fields('}') })
    this.annotations()
    this.separator()
  }

  private service(): void {
    const name = this.own('the name of a service')
    const parent = this.accept('extends') ? this.take('name', 'the name of a service') : undefined
    this.expect('{')
    const functions = this.until('}', () => this.function())
    this.add(this.of.services, name, {
      at: name.at,
      name: name.text,
      parent: parent && { name: parent.text, at: parent.at },
      functions,
    })
    this.annotations()
    this.separator()
  }

  private function(): FunctionNode {
    const oneway = this.accept('oneway') || this.accept('async')
    const { here } = this
    const output = this.accept('void') ? undefined : this.type()
    if (oneway && output) throw wrong(here.at, 'a oneway function is void: nobody would receive its result')
    const { text: name, at } = this.own('the name of a function')
    this.expect('(')
    const input = this.fields(')')
    const thrown = this.here
    const errors = this.accept('throws') ? (this.expect('('), this.fields(')')) : []
    if (oneway && errors.length > 0) throw wrong(thrown.at, 'a oneway function throws nothing: nobody would receive it')
    this.annotations()
    this.separator()
    return { at, name, oneway, output, input, errors }
  }

  private fields(end: string): FieldNode[] {
    const ids = new Set<number>()
    const names = new Set<string>()
    // Fields without a number get those below 0, as the compiler gives them.
    let free = -1
    return this.until(end, () => {
      const { at } = this.here
      const given = this.here.kind === 'number' ? this.fieldId() : undefined
      const id = given ?? free--
      const need = this.accept('required') ? 'required' : this.accept('optional') ? 'optional' : 'default'
      const type = this.type()
      this.accept('&')
      const { text: name, at: named } = this.own('the name of a field')
      if (ids.has(id)) throw wrong(at, `the number ${id} of "${name}" is taken`)
      if (names.has(name)) throw wrong(named, `there are two fields "${name}"`)
      ids.add(id)
      names.add(name)
      const initial = this.accept('=') ? this.value() : undefined
      this.xsd()
      this.annotations()
      this.separator()
      return { at: named, id, name, need, type, initial }
    })
  }

  private fieldId(): number {
    const { at } = this.here
    const id = this.integer(16)
    // The compiler would give it another one, below 0.
    if (id < 1) throw wrong(at, 'fields are numbered from 1')
    this.expect(':')
    return id
  }

  private xsd(): void {
    this.accept('xsd_optional')
    this.accept('xsd_nillable')
    if (this.accept('xsd_attrs')) {
      this.expect('{')
      this.fields('}')
    }
  }

  private integer(bits: number): number {
    const token = this.take('number', 'a number')
    const number = Number(token.text.replace(/^\+/, ''))
    const signed = token.text.startsWith('-0x') ? -Number(token.text.slice(1)) : number
    if (!Number.isInteger(signed) || signed < -(2 ** (bits - 1)) || signed >= 2 ** (bits - 1))
      throw wrong(token.at, `${token.text} is no whole number of ${bits} bits`)
    return signed
  }

  private type(depth = 0): TypeRef {
    const { at, text } = this.take('name', 'a type')
    if (depth > DEPTH) throw wrong(at, `more than ${DEPTH} types in each other`)
    const type = this.container(at, text, depth) ?? this.named(at, text)
    this.annotations()
    return type
  }

  private named(at: At, text: string): TypeRef {
    if (Object.hasOwn(BASES, text)) return { at, kind: 'base', name: BASES[text]! }
    if (text === 'void') throw wrong(at, 'void is the result of a function only')
    return { at, kind: 'name', name: text }
  }

  private container(at: At, kind: string, depth: number): TypeRef | undefined {
    if (kind !== 'list' && kind !== 'set' && kind !== 'map') return undefined
    this.cppType()
    this.expect('<')
    const first = this.type(depth + 1)
    if (kind === 'map') {
      this.expect(',')
      const value = this.type(depth + 1)
      this.expect('>')
      return { at, kind, key: first, value }
    }
    this.expect('>')
    if (kind === 'list') this.cppType()
    return { at, kind, item: first }
  }

  private cppType(): void {
    if (this.accept('cpp_type')) this.take('text', 'a type of C++')
  }

  private value(depth = 0): Value {
    const { at, kind, text } = this.next()
    if (depth > DEPTH) throw wrong(at, `more than ${DEPTH} constants in each other`)
    if (kind === 'number' || kind === 'text' || kind === 'name') return { at, kind, text }
    if (kind === 'sign' && text === '[') {
      const items = this.until(']', () => {
        const item = this.value(depth + 1)
        this.separator()
        return item
      })
      return { at, kind: 'list', items }
    }
    if (kind !== 'sign' || text !== '{') this.fail('a constant', { at, kind, text })
    const entries = this.until('}', () => {
      const key = this.value(depth + 1)
      this.expect(':')
      const value = this.value(depth + 1)
      this.separator()
      return [key, value] as const
    })
    return { at, kind: 'map', entries }
  }
}

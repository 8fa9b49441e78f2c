/** Calls to an object of D-Bus: by a contract, or by what the object says of itself. */
import type { Contract } from '../contract/contract.js'
import { TalkwireError } from '../error.js'
import { inputOf } from '../session/service.js'
import { closeGiven } from '../descriptor.js'
import { readError } from './dbus-errors.js'
import type { InterfaceNode, ObjectNode } from './dbus-introspection.js'
import { closeAll, type Arrived, type Line } from './dbus-line.js'
import { bodyOf, ended, Flag, Type, type Fields, type Message } from './dbus-message.js'
import type { Operations } from './dbus-object.js'
import { bind, plainArguments, type Argument, type Arguments } from './dbus-schema.js'
import { readArguments, writeArguments, type Reader, type Writer } from './dbus-values.js'
import type { Answer, Callee, DialectClientOptions, OpenCall } from './dialect.js'
import { describeMethod } from '../contract/json-schema.js'
import { toJsonSchema } from '../contract/schema-libraries.js'

const PROPERTIES = 'org.freedesktop.DBus.Properties'
const CHANGED = 'PropertiesChanged'

/** How a method of the client's is called over there. */
export interface Target {
  readonly interface: string
  readonly member: string
  readonly inputs: Arguments
  readonly outputs: Arguments
  readonly errors: ReadonlyMap<string, Arguments>
  readonly oneway: boolean
  /** A property: its name there. */
  readonly property?: string
  /** Of a contract: the members of its input that may come by position. */
  readonly parameters?: readonly string[]
}
export interface Heard {
  readonly interface: string
  readonly member: string
  readonly values: Arguments
  /** Not a signal of its own, but `PropertiesChanged` of this property. */
  readonly property?: { readonly interface: string; readonly name: string }
}

export interface Targets {
  method(name: string): Target | undefined
  event(name: string): Heard | undefined
}

const NONE = plainArguments([], false)

// ── what the object says ─────────────────────────────────────────────────────────────────────────

type Entries = readonly (readonly [string, InterfaceNode])[]

/** `name` is a member of the first interface that has it, or `interface.member`. */
function find<T>(
  interfaces: Entries,
  name: string,
  of: (node: InterfaceNode) => ReadonlyMap<string, T>,
): readonly [string, string, T] | undefined {
  const dot = name.lastIndexOf('.')
  const member = name.slice(dot + 1)
  for (const [each, node] of interfaces) {
    if (dot >= 0 && each !== name.slice(0, dot)) continue
    const found = of(node).get(member)
    if (found) return [each, member, found]
  }
  return undefined
}

/** Without a contract: values by position, with the types that the object tells. Its own interface, `first`, goes before the others. */
export function plainTargets({ interfaces }: ObjectNode, first: string | undefined): Targets {
  const entries = [...interfaces].toSorted(([a], [b]) => Number(b === first) - Number(a === first))
  return {
    method(name) {
      const method = find(entries, name, (node) => node.methods)
      if (method) {
        const [of, member, { inputs, outputs, oneway = false }] = method
        return {
          interface: of,
          member,
          inputs: plainArguments(inputs, true),
          outputs: plainArguments(outputs, false),
          errors: new Map(),
          oneway,
        }
      }
      return propertyTarget(entries, name, (list, written) => plainArguments(list, written))
    },
    event(name) {
      return heardAs(entries, name, (list) => plainArguments(list, false))
    },
  }
}

/** `Version` reads a property, `SetVersion` writes it. */
function propertyTarget(
  entries: Entries,
  name: string,
  valueOf: (list: readonly Argument[], written: boolean) => Arguments,
): Target | undefined {
  const value = (signature: string, written: boolean): Arguments => valueOf([{ name: 'value', signature }], written)
  const read = find(entries, name, (node) => node.properties)
  const base = { interface: PROPERTIES, errors: new Map<string, Arguments>(), oneway: false }
  if (read && read[2].access !== 'write')
    return { ...base, interface: read[0], member: 'Get', inputs: NONE, outputs: value(read[2].signature, false), property: read[1] }
  const written = name.replace(/(^|\.)Set([^.]+)$/, '$1$2')
  const write = written === name ? undefined : find(entries, written, (node) => node.properties)
  if (write && write[2].access !== 'read')
    return { ...base, interface: write[0], member: 'Set', inputs: value(write[2].signature, true), outputs: NONE, property: write[1] }
  return undefined
}

/** A signal; or `LevelChanged`, the new value of the property `Level`. */
function heardAs(entries: Entries, name: string, valuesOf: (list: readonly Argument[]) => Arguments): Heard | undefined {
  const signal = find(entries, name, (node) => node.signals)
  if (signal) return { interface: signal[0], member: signal[1], values: valuesOf(signal[2].values) }
  const changed = /^(.+)Changed$/.exec(name)
  const found = changed ? find(entries, changed[1]!, (node) => node.properties) : undefined
  if (!found) return undefined
  const [of, property, { signature, access }] = found
  if (access === 'write') return undefined
  const values = valuesOf([{ name: 'value', signature }])
  return { interface: PROPERTIES, member: CHANGED, values, property: { interface: of, name: property } }
}

/** By contract, with the types of the object. Rejects with CONTRACT_MISMATCH for what it has not, or has otherwise. */
export async function contractTargets(
  contract: Contract,
  own: string | undefined,
  { interfaces }: ObjectNode,
  operations: Operations | undefined,
): Promise<Targets> {
  const entries = [...interfaces]
  const all = entries.filter(([, node]) =>
    Object.entries(contract.members).every(([name, { kind }]) => (kind === 'rpc' ? has(node, name) : tells(node, name))),
  )
  const named = own === undefined ? undefined : interfaces.get(own)
  const chosen = named ? ([[own!, named]] as const) : all.length > 0 ? all.slice(0, 1) : entries
  const methods = new Map<string, Target>()
  const events = new Map<string, Heard>()
  for (const [name, member] of Object.entries(contract.members)) {
    const target = await guarded(contract, name, async () => {
      if (member.kind === 'event') {
        const schema = await toJsonSchema(member.payload)
        const heard = heardAs(chosen, name, (list) => bind(list, { schema, stream: false, optional: false }))
        if (heard) events.set(name, heard)
        return heard
      }
      const { input, output, oneway } = await describeMethod(member)
      const errors = operations?.methods.get(name)?.errors ?? new Map<string, Arguments>()
      const method = find(chosen, name, (node) => node.methods)
      const target: Target | undefined = method
        ? {
            interface: method[0],
            member: method[1],
            inputs: bind(method[2].inputs, input),
            outputs: bind(method[2].outputs, output),
            errors,
            oneway,
          }
        : propertyTarget(chosen, name, (list, written) => bind(list, written ? input : output))
      if (target) methods.set(name, { ...target, errors, ...(member.parameters && { parameters: member.parameters }) })
      return target
    })
    if (!target)
      throw new TalkwireError(
        'CONTRACT_MISMATCH',
        `the object has no "${name}" of ${contract.id}; it has ${[...interfaces.keys()].join(', ') || 'nothing'}`,
      )
  }
  return { method: (name) => methods.get(name), event: (name) => events.get(name) }
}

const has = ({ methods, properties }: InterfaceNode, name: string): boolean =>
  methods.has(name) || properties.has(name) || (name.startsWith('Set') && properties.has(name.slice(3)))

const tells = ({ signals, properties }: InterfaceNode, name: string): boolean =>
  signals.has(name) || (name.endsWith('Changed') && properties.has(name.slice(0, -'Changed'.length)))

async function guarded<T>(contract: Contract, name: string, make: () => Promise<T>): Promise<T> {
  try {
    return await make()
  } catch (reason) {
    const text = TalkwireError.from(reason).message.replace(/^\[\w+\] /, '')
    throw new TalkwireError('CONTRACT_MISMATCH', `"${name}" of ${contract.id}: ${text}`, { cause: reason })
  }
}

/** The object does not say what it has: then it is believed to be what the contract says. */
export function ownTargets(of: string, { methods, signals }: Operations): Targets {
  return {
    method(name) {
      const found = methods.get(name)
      if (!found) return undefined
      const { inputs, outputs, errors, oneway } = found
      return { interface: of, member: name, inputs, outputs, errors, oneway }
    },
    event(name) {
      const values = signals.get(name)
      return values && { interface: of, member: name, values }
    },
  }
}

// ── calling ──────────────────────────────────────────────────────────────────────────────────────

export interface ObjectPlace {
  /** Whom calls go to, and answers and signals come from; undefined: the only other side. */
  readonly owner: string | undefined
  readonly path: string
}

export class ObjectCallee implements Callee {
  /** No new calls: the name is somebody else's now, or nobody's. */
  gone = false
  private readonly heard = new Map<string, string>()

  constructor(
    private readonly line: Line,
    private readonly place: ObjectPlace,
    private readonly targets: Targets,
    private readonly options: DialectClientOptions,
    private readonly onIdle: () => void,
  ) {}

  call(method: string, params: unknown, _meta: unknown, answer: Answer): OpenCall {
    const target = this.targets.method(method)
    if (!target) throw new TalkwireError('METHOD_NOT_FOUND', `the object has no method ${JSON.stringify(method.slice(0, 128))}`)
    if (this.gone) throw new TalkwireError('UNAVAILABLE', 'the service has given up its name on the bus, so it is closing')
    const value = target.inputs.as === 'list' ? listOf(params, target.inputs) : inputOf(params, target.parameters)
    try {
      return target.property === undefined ? this.method(target, value, answer) : this.property(target, target.property, value, answer)
    } finally {
      closeGiven(params)
    }
  }

  private method(target: Target, value: unknown, answer: Answer): OpenCall {
    const { inputs, outputs, interface: of, member } = target
    const body = (writer: Writer): void => writeArguments(writer, inputs, value)
    const fields = { ...this.to(of, member), signature: inputs.signature }
    if (target.oneway) {
      this.line.send({ ...fields, type: Type.call, flags: Flag.noReply }, body)
      return noCall
    }
    return this.request(fields, body, target, answer, (reader) => readArguments(reader, outputs), outputs.signature)
  }

  private property(target: Target, name: string, value: unknown, answer: Answer): OpenCall {
    const reads = target.member === 'Get'
    const values = reads ? target.outputs : target.inputs
    const body = (writer: Writer): void => {
      writer.text(target.interface)
      writer.text(name)
      if (reads) return
      writer.signature(values.signature)
      writeArguments(writer, values, value)
    }
    const read = (reader: Reader): unknown => {
      if (!reads) return undefined
      if (reader.signature() !== values.signature)
        throw new TalkwireError('INVALID_MESSAGE', `the property ${name} is no ${values.signature}`)
      return readArguments(reader, values)
    }
    return this.request(
      { ...this.to(PROPERTIES, target.member), signature: reads ? 'ss' : 'ssv' },
      body,
      target,
      answer,
      read,
      reads ? 'v' : '',
    )
  }

  private to(of: string, member: string): Omit<Fields, 'type'> {
    const { owner, path } = this.place
    return { path, interface: of, member, ...(owner !== undefined && { destination: owner }) }
  }

  private request(
    fields: Omit<Fields, 'type'>,
    body: (writer: Writer) => void,
    { errors }: Target,
    answer: Answer,
    read: (reader: Reader) => unknown,
    signature: string,
  ): OpenCall {
    const giveUp = this.line.request(fields, body, {
      from: this.place.owner,
      fail: (error) => answer.error(error),
      reply: (message, descriptors) => {
        this.answered(message, descriptors, errors, answer, read, signature)
        if (this.gone && !this.line.busy) this.onIdle()
      },
    })
    return { ...noCall, cancel: () => void giveUp() }
  }

  private answered(
    message: Message,
    descriptors: Arrived,
    errors: ReadonlyMap<string, Arguments>,
    answer: Answer,
    read: (reader: Reader) => unknown,
    signature: string,
  ): void {
    const { limits } = this.options
    if (message.type === Type.error) {
      closeAll(descriptors)
      return answer.error(readError(message, limits, errors))
    }
    const used = new Set<number>()
    try {
      if (!descriptors)
        throw new TalkwireError(
          'LIMIT_EXCEEDED',
          `${limits.descriptors} descriptors of this connection are open; close or take them, or raise limits.descriptors`,
        )
      if (message.signature !== signature && signature !== '')
        throw new TalkwireError(
          'INVALID_MESSAGE',
          `an answer of ${JSON.stringify(message.signature)}, the object has said ${JSON.stringify(signature)}`,
        )
      const reader = bodyOf(message, limits, (index) => (used.add(index), descriptors[index]))
      const value = read(reader)
      if (signature !== '') ended(reader)
      descriptors.forEach((each, index) => {
        if (!used.has(index)) each.close()
      })
      answer.result(value)
    } catch (reason) {
      closeAll(descriptors)
      // Whatever stands in an answer, the call has run.
      answer.error(TalkwireError.from(reason, 'INVALID_MESSAGE').withOutcome('ran'))
    }
  }

  // ── events ─────────────────────────────────────────────────────────────────────────────────────

  async subscribe(event: string): Promise<void> {
    const heard = this.targets.event(event)
    if (!heard) throw new TalkwireError('METHOD_NOT_FOUND', `the object has no signal ${JSON.stringify(event.slice(0, 128))}`)
    const key = keyOf(heard)
    if (this.heard.has(key)) return
    this.heard.set(key, event)
    if (this.place.owner !== undefined) await this.line.driver('AddMatch', 's', this.rule(heard))
  }

  unsubscribe(event: string): void {
    const heard = this.targets.event(event)
    if (!heard || !this.heard.delete(keyOf(heard))) return
    if (this.place.owner !== undefined) this.line.driver('RemoveMatch', 's', this.rule(heard)).catch(() => {})
  }

  private rule({ interface: of, member, property }: Heard): string {
    const base = `type='signal',sender='${this.place.owner!}',path='${this.place.path}',interface='${of}',member='${member}'`
    return property ? `${base},arg0='${property.interface}'` : base
  }

  /** A signal from anybody, of anything. */
  signal(message: Message): void {
    const { owner, path } = this.place
    if (message.path !== path || (owner !== undefined && message.sender !== owner)) return
    if (message.interface === PROPERTIES && message.member === CHANGED) this.changed(message)
    const event = this.heard.get(`${message.interface!}.${message.member!}`)
    if (event === undefined) return
    const { values } = this.targets.event(event)!
    if (message.signature !== values.signature) return
    try {
      const reader = bodyOf(message, this.options.limits)
      const value = readArguments(reader, values)
      ended(reader)
      this.options.onEvent(event, value)
    } catch {
      // What cannot be read is no event of this contract; there is nobody to answer.
    }
  }

  /** New values of properties, and names of those whose value is to be asked for. */
  private changed(message: Message): void {
    if (message.signature !== 'sa{sv}as') return
    const told: [event: string, value: unknown][] = []
    const invalid: [event: string, property: string, of: string][] = []
    try {
      const reader = bodyOf(message, this.options.limits)
      const of = reader.text()
      reader.array(8, () => {
        reader.align(8)
        const event = this.heard.get(`${of}#${reader.text()}`)
        const values = event === undefined ? undefined : this.targets.event(event)!.values
        const signature = reader.signature()
        if (signature === values?.signature) told.push([event!, readArguments(reader, values)])
        else reader.skip(signature)
      })
      reader.array(4, () => {
        const property = reader.text()
        const event = this.heard.get(`${of}#${property}`)
        if (event !== undefined) invalid.push([event, property, of])
      })
      ended(reader)
    } catch {
      return
    }
    for (const [event, value] of told) this.options.onEvent(event, value)
    for (const [event, property, of] of invalid) this.fetch(event, property, of)
  }

  private fetch(event: string, property: string, of: string): void {
    const outputs = this.targets.event(event)!.values
    const target: Target = { interface: of, member: 'Get', inputs: NONE, outputs, errors: new Map(), oneway: false, property }
    this.property(target, property, undefined, {
      result: (value) => this.options.onEvent(event, value),
      // Whoever does not tell its value has no event.
      error() {},
      item: () => 0,
    })
  }
}

/** Of an event in what is heard; that of a property is no name of a signal. */
const keyOf = ({ interface: of, member, property }: Heard): string =>
  property ? `${property.interface}#${property.name}` : `${of}.${member}`

const noCall: OpenCall = { cancel() {}, grant() {}, input: () => 0, endInput() {} }

/** Values by position; by name where they were given so. */
function listOf(params: unknown, { names }: Arguments): unknown[] {
  if (Array.isArray(params)) return params as unknown[]
  if (params === undefined) return []
  return names.map((name) => (params as Record<string, unknown>)[name])
}

/** A contract as an object of D-Bus: its own interface, and those that every object has. */
import { readFileSync } from 'node:fs'
import type { Contract } from '../contract/contract.js'
import { describeMethod, type ValueDescription } from '../contract/json-schema.js'
import { toJsonSchema } from '../contract/schema-libraries.js'
import { closeGiven } from '../descriptor.js'
import { TalkwireError } from '../error.js'
import { paramsOf, type Service } from '../session/service.js'
import { suggestion } from '../suggest.js'
import type { Answer, Caller } from './dialect.js'
import { validateMember } from './dbus-address.js'
import { writeObject, type InterfaceNode, type ObjectNode } from './dbus-introspection.js'
import { closeAll, type Arrived, type Line } from './dbus-line.js'
import { bodyOf, ended, type Message } from './dbus-message.js'
import { argumentsOf, signatureOf, type Arguments } from './dbus-schema.js'
import { typeOf, type Type } from './dbus-types.js'
import { readArguments, writeArguments, type Reader, type Writer } from './dbus-values.js'

const INTROSPECTABLE = 'org.freedesktop.DBus.Introspectable'
export const PROPERTIES = 'org.freedesktop.DBus.Properties'
const PEER = 'org.freedesktop.DBus.Peer'
const OBJECTS = 'org.freedesktop.DBus.ObjectManager'
/** Of ours: the whole contract, of which introspection has not every word, as OpenRPC. */
export const CONTRACT = 'talkwire.Contract'

export interface Operation {
  readonly name: string
  readonly inputs: Arguments
  readonly outputs: Arguments
  readonly errors: ReadonlyMap<string, Arguments>
  readonly oneway: boolean
  /** It is also a property of this type: it takes nothing, and running it twice does what running it once does. */
  readonly property: Type | undefined
}

export interface Operations {
  readonly methods: ReadonlyMap<string, Operation>
  readonly signals: ReadonlyMap<string, Arguments>
}

const capital = (name: string): string => name[0]!.toUpperCase() + name.slice(1)
const isOne = ({ types, signature }: Arguments, property: Type): boolean => types.length === 1 && signature === property.signature

/** `setBalance` or `SetBalance`, if it takes one value of the type of the property `balance`. */
function setterOf({ methods }: Operations, { name, property }: Operation): Operation | undefined {
  const found = methods.get(`set${capital(name)}`) ?? methods.get(`Set${capital(name)}`)
  return property && found && isOne(found.inputs, property) ? found : undefined
}

/** The property `balance` whose new value the event `balanceChanged` tells. */
export function propertyOf({ methods, signals }: Operations, event: string): Operation | undefined {
  const found = event.endsWith('Changed') ? methods.get(event.slice(0, -'Changed'.length)) : undefined
  return found?.property && isOne(signals.get(event)!, found.property) ? found : undefined
}

/** What a contract is in D-Bus. Rejects with UNSUPPORTED for what D-Bus has no type or name for. */
export async function operationsOf(contract: Contract): Promise<Operations> {
  const methods = new Map<string, Operation>()
  const signals = new Map<string, Arguments>()
  const saying = <T>(path: string, make: () => T): T => {
    try {
      return make()
    } catch (reason) {
      throw new TalkwireError('UNSUPPORTED', `${TalkwireError.from(reason).message.replace(/^\[\w+\] /, '')} (${path} of ${contract.id})`)
    }
  }
  const whole = (schema: ValueDescription['schema']): ValueDescription => ({ schema, stream: false, optional: false })
  for (const [name, member] of Object.entries(contract.members)) {
    validateMember(name, contract)
    if (member.kind === 'event') {
      const payload = await toJsonSchema(member.payload)
      signals.set(
        name,
        saying(name, () => argumentsOf(whole(payload), 'value')),
      )
      continue
    }
    const { input, output, errors, idempotent, oneway } = await describeMethod(member)
    const isProperty = idempotent && input === null && output !== null && !output.optional
    methods.set(name, {
      name,
      inputs: saying(`${name}.input`, () => argumentsOf(input, 'input')),
      outputs: saying(`${name}.output`, () => argumentsOf(output, 'result')),
      errors: new Map(
        Object.entries(errors).map(([error, schema]) => [
          error,
          saying(`${name}.errors.${error}`, () => argumentsOf(whole(schema), 'details')),
        ]),
      ),
      oneway,
      property: isProperty
        ? saying(`${name}.output`, () => {
            const hint = { schema: output.schema, root: output.schema }
            return typeOf(signatureOf(hint), hint)
          })
        : undefined,
    })
  }
  return { methods, signals }
}

function nodeOf(operations: Operations): InterfaceNode {
  const { methods, signals } = operations
  const told = new Set([...signals.keys()].map((event) => propertyOf(operations, event)))
  return {
    methods: new Map(
      [...methods].map(([name, { inputs, outputs, oneway }]) => [name, { inputs: inputs.list, outputs: outputs.list, oneway }]),
    ),
    signals: new Map([...signals].map(([name, { list }]) => [name, { values: list }])),
    properties: new Map(
      [...methods].flatMap(([name, operation]) => {
        const { property } = operation
        if (!property) return []
        const access = setterOf(operations, operation) ? ('readwrite' as const) : ('read' as const)
        return [[name, { signature: property.signature, access, silent: !told.has(operation) }] as const]
      }),
    ),
  }
}

/** The interface of a contract, as introspection has it. */
export const introspectionOf = (operations: Operations, of: string): string =>
  writeObject({ interfaces: new Map([[of, nodeOf(operations)]]), children: [] })

const args = (...list: string[]) => list.map((each) => ({ name: each.split(' ')[0]!, signature: each.split(' ')[1]! }))
const standard = (methods: Record<string, readonly [string[], string[]]>, signals: Record<string, string[]> = {}): InterfaceNode => ({
  methods: new Map(
    Object.entries(methods).map(([name, [inputs, outputs]]) => [name, { inputs: args(...inputs), outputs: args(...outputs) }]),
  ),
  signals: new Map(Object.entries(signals).map(([name, values]) => [name, { values: args(...values) }])),
  properties: new Map(),
})

const INTERFACES: readonly (readonly [string, InterfaceNode])[] = [
  [INTROSPECTABLE, standard({ Introspect: [[], ['xml_data s']] })],
  [PEER, standard({ Ping: [[], []], GetMachineId: [[], ['machine_uuid s']] })],
]
const PROPERTIES_NODE = standard(
  {
    Get: [['interface_name s', 'property_name s'], ['value v']],
    GetAll: [['interface_name s'], ['properties a{sv}']],
    Set: [['interface_name s', 'property_name s', 'value v'], []],
  },
  { PropertiesChanged: ['interface_name s', 'changed_properties a{sv}', 'invalidated_properties as'] },
)
const CONTRACT_NODE = standard({ Describe: [[], ['openrpc s']] })
const OBJECTS_NODE = standard({ GetManagedObjects: [[], ['objects a{oa{sa{sv}}}']] })

/** One object at its path, and the nodes above it. */
export class ServedObject {
  private readonly own: string

  constructor(
    readonly service: Service,
    readonly operations: Operations,
    readonly of: string,
    readonly path: string,
  ) {
    const interfaces = new Map([[of, nodeOf(operations)], [PROPERTIES, PROPERTIES_NODE], ...INTERFACES, [CONTRACT, CONTRACT_NODE]])
    this.own = writeObject({ interfaces, children: [] })
  }

  /** What is at a path; undefined: nothing. */
  private describe(path: string): string | undefined {
    if (path === this.path) return this.own
    const above = path === '/' ? path : `${path}/`
    if (!this.path.startsWith(above)) return undefined
    const child = this.path.slice(above.length).split('/')[0]!
    const object: ObjectNode = {
      interfaces: new Map([...INTERFACES, ...(path === '/' ? [[OBJECTS, OBJECTS_NODE] as const] : [])]),
      children: [child],
    }
    return writeObject(object)
  }

  /** Answers one call, now or later. */
  call(line: Line, caller: Caller, message: Message, descriptors: Arrived): void {
    const reply = new Reply(line, message, descriptors, this.of)
    try {
      if (!descriptors)
        throw new TalkwireError(
          'LIMIT_EXCEEDED',
          `${line.limits.descriptors} descriptors of this connection are open; close some, or raise limits.descriptors`,
        )
      this.dispatch(line, caller, message, reply)
    } catch (reason) {
      reply.error(TalkwireError.from(reason))
    }
  }

  private dispatch(line: Line, caller: Caller, message: Message, reply: Reply): void {
    const { path, interface: of, member } = message
    const own = path === this.path
    const is = (name: string, ...members: string[]): boolean => (of === name || of === undefined) && members.includes(member!)
    const operation = own && (of === this.of || of === undefined) ? this.operations.methods.get(member!) : undefined
    if (operation) return this.method(line, caller, message, operation, reply)
    if (is(PEER, 'Ping')) return reply.values('')
    if (is(PEER, 'GetMachineId')) return reply.values('s', machineId())
    const xml = this.describe(path!)
    if (xml === undefined) throw unknown(`there is no object at ${path!}; ${this.of} is at ${this.path}`)
    if (is(INTROSPECTABLE, 'Introspect')) return reply.values('s', xml)
    if (own && is(PROPERTIES, 'Get', 'GetAll', 'Set')) return this.property(line, caller, message, reply)
    if (own && is(CONTRACT, 'Describe'))
      return void caller.call('rpc.discover', [], undefined, {
        result: (document) => reply.values('s', JSON.stringify(document)),
        error: (error) => reply.error(error),
        item: () => 0,
      })
    if (path === '/' && is(OBJECTS, 'GetManagedObjects'))
      return void this.all(caller).then(
        (values) => reply.write('a{oa{sa{sv}}}', (writer) => this.writeObjects(writer, values)),
        (reason: unknown) => reply.error(TalkwireError.from(reason)),
      )
    throw unknown(`${of === undefined ? '' : `${of}.`}${member!} is not at ${path!}${own ? this.meant(of, member!) : ''}`)
  }

  private meant(of: string | undefined, member: string): string {
    if (of === undefined || of === this.of) return suggestion(member, [...this.operations.methods.keys()])
    return suggestion(of, [this.of])
  }

  private method(line: Line, caller: Caller, message: Message, { name, inputs, outputs, errors }: Operation, reply: Reply): void {
    if (message.signature !== inputs.signature)
      throw new TalkwireError(
        'INVALID_INPUT',
        `"${name}" takes ${JSON.stringify(inputs.signature)}, not ${JSON.stringify(message.signature)}`,
      )
    const reader = bodyOf(message, line.limits, reply.descriptorAt)
    const value = readArguments(reader, inputs)
    ended(reader)
    caller.call(name, paramsOf(value), undefined, {
      result: (result) => reply.write(outputs.signature, (writer) => writeArguments(writer, outputs, result), result),
      error: (error) => reply.error(error, errors),
      item: () => 0,
    })
  }

  private property(line: Line, caller: Caller, message: Message, reply: Reply): void {
    const { member, signature } = message
    const wanted = member === 'GetAll' ? 's' : member === 'Get' ? 'ss' : 'ssv'
    if (signature !== wanted) throw new TalkwireError('INVALID_INPUT', `${member!} takes ${wanted}, not ${JSON.stringify(signature)}`)
    const reader = bodyOf(message, line.limits)
    const of = reader.text()
    if (of !== this.of && of !== '') {
      if (member === 'GetAll' && (of === PROPERTIES || INTERFACES.some(([name]) => name === of))) return reply.values('a{sv}', {})
      throw unknown(`there is no interface ${JSON.stringify(of.slice(0, 100))}`)
    }
    if (member === 'GetAll')
      return void this.all(caller).then(
        (values) => reply.write('a{sv}', (writer) => this.writeProperties(writer, values)),
        (reason: unknown) => reply.error(TalkwireError.from(reason)),
      )
    const name = reader.text()
    const operation = this.operations.methods.get(name)
    const property = operation?.property
    if (!property) throw unknown(`there is no property ${JSON.stringify(name.slice(0, 100))}`)
    if (member === 'Set') return this.set(caller, operation, reader, reply)
    caller.call(name, undefined, undefined, {
      result: (value) => reply.write('v', (writer) => writeTyped(writer, property, value), value),
      error: (error) => reply.error(error),
      item: () => 0,
    })
  }

  private set(caller: Caller, operation: Operation, reader: Reader, reply: Reply): void {
    const { name, property } = operation
    const setter = setterOf(this.operations, operation)
    if (!setter) throw new TalkwireError('PERMISSION_DENIED', `"${name}" can be read only`)
    const signature = reader.signature()
    if (signature !== property!.signature)
      throw new TalkwireError('INVALID_INPUT', `"${name}" is ${JSON.stringify(property!.signature)}, not ${JSON.stringify(signature)}`)
    const value = readArguments(reader, setter.inputs)
    ended(reader)
    caller.call(setter.name, paramsOf(value), undefined, {
      result: () => reply.values(''),
      error: (error) => reply.error(error, setter.errors),
      item: () => 0,
    })
  }

  /** What `PropertiesChanged` says of one of them. Throws what the value throws. */
  writeChange(writer: Writer, name: string, value: unknown): void {
    writer.text(this.of)
    this.writeProperties(writer, new Map([[name, value]]))
    writer.array(4, () => {})
  }

  /** The properties that answer. */
  private async all(caller: Caller): Promise<Map<string, unknown>> {
    const values = new Map<string, unknown>()
    const one = (name: string): Promise<void> =>
      new Promise((resolve) => {
        const answer: Answer = {
          result: (value) => (values.set(name, value), resolve()),
          error: () => resolve(),
          item: () => 0,
        }
        caller.call(name, undefined, undefined, answer)
      })
    await Promise.all([...this.operations.methods.values()].filter(({ property }) => property).map(({ name }) => one(name)))
    return values
  }

  private writeProperties(writer: Writer, values: ReadonlyMap<string, unknown>): void {
    writer.array(8, () => {
      for (const [name, value] of values) {
        writer.align(8)
        writer.text(name)
        writeTyped(writer, this.operations.methods.get(name)!.property!, value)
      }
    })
  }

  private writeObjects(writer: Writer, values: ReadonlyMap<string, unknown>): void {
    writer.array(8, () => {
      writer.align(8)
      writer.text(this.path)
      writer.array(8, () => {
        writer.align(8)
        writer.text(this.of)
        this.writeProperties(writer, values)
      })
    })
  }
}

function writeTyped(writer: Writer, type: Type, value: unknown): void {
  writer.signature(type.signature)
  writer.write(type, value)
}

const unknown = (what: string): TalkwireError => new TalkwireError('METHOD_NOT_FOUND', what)

/** Of systemd, or of D-Bus where that is older. */
function machineId(): string {
  for (const file of ['/etc/machine-id', '/var/lib/dbus/machine-id'])
    try {
      return readFileSync(file, 'latin1').trim()
    } catch {}
  throw new TalkwireError('UNSUPPORTED', 'this machine has no id')
}

/** The answer to one call, once. */
class Reply {
  private done = false

  constructor(
    private readonly line: Line,
    private readonly message: Message,
    private readonly descriptors: Arrived,
    private readonly of: string,
  ) {}

  readonly descriptorAt = (index: number): unknown => this.descriptors?.[index]

  values(signature: string, ...values: unknown[]): void {
    this.write(signature, (writer) => values.forEach((value) => writer.write(typeOf(signature), value)))
  }

  /** Throws what `body` throws; it can be answered with an error then. `value`: descriptors that were given with it are closed. */
  write(signature: string, body: (writer: Writer) => void, value?: unknown): void {
    if (this.done) return
    try {
      this.line.result(this.message, signature, body)
    } catch (reason) {
      closeGiven(value)
      throw reason
    }
    this.end()
  }

  error(error: TalkwireError, declared?: ReadonlyMap<string, Arguments>): void {
    if (this.done) return
    try {
      this.line.error(this.message, error, this.of, declared?.get(error.code))
    } catch (reason) {
      // Details that do not fit what the contract says of them.
      this.line.error(this.message, new TalkwireError('INTERNAL', 'internal error', { cause: reason, outcome: 'ran' }))
    }
    this.end()
  }

  private end(): void {
    this.done = true
    closeAll(this.descriptors)
  }
}

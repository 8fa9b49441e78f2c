/** A contract of what an object of D-Bus says of itself. Sans I/O. */
import { event, rpc, type Contract, type Members } from '../contract/contract.js'
import { foreignContract } from '../contract/foreign.js'
import { fromJsonSchema } from '../contract/from-json-schema.js'
import type { JsonSchema } from '../contract/schema-walk.js'
import type { ObjectNode } from './dbus-introspection.js'
import type { Argument } from './dbus-schema.js'
import { splitSignature } from './dbus-types.js'

/** What every object has; a client reaches it by its whole name, such as `org.freedesktop.DBus.Peer.Ping`. */
const STANDARD = new Set(['Introspectable', 'Peer', 'Properties', 'ObjectManager'].map((name) => `org.freedesktop.DBus.${name}`))

/** Rejects with MISSING_PACKAGE. `name` is the interface whose members go by their short names where several interfaces have one. */
export async function contractOfObject(name: string, { interfaces }: ObjectNode): Promise<Contract> {
  const members: Members = Object.create(null) as Members
  const add = (of: string, member: string, value: Members[string]): void => {
    const key = Object.hasOwn(members, member) ? `${of}.${member}` : member
    if (!Object.hasOwn(members, key)) members[key] = value
  }
  const entries = [...interfaces].filter(([each]) => !STANDARD.has(each)).toSorted(([a], [b]) => Number(b === name) - Number(a === name))
  for (const [of, { methods, signals, properties }] of entries) {
    for (const [member, { inputs, outputs, oneway = false }] of methods) {
      const input = await inputOf(inputs)
      const output = oneway ? undefined : await outputOf(outputs)
      add(of, member, rpc({ ...input, ...(output && { output }), oneway }) as Members[string])
    }
    for (const [member, { signature, access }] of properties) {
      const schema = await fromJsonSchema(schemaOf(signature))
      if (access !== 'write') add(of, member, rpc({ output: schema, idempotent: true }) as Members[string])
      if (access !== 'read') add(of, `Set${member}`, rpc({ ...(await inputOf([{ name: 'value', signature }])) }) as Members[string])
    }
    for (const [member, { values }] of signals) add(of, member, event((await outputOf(values)) ?? (await fromJsonSchema(objectOf([])))))
    for (const [member, { signature, access, silent }] of properties)
      if (access !== 'write' && !silent && !signals.has(`${member}Changed`))
        add(of, `${member}Changed`, event(await fromJsonSchema(schemaOf(signature))))
  }
  return foreignContract(entries[0]?.[0] ?? name, 0, members)
}

async function inputOf(list: readonly Argument[]): Promise<object> {
  if (list.length === 0) return {}
  const named = withNames(list)
  return { input: await fromJsonSchema(objectOf(named)), parameters: named.map(({ name }) => name) }
}

async function outputOf(list: readonly Argument[]) {
  if (list.length === 0) return undefined
  return fromJsonSchema(list.length === 1 ? schemaOf(list[0]!.signature) : objectOf(withNames(list)))
}

/** Arguments need no name, and may share one. */
function withNames(list: readonly Argument[]): readonly Argument[] {
  const names = new Set(list.map(({ name }) => name))
  const fit = names.size === list.length && !names.has('') && !names.has('__proto__')
  return fit ? list : list.map(({ signature }, at) => ({ name: `arg${at + 1}`, signature }))
}

const objectOf = (list: readonly Argument[]): JsonSchema => ({
  type: 'object',
  properties: Object.fromEntries(list.map(({ name, signature }) => [name, schemaOf(signature)])),
  required: list.map(({ name }) => name),
  additionalProperties: false,
})

const between = (minimum: number, maximum: number): JsonSchema => ({ type: 'integer', minimum, maximum })
const WIDE = { anyOf: [{ type: 'integer' }, { 'x-talkwire': 'bigint' }] }
const BASIC: Readonly<Record<string, JsonSchema>> = {
  y: between(0, 0xff),
  n: between(-0x8000, 0x7fff),
  q: between(0, 0xffff),
  i: between(-0x8000_0000, 0x7fff_ffff),
  u: between(0, 0xffff_ffff),
  // What is beyond 2^53 arrives as a bigint.
  x: WIDE,
  t: WIDE,
  d: { type: 'number' },
  b: { type: 'boolean' },
  s: { type: 'string' },
  o: { type: 'string' },
  g: { type: 'string' },
  h: { 'x-talkwire': 'descriptor' },
  v: {},
}

/** The schema of one complete type: what `signatureOf` makes that type of again. */
export function schemaOf(signature: string): JsonSchema {
  const basic = Object.hasOwn(BASIC, signature) ? BASIC[signature] : undefined
  if (basic) return { ...basic, 'x-dbus': signature }
  if (signature[0] === '(') {
    const items = splitSignature(signature.slice(1, -1)).map((each) => schemaOf(each))
    return { type: 'array', prefixItems: items, minItems: items.length, maxItems: items.length }
  }
  if (signature === 'ay') return { 'x-talkwire': 'array', 'x-dtype': 'u1' }
  if (signature[1] !== '{') return { type: 'array', items: schemaOf(signature.slice(1)) }
  const value = schemaOf(signature.slice(3, -1))
  if (signature[2] === 's') return { type: 'object', additionalProperties: value }
  if ('og'.includes(signature[2]!)) return { type: 'object', additionalProperties: value, 'x-dbus': signature }
  return { 'x-talkwire': 'map', 'x-keys': schemaOf(signature[2]!), 'x-values': value }
}

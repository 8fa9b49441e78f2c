/** What a change of a contract does to peers that have the other version. */
import { compareSchemas, type SchemaChange, type SchemaChangeKind } from './compare-schema.js'
import type { ContractDescription, EventDescription, JsonSchema, MethodDescription, ValueDescription } from './json-schema.js'
import { type Verdict } from './verdict.js'

export type ChangeKind =
  | SchemaChangeKind
  | 'id-changed'
  | 'method-added'
  | 'method-removed'
  | 'event-added'
  | 'event-removed'
  | 'error-added'
  | 'error-removed'
  | 'input-added'
  | 'input-removed'
  | 'input-required'
  | 'input-optional'
  | 'output-added'
  | 'output-removed'
  | 'stream-changed'
  | 'idempotent-changed'
  | 'oneway-changed'

export interface Change {
  /** `deposit.input.amount`, `watch.output[].cents`, `deposit.errors.AccountClosed.since`, `overdrawn.payload`. */
  readonly path: string
  readonly kind: ChangeKind
  /** An old client at the new service. */
  readonly oldClient: Verdict
  /** A new client at the old service. */
  readonly newClient: Verdict
  readonly message: string
}

/**
 * Every difference that matters between two versions, and whom it breaks. Documentation does not count. `unknown`: the
 * schemas do not tell. Parts that a description leaves open (`undescribed`) can change without being seen here.
 */
export function compareContracts(older: ContractDescription, newer: ContractDescription): readonly Change[] {
  return [
    ...compareIds(older, newer),
    ...compareNamed(older.methods, newer.methods, 'method', compareMethods),
    ...compareNamed(older.events, newer.events, 'event', compareEvents),
  ]
}

const change = (path: string, kind: ChangeKind, oldClient: Verdict, newClient: Verdict, message: string): Change => ({
  path,
  kind,
  oldClient,
  newClient,
  message,
})

function compareIds(older: ContractDescription, newer: ContractDescription): Change[] {
  if (older.name === newer.name && older.version === newer.version) return []
  return [change('', 'id-changed', 'breaks', 'breaks', `${older.id} → ${newer.id}: the connection is refused`)]
}

function compareNamed<T>(
  older: Readonly<Record<string, T>>,
  newer: Readonly<Record<string, T>>,
  what: 'method' | 'event',
  compare: (path: string, older: T, newer: T) => readonly Change[],
): Change[] {
  const removed = Object.keys(older)
    .filter((name) => !Object.hasOwn(newer, name))
    .map((name) => change(name, `${what}-removed`, 'breaks', 'works', `${what} removed`))
  const added = Object.keys(newer)
    .filter((name) => !Object.hasOwn(older, name))
    .map((name) => change(name, `${what}-added`, 'works', 'breaks', `${what} added`))
  const both = Object.keys(newer)
    .filter((name) => Object.hasOwn(older, name))
    .flatMap((name) => compare(name, older[name]!, newer[name]!))
  return [...removed, ...added, ...both]
}

function compareMethods(path: string, older: MethodDescription, newer: MethodDescription): Change[] {
  return [
    ...compareInputs(`${path}.input`, older.input, newer.input),
    ...compareOutputs(`${path}.output`, older.output, newer.output),
    ...compareErrors(`${path}.errors`, older.errors, newer.errors),
    ...compareFlags(path, older, newer),
  ]
}

/** From client to service: an old client's values meet the new schema. */
const sent = (path: string, older: JsonSchema, newer: JsonSchema): Change[] =>
  compareSchemas(older, newer).map((one) => placed(path, one, one.forward, one.backward))
/** From service to client: an old client meets the new service's values. */
const received = (path: string, older: JsonSchema, newer: JsonSchema): Change[] =>
  compareSchemas(older, newer).map((one) => placed(path, one, one.backward, one.forward))
const placed = (path: string, { path: inner, kind, message }: SchemaChange, oldClient: Verdict, newClient: Verdict): Change =>
  change(path + inner, kind, oldClient, newClient, message)

function compareInputs(path: string, older: ValueDescription | null, newer: ValueDescription | null): Change[] {
  if (!older && !newer) return []
  // A method without an input ignores one.
  if ((!older || !newer) && (older ?? newer)!.stream) return [streamChanged(path, newer)]
  if (!older)
    return [
      change(
        path,
        'input-added',
        isNeeded(newer) ? 'breaks' : 'works',
        'works',
        `${isNeeded(newer) ? 'required' : 'optional'} input added`,
      ),
    ]
  if (!newer) return [change(path, 'input-removed', 'works', isNeeded(older) ? 'breaks' : 'works', 'input removed')]
  if (older.stream !== newer.stream) return [streamChanged(path, newer)]
  const optional =
    older.optional === newer.optional
      ? []
      : [
          newer.optional
            ? change(path, 'input-optional', 'works', 'breaks', 'required → optional')
            : change(path, 'input-required', 'breaks', 'works', 'optional → required'),
        ]
  return [...optional, ...sent(newer.stream ? `${path}[]` : path, older.schema, newer.schema)]
}

const isNeeded = (value: ValueDescription | null): boolean => value !== null && !value.optional

function compareOutputs(path: string, older: ValueDescription | null, newer: ValueDescription | null): Change[] {
  if (!older && !newer) return []
  if ((!older || !newer) && (older ?? newer)!.stream) return [streamChanged(path, newer)]
  if (!older || !newer) {
    const needed = isNeeded(older ?? newer)
    return [
      older
        ? change(path, 'output-removed', needed ? 'breaks' : 'works', 'works', 'output removed')
        : change(path, 'output-added', 'works', needed ? 'breaks' : 'works', 'output added'),
    ]
  }
  if (older.stream !== newer.stream) return [streamChanged(path, newer)]
  const optional =
    older.optional === newer.optional
      ? []
      : [
          newer.optional
            ? change(path, 'property-optional', 'breaks', 'works', 'always there → may be missing')
            : change(path, 'property-required', 'works', 'breaks', 'may be missing → always there'),
        ]
  return [...optional, ...received(newer.stream ? `${path}[]` : path, older.schema, newer.schema)]
}

const streamChanged = (path: string, newer: ValueDescription | null): Change =>
  change(path, 'stream-changed', 'breaks', 'breaks', newer?.stream ? 'now a stream' : 'no longer a stream')

/** An error that a client does not know is still an error: nobody breaks. */
function compareErrors(path: string, older: MethodDescription['errors'], newer: MethodDescription['errors']): Change[] {
  const removed = Object.keys(older)
    .filter((name) => !Object.hasOwn(newer, name))
    .map((name) => change(`${path}.${name}`, 'error-removed', 'works', 'works', 'error removed'))
  const added = Object.keys(newer)
    .filter((name) => !Object.hasOwn(older, name))
    .map((name) =>
      change(`${path}.${name}`, 'error-added', 'works', 'works', 'error added; old clients see an error that they do not know'),
    )
  const both = Object.keys(newer)
    .filter((name) => Object.hasOwn(older, name))
    .flatMap((name) => received(`${path}.${name}`, older[name]!, newer[name]!))
  return [...removed, ...added, ...both]
}

function compareFlags(path: string, older: MethodDescription, newer: MethodDescription): Change[] {
  const changes: Change[] = []
  if (older.idempotent && !newer.idempotent)
    changes.push(
      change(path, 'idempotent-changed', 'breaks', 'works', 'no longer idempotent: an old client repeats it after a lost connection'),
    )
  if (!older.idempotent && newer.idempotent)
    changes.push(
      change(
        path,
        'idempotent-changed',
        'works',
        'breaks',
        'now idempotent: a new client repeats it at an old service, which does it twice',
      ),
    )
  if (!older.oneway && newer.oneway)
    changes.push(change(path, 'oneway-changed', 'unknown', 'works', 'now oneway: an old client waits for an answer that says nothing'))
  if (older.oneway && !newer.oneway)
    changes.push(change(path, 'oneway-changed', 'works', 'unknown', 'no longer oneway: a new client waits for an answer that says nothing'))
  return changes
}

const compareEvents = (path: string, older: EventDescription, newer: EventDescription): Change[] =>
  received(`${path}.payload`, older.payload, newer.payload)

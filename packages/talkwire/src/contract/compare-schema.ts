/**
 * What changed between two JSON Schemas, seen from the wire: whether values written for the older one are taken by the
 * newer one, and the other way round. A sender is taken to send no property that its schema does not name.
 */
import { discriminator, isOfType, jsonType, schemaDocument, tags, type Alternatives, type SchemaDocument } from './alternatives.js'
import { canonicalJson, canonicalSchema } from './canonical.js'
import { ANNOTATIONS, MAX_SCHEMA_DEPTH, isObject, isSubschema, type JsonSchema, type Subschema } from './schema-walk.js'
import { worst, type Verdict } from './verdict.js'

export type SchemaChangeKind =
  | 'property-added'
  | 'property-removed'
  | 'property-required'
  | 'property-optional'
  | 'type-changed'
  | 'values-added'
  | 'values-removed'
  | 'alternative-added'
  | 'alternative-removed'
  | 'limit-changed'
  | 'default-changed'
  | 'cannot-tell'

export interface SchemaChange {
  /** `.amount`, `[]`, `[0]`, `{}` (any other property), `<kind="a">` (one of several shapes). */
  readonly path: string
  readonly kind: SchemaChangeKind
  /** Values for the older schema at a receiver with the newer one. */
  readonly forward: Verdict
  /** Values for the newer schema at a receiver with the older one. */
  readonly backward: Verdict
  readonly message: string
}

interface Comparison {
  readonly older: SchemaDocument
  readonly newer: SchemaDocument
  readonly known: Map<object, Map<object, readonly SchemaChange[]>>
  depth: number
}

/** Both are whole documents: their references point into themselves. Empty: nothing that matters changed. Never throws. */
export function compareSchemas(older: JsonSchema, newer: JsonSchema): readonly SchemaChange[] {
  return compare(older, newer, { older: schemaDocument(older), newer: schemaDocument(newer), known: new Map(), depth: 0 })
}

const change = (
  kind: SchemaChangeKind,
  forward: Verdict | boolean,
  backward: Verdict | boolean,
  message: string,
  path = '',
): SchemaChange => ({ path, kind, forward: verdict(forward), backward: verdict(backward), message })
const verdict = (value: Verdict | boolean): Verdict => (typeof value === 'boolean' ? (value ? 'breaks' : 'works') : value)
const cannotTell = (message: string, path = ''): SchemaChange => change('cannot-tell', 'unknown', 'unknown', message, path)
const below = (path: string, changes: readonly SchemaChange[]): SchemaChange[] => changes.map((one) => ({ ...one, path: path + one.path }))
const isEqual = (a: unknown, b: unknown): boolean => canonicalJson(a) === canonicalJson(b)

function compare(older: Subschema, newer: Subschema, all: Comparison): readonly SchemaChange[] {
  const [before, after] = [all.older.resolve(older), all.newer.resolve(newer)]
  return [...once(asObject(before), asObject(after), all, () => compareResolved(before, after, all)), ...compareDefaults(older, newer)]
}

function compareResolved(older: Subschema, newer: Subschema, all: Comparison): readonly SchemaChange[] {
  if (all.depth > MAX_SCHEMA_DEPTH) return older === newer ? [] : [cannotTell('nested too deeply')]
  const [before, after] = [all.older.alternatives(older), all.newer.alternatives(newer)]
  if (!before.unclear && !after.unclear) return compareAlternatives(before, after, all)
  const same = isEqual(canonicalSchema(older, all.older.root), canonicalSchema(newer, all.newer.root))
  return same ? [] : [cannotTell('alternatives that overlap, or references that lead nowhere')]
}

const TRUE: JsonSchema = {}
const FALSE: JsonSchema = { not: {} }
const asObject = (schema: Subschema): JsonSchema => (isObject(schema) ? schema : schema ? TRUE : FALSE)

/** A pair that is being compared further up is assumed to be equal: what differs is found there. */
function once(older: JsonSchema, newer: JsonSchema, all: Comparison, compute: () => readonly SchemaChange[]): readonly SchemaChange[] {
  const pairs = all.known.get(older) ?? new Map<object, readonly SchemaChange[]>()
  all.known.set(older, pairs)
  const found = pairs.get(newer)
  if (found) return found
  pairs.set(newer, [])
  all.depth++
  const changes = compute()
  all.depth--
  pairs.set(newer, changes)
  return changes
}

function compareDefaults(older: Subschema, newer: Subschema): SchemaChange[] {
  const before = isObject(older) ? older['default'] : undefined
  const after = isObject(newer) ? newer['default'] : undefined
  if (isEqual(before, after)) return []
  return [
    change(
      'default-changed',
      false,
      false,
      `default ${before === undefined ? 'none' : canonicalJson(before)} → ${after === undefined ? 'none' : canonicalJson(after)}`,
    ),
  ]
}

// ── unions ─────────────────────────────────────────────────────────────────────────────────────────

interface Pair {
  readonly older: JsonSchema
  readonly newer: JsonSchema
  readonly changes: readonly SchemaChange[]
}

function compareAlternatives(older: Alternatives, newer: Alternatives, all: Comparison): readonly SchemaChange[] {
  const grid = older.shapes.map((one) => newer.shapes.map((other) => shapes(one, other, all)))
  const taken = {
    older: older.shapes.map((_, row) => best(grid[row]!.map(forward))),
    newer: newer.shapes.map((_, column) => best(grid.map((row) => backward(row[column]!)))),
  }
  const pairs = pairUp(older.shapes, newer.shapes, grid)
  const changes: SchemaChange[] = []
  for (const [row, column] of pairs)
    changes.push(
      ...softened(
        { older: older.shapes[row]!, newer: newer.shapes[column]!, changes: grid[row]![column]! },
        taken.older[row]!,
        taken.newer[column]!,
        older.shapes.length > 1 || newer.shapes.length > 1,
      ),
    )
  const lost = older.shapes.flatMap((shape, row) =>
    pairs.some(([at]) => at === row) || taken.older[row] === 'works' ? [] : [{ text: describe(shape), verdict: taken.older[row]! }],
  )
  const won = newer.shapes.flatMap((shape, column) =>
    pairs.some(([, at]) => at === column) || taken.newer[column] === 'works'
      ? []
      : [{ text: describe(shape), verdict: taken.newer[column]! }],
  )
  const lostValues = untaken(older.values, newer)
  const wonValues = untaken(newer.values, older)
  if (nothingShared(older, newer, pairs, lost.length + lostValues.length, won.length + wonValues.length))
    return [typeChanged(older, newer, [...lost, ...lostValues], [...won, ...wonValues])]
  for (const { text, verdict: forwards } of lost) changes.push(change('alternative-removed', forwards, false, `no longer ${text}`))
  for (const { text, verdict: backwards } of won) changes.push(change('alternative-added', false, backwards, `now also ${text}`))
  if (lostValues.length > 0)
    changes.push(change('values-removed', worst(lostValues.map((one) => one.verdict)), false, `no longer ${listed(lostValues)}`))
  if (wonValues.length > 0)
    changes.push(change('values-added', false, worst(wonValues.map((one) => one.verdict)), `now also ${listed(wonValues)}`))
  return changes
}

interface Untaken {
  readonly text: string
  readonly verdict: Verdict
}

const forward = (changes: readonly SchemaChange[]): Verdict => worst(changes.map((one) => one.forward))
const backward = (changes: readonly SchemaChange[]): Verdict => worst(changes.map((one) => one.backward))
const best = (verdicts: readonly Verdict[]): Verdict =>
  verdicts.includes('works') ? 'works' : verdicts.includes('unknown') ? 'unknown' : 'breaks'
const listed = (values: readonly Untaken[]): string =>
  values
    .slice(0, 10)
    .map((one) => one.text)
    .join(', ') + (values.length > 10 ? ` and ${values.length - 10} more` : '')

/** Another alternative may take what this one no longer takes. */
function softened({ older, newer, changes }: Pair, forwards: Verdict, backwards: Verdict, several: boolean): SchemaChange[] {
  const path = several && changes.length > 0 ? label(older, newer) : ''
  return below(path, changes).map((one) => ({
    ...one,
    forward: one.forward === 'breaks' ? forwards : forwards === 'works' ? 'works' : one.forward,
    backward: one.backward === 'breaks' ? backwards : backwards === 'works' ? 'works' : one.backward,
  }))
}

function label(older: JsonSchema, newer: JsonSchema): string {
  const shared = tags(newer).find(([name, values]) =>
    tags(older).some(([other, others]) => other === name && values.some((value) => others.includes(value))),
  )
  return shared ? `<${shared[0]}=${shared[1].join('|')}>` : `<${describe(newer)}>`
}

/** Equal shapes first, then those with the same tag, then those of the same type. */
function pairUp(
  older: readonly JsonSchema[],
  newer: readonly JsonSchema[],
  grid: readonly (readonly (readonly SchemaChange[])[])[],
): [row: number, column: number][] {
  const candidates = older.flatMap((one, row) =>
    newer.map((other, column) => ({ row, column, score: grid[row]![column]!.length === 0 ? 3 : likeness(one, other) })),
  )
  const rows = new Set<number>()
  const columns = new Set<number>()
  const pairs: [number, number][] = []
  for (const { row, column } of candidates.filter((one) => one.score > 0).sort((a, b) => b.score - a.score)) {
    if (rows.has(row) || columns.has(column)) continue
    rows.add(row)
    columns.add(column)
    pairs.push([row, column])
  }
  return pairs
}

function likeness(a: JsonSchema, b: JsonSchema): 0 | 1 | 2 {
  const [left, right] = [typeName(a), typeName(b)]
  if (left !== right && !(isNumeric(left) && isNumeric(right))) return 0
  if (discriminator(a, b) !== undefined) return 0
  return tags(a).some(([name]) => tags(b).some(([other]) => other === name)) ? 2 : 1
}

function nothingShared(older: Alternatives, newer: Alternatives, pairs: readonly unknown[], lost: number, won: number): boolean {
  const isAllOrNothing = (count: number, { shapes: all, values }: Alternatives): boolean =>
    count === 0 || count === all.length + values.size
  const areValues = older.shapes.length + newer.shapes.length === 0 && older.values.size > 0 && newer.values.size > 0
  return pairs.length === 0 && !areValues && lost + won > 0 && isAllOrNothing(lost, older) && isAllOrNothing(won, newer)
}

function typeChanged(older: Alternatives, newer: Alternatives, lost: readonly Untaken[], won: readonly Untaken[]): SchemaChange {
  const [forwards, backwards] = [worst(lost.map((one) => one.verdict)), worst(won.map((one) => one.verdict))]
  return change(
    forwards === 'unknown' && backwards === 'unknown' ? 'cannot-tell' : 'type-changed',
    forwards,
    backwards,
    `${describeAll(older)} → ${describeAll(newer)}`,
  )
}

/** Values of one side that the other does not take for certain. */
function untaken(values: ReadonlySet<string>, by: Alternatives): Untaken[] {
  return [...values]
    .filter((text) => !by.values.has(text))
    .map((text) => ({ text, verdict: best(by.shapes.map((shape) => takes(shape, JSON.parse(text)))) }))
    .filter((one) => one.verdict !== 'works')
}

function takes(shape: JsonSchema, value: unknown): Verdict {
  if (shape['x-talkwire'] !== undefined) return shape['x-talkwire'] === 'undescribed' ? 'unknown' : 'breaks'
  if (!isOfType(value, shape['type'])) return 'breaks'
  const constraints = Object.entries(shape).filter(([key]) => key !== 'type')
  return worst(constraints.map(([key, limit]) => holds(key, limit, value)))
}

function holds(key: string, limit: unknown, value: unknown): Verdict {
  if (typeof limit !== 'number') return 'unknown'
  const length = typeof value === 'string' ? [...value].length : 0
  switch (key) {
    case 'minLength':
      return verdict(typeof value === 'string' && length < limit)
    case 'maxLength':
      return verdict(typeof value === 'string' && length > limit)
    case 'minimum':
      return verdict(typeof value === 'number' && value < limit)
    case 'maximum':
      return verdict(typeof value === 'number' && value > limit)
    case 'exclusiveMinimum':
      return verdict(typeof value === 'number' && value <= limit)
    case 'exclusiveMaximum':
      return verdict(typeof value === 'number' && value >= limit)
    default:
      return 'unknown'
  }
}

// ── one shape ──────────────────────────────────────────────────────────────────────────────────────

const isNumeric = (type: string | undefined): boolean => type === 'number' || type === 'integer'
const typeName = (shape: JsonSchema): string | undefined =>
  [shape['x-talkwire'], shape['type']].find((one): one is string => typeof one === 'string')

function describe(shape: JsonSchema): string {
  const [tag] = tags(shape)
  if (tag) return `${typeName(shape)} with ${tag[0]}=${tag[1].join('|')}`
  return typeName(shape) ?? (Object.keys(shape).length === 0 ? 'anything' : 'a constraint without a type')
}

function describeAll({ shapes: all, values }: Alternatives): string {
  const named = [...values]
  const types = [...new Set(named.map((text) => jsonType(JSON.parse(text))))]
  return [...new Set([...all.map(describe), ...(named.length > 3 || types.includes('boolean') ? types : named)])].join(' | ') || 'nothing'
}

function shapes(older: JsonSchema, newer: JsonSchema, all: Comparison): readonly SchemaChange[] {
  return once(older, newer, all, () => {
    const types = compareTypes(older, newer)
    return types?.final ? types.changes : [...(types?.changes ?? []), ...compareKeywords(older, newer, all)]
  })
}

function compareTypes(older: JsonSchema, newer: JsonSchema): { changes: SchemaChange[]; final: boolean } | undefined {
  const [before, after] = [typeName(older), typeName(newer)]
  if (before === after) return undefined
  const message = `${describe(older)} → ${describe(newer)}`
  if (before === 'undescribed' || after === 'undescribed') return { changes: [cannotTell(message)], final: true }
  if (isNumeric(before) && isNumeric(after))
    return { changes: [change('type-changed', after === 'integer', before === 'integer', message)], final: false }
  if (before === undefined)
    return { changes: [change('type-changed', true, hasAssertions(older) ? 'unknown' : false, message)], final: true }
  if (after === undefined)
    return { changes: [change('type-changed', hasAssertions(newer) ? 'unknown' : false, true, message)], final: true }
  return { changes: [change('type-changed', true, true, message)], final: true }
}

const hasAssertions = (shape: JsonSchema): boolean => Object.keys(shape).some((key) => !ANNOTATIONS.has(key))

type Rule = (older: JsonSchema, newer: JsonSchema, all: Comparison) => readonly SchemaChange[]

/** Each rule answers for its keywords; what is in no row cannot be judged. */
const RULES: readonly (readonly [keywords: readonly string[], rule: Rule])[] = [
  [['type', 'x-talkwire'], () => []],
  [['properties', 'required', 'additionalProperties', 'patternProperties'], compareProperties],
  [['propertyNames'], inner('propertyNames', ' names', { type: 'string' })],
  [['items', 'prefixItems'], compareItems],
  [['x-keys'], inner('x-keys', ' keys', true)],
  [['x-values'], inner('x-values', '[]', true)],
  [['allOf'], compareAllOf],
  [['minLength'], atLeast('minLength', 0)],
  [['maxLength'], atMost('maxLength')],
  [['minItems'], atLeast('minItems', 0)],
  [['maxItems'], atMost('maxItems')],
  [['minProperties'], atLeast('minProperties', 0)],
  [['maxProperties'], atMost('maxProperties')],
  [['minimum', 'exclusiveMinimum'], compareBound('minimum', 'exclusiveMinimum', 1)],
  [['maximum', 'exclusiveMaximum'], compareBound('maximum', 'exclusiveMaximum', -1)],
  [['multipleOf'], compareMultiple],
  [
    ['uniqueItems'],
    (older, newer) => constraint('uniqueItems', older['uniqueItems'] === true || undefined, newer['uniqueItems'] === true || undefined),
  ],
  [['pattern'], (older, newer) => constraint('pattern', older['pattern'], newer['pattern'])],
  [['format'], (older, newer) => constraint('format', older['format'], newer['format'])],
  [['x-value'], (older, newer) => constraint('x-value', older['x-value'], newer['x-value'], 'breaks')],
  [['x-dtype'], (older, newer) => constraint('x-dtype', older['x-dtype'], newer['x-dtype'], 'breaks')],
]
const RULED = new Set(RULES.flatMap(([keywords]) => keywords))

function compareKeywords(older: JsonSchema, newer: JsonSchema, all: Comparison): SchemaChange[] {
  const keywords = [...new Set([...Object.keys(older), ...Object.keys(newer)])]
  const judged = RULES.filter(([names]) => names.some((name) => keywords.includes(name))).flatMap(([, rule]) => rule(older, newer, all))
  const others = keywords.filter((name) => !RULED.has(name) && !ANNOTATIONS.has(name) && !isEqual(older[name], newer[name]))
  return [...judged, ...others.map((name) => cannotTell(`"${name}" changed`))]
}

/** A keyword that only narrows: absent, it asks for nothing. */
function constraint(name: string, before: unknown, after: unknown, replaced: Verdict = 'unknown'): SchemaChange[] {
  if (isEqual(before, after)) return []
  const message = `${name} ${before === undefined ? 'none' : canonicalJson(before)} → ${after === undefined ? 'none' : canonicalJson(after)}`
  if (before === undefined) return [change('limit-changed', true, false, message)]
  if (after === undefined) return [change('limit-changed', false, true, message)]
  return [change(replaced === 'unknown' ? 'cannot-tell' : 'limit-changed', replaced, replaced, message)]
}

function inner(name: string, path: string, absent: Subschema): Rule {
  const missing = isObject(absent) ? absent : {}
  return (older, newer, all) => below(path, compare(subschema(older[name], missing), subschema(newer[name], missing), all))
}

const subschema = (value: unknown, absent: Subschema): Subschema => (isSubschema(value) ? value : absent)

function compareAllOf(older: JsonSchema, newer: JsonSchema, all: Comparison): readonly SchemaChange[] {
  const [before, after] = [older['allOf'], newer['allOf']]
  if (Array.isArray(before) && Array.isArray(after) && before.length === after.length)
    return before.flatMap((one, index) => compare(subschema(one, true), subschema(after[index], true), all))
  return [cannotTell('"allOf" changed')]
}

// ── limits ─────────────────────────────────────────────────────────────────────────────────────────

function atLeast(name: string, none: number): Rule {
  return (older, newer) => limit(name, numberOr(older[name], none), numberOr(newer[name], none), 1)
}

function atMost(name: string): Rule {
  return (older, newer) => limit(name, numberOr(older[name], Infinity), numberOr(newer[name], Infinity), -1)
}

const numberOr = (value: unknown, otherwise: number): number => (typeof value === 'number' ? value : otherwise)

/** `direction` 1: a greater limit takes less. −1: a smaller one does. */
function limit(name: string, before: number, after: number, direction: 1 | -1): SchemaChange[] {
  if (before === after) return []
  const narrower = (after - before) * direction > 0
  return [
    change(
      'limit-changed',
      narrower,
      !narrower,
      `${name} ${Number.isFinite(before) ? before : 'none'} → ${Number.isFinite(after) ? after : 'none'}`,
    ),
  ]
}

function compareBound(inclusive: string, exclusive: string, direction: 1 | -1): Rule {
  const bound = (schema: JsonSchema): { at: number; open: boolean } => {
    const [closed, open] = [numberOr(schema[inclusive], -Infinity * direction), numberOr(schema[exclusive], -Infinity * direction)]
    return (open - closed) * direction >= 0 && Number.isFinite(open) ? { at: open, open: true } : { at: closed, open: false }
  }
  return (older, newer) => {
    const [before, after] = [bound(older), bound(newer)]
    if (before.at !== after.at) return limit(inclusive, before.at, after.at, direction)
    if (before.open === after.open) return []
    return [change('limit-changed', after.open, before.open, `${inclusive} ${before.at} ${after.open ? 'no longer' : 'now'} included`)]
  }
}

function compareMultiple(older: JsonSchema, newer: JsonSchema): SchemaChange[] {
  const [before, after] = [older['multipleOf'], newer['multipleOf']]
  if (typeof before !== 'number' || typeof after !== 'number' || before === after) return constraint('multipleOf', before, after)
  if (!Number.isInteger(before) || !Number.isInteger(after)) return [cannotTell(`multipleOf ${before} → ${after}`)]
  return [change('limit-changed', before % after !== 0, after % before !== 0, `multipleOf ${before} → ${after}`)]
}

// ── objects ────────────────────────────────────────────────────────────────────────────────────────

function compareProperties(older: JsonSchema, newer: JsonSchema, all: Comparison): SchemaChange[] {
  const patterns = isEqual(older['patternProperties'], newer['patternProperties']) ? [] : [cannotTell('"patternProperties" changed')]
  const rest = below('{}', compare(subschema(older['additionalProperties'], TRUE), subschema(newer['additionalProperties'], TRUE), all))
  return [...names(older, newer).flatMap((name) => compareProperty(name, older, newer, all)), ...rest, ...patterns]
}

const record = (value: unknown): Record<string, unknown> => (isObject(value) ? value : {})
const requires = (schema: JsonSchema, name: string): boolean => Array.isArray(schema['required']) && schema['required'].includes(name)

function names(...schemas: readonly JsonSchema[]): string[] {
  return [
    ...new Set(
      schemas.flatMap((schema) => [
        ...Object.keys(record(schema['properties'])),
        ...(Array.isArray(schema['required']) ? schema['required'].filter((name) => typeof name === 'string') : []),
      ]),
    ),
  ]
}

const isNamed = (schema: JsonSchema, name: string): boolean => Object.hasOwn(record(schema['properties']), name) || requires(schema, name)

function compareProperty(name: string, older: JsonSchema, newer: JsonSchema, all: Comparison): SchemaChange[] {
  const path = /^[A-Za-z_$][\w$-]*$/.test(name) ? `.${name}` : `[${JSON.stringify(name)}]`
  const property = (schema: JsonSchema): Subschema =>
    subschema(record(schema['properties'])[name], subschema(schema['additionalProperties'], TRUE))
  if (isNamed(older, name) && isNamed(newer, name))
    return [...compareRequired(older, newer, name, path), ...below(path, compare(property(older), property(newer), all))]
  const isNew = isNamed(newer, name)
  const required = requires(isNew ? newer : older, name)
  const other = meets(isNew ? older : newer, isNew, () => compare(property(older), property(newer), all))
  const kind = isNew ? 'property-added' : 'property-removed'
  const message = `${required ? 'required' : 'optional'} property ${isNew ? 'added' : 'removed'}`
  return [change(kind, isNew && required ? 'breaks' : other.forward, !isNew && required ? 'breaks' : other.backward, message, path)]
}

/** What a property that one side does not name meets there: nobody sends it, and a receiver ignores it, unless `additionalProperties` or a pattern speaks of it. */
function meets(unaware: JsonSchema, isNew: boolean, compareThem: () => readonly SchemaChange[]): { forward: Verdict; backward: Verdict } {
  if (isObject(unaware['patternProperties']) && Object.keys(unaware['patternProperties']).length > 0)
    return { forward: 'unknown', backward: 'unknown' }
  const rest = unaware['additionalProperties']
  if (rest === undefined || rest === true || (isObject(rest) && !hasAssertions(rest))) return { forward: 'works', backward: 'works' }
  if (rest === false) return { forward: isNew ? 'works' : 'breaks', backward: isNew ? 'breaks' : 'works' }
  const changes = compareThem()
  return { forward: forward(changes), backward: backward(changes) }
}

function compareRequired(older: JsonSchema, newer: JsonSchema, name: string, path: string): SchemaChange[] {
  const [before, after] = [requires(older, name), requires(newer, name)]
  if (before === after) return []
  return [
    after
      ? change('property-required', true, false, 'optional → required', path)
      : change('property-optional', false, true, 'required → optional', path),
  ]
}

// ── arrays ─────────────────────────────────────────────────────────────────────────────────────────

function compareItems(older: JsonSchema, newer: JsonSchema, all: Comparison): SchemaChange[] {
  const prefix = (schema: JsonSchema): readonly unknown[] => (Array.isArray(schema['prefixItems']) ? schema['prefixItems'] : [])
  const [before, after] = [prefix(older), prefix(newer)]
  const changes = below('[]', compare(subschema(older['items'], TRUE), subschema(newer['items'], TRUE), all))
  for (let index = 0; index < Math.max(before.length, after.length); index++) {
    const element = (own: readonly unknown[], schema: JsonSchema): Subschema => subschema(own[index], subschema(schema['items'], TRUE))
    const path = `[${index}]`
    if (index < before.length && index < after.length)
      changes.push(...below(path, compare(element(before, older), element(after, newer), all)))
    else
      changes.push(
        addedElement(path, index < after.length, index < after.length ? older : newer, () =>
          compare(element(before, older), element(after, newer), all),
        ),
      )
  }
  return changes
}

/** `minItems` says whether it must be there, and is compared on its own. */
function addedElement(path: string, isNew: boolean, unaware: JsonSchema, compareThem: () => readonly SchemaChange[]): SchemaChange {
  const other = meets({ additionalProperties: unaware['items'] ?? true }, isNew, compareThem)
  return change(
    isNew ? 'property-added' : 'property-removed',
    other.forward,
    other.backward,
    `element ${isNew ? 'added' : 'removed'}`,
    path,
  )
}

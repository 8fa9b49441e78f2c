/** The part of Standard Schema (standardschema.dev, version 1) that is used here; any library that has it will do. */
export interface StandardSchema<Input = unknown, Output = Input> {
  readonly '~standard': {
    readonly version: 1
    readonly vendor: string
    readonly validate: (value: unknown) => SchemaResult<Output> | Promise<SchemaResult<Output>>
    readonly types?: { readonly input: Input; readonly output: Output } | undefined
    /** Standard JSON Schema, where the library has it. */
    readonly jsonSchema?: {
      readonly input: (options: JsonSchemaOptions) => Record<string, unknown>
      readonly output: (options: JsonSchemaOptions) => Record<string, unknown>
    }
  }
}

export interface JsonSchemaOptions {
  readonly target: 'draft-2020-12'
  /** What one library understands and the others ignore. */
  readonly libraryOptions?: Record<string, unknown> | undefined
}

export type SchemaResult<Output> = { readonly value: Output; readonly issues?: undefined } | { readonly issues: readonly SchemaIssue[] }

export interface SchemaIssue {
  readonly message: string
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined
}

/** What a caller may pass. */
export type InputOf<S> = S extends { '~standard': { types?: { input: infer I } | undefined } } ? I : never
/** What the receiver gets after validation. */
export type OutputOf<S> = S extends { '~standard': { types?: { output: infer O } | undefined } } ? O : never

/** The issues as one line: `amount: expected a number; account: required`. */
export function describeIssues(issues: readonly SchemaIssue[]): string {
  return issues
    .slice(0, 5)
    .map(({ message, path }) => (path?.length ? `${path.map(segment).join('.')}: ${message}` : message))
    .join('; ')
}

const segment = (part: PropertyKey | { readonly key: PropertyKey }): string => String(typeof part === 'object' ? part.key : part)

/** What a command is: a line of the table in main.ts. */
export interface Option {
  readonly type: 'string' | 'boolean'
  readonly multiple?: boolean
  /** What stands for the value in the help. */
  readonly value?: string
  readonly help: string
}

export type Values = Readonly<Record<string, string | boolean | readonly string[] | undefined>>

export interface Command {
  /** After `talkwire `. */
  readonly usage: string
  readonly summary: string
  readonly help?: string
  readonly options: Readonly<Record<string, Option>>
  readonly examples: readonly (readonly [line: string, what: string])[]
  /** How many words it takes beside options. */
  readonly words: { readonly least: number; readonly most: number }
  /** The exit code. Throws UsageError, Failure, TalkwireError. */
  run(words: readonly string[], values: Values): Promise<number>
}

export const json: Option = { type: 'boolean', help: 'for programs: one line of JSON, errors too (on stderr)' }
export const authkeyFile: Option = { type: 'string', value: 'file', help: 'a file with the secret that both sides know' }

export const text = (values: Values, name: string): string | undefined => values[name] as string | undefined
export const texts = (values: Values, name: string): readonly string[] => (values[name] as readonly string[] | undefined) ?? []

/** Schemas at work, and errors that the peer may see as they are. */
import { describeIssues, type StandardSchema } from '../contract/standard-schema.js'
import { TalkwireError, type Outcome } from '../error.js'

const visible = new WeakSet<TalkwireError>()

/** An error about the caller's own input. */
export function visibleError(...args: ConstructorParameters<typeof TalkwireError>): TalkwireError {
  const error = new TalkwireError(...args)
  visible.add(error)
  return error
}

/** The peer may see an error as it is. */
export function reveal(error: TalkwireError): TalkwireError {
  visible.add(error)
  return error
}

/** The same for what ends a stream: why nothing came of it is for who called. */
export async function* revealed<T>(run: () => AsyncIterable<T>): AsyncIterable<T> {
  try {
    yield* run()
  } catch (reason) {
    throw reason instanceof TalkwireError ? reveal(reason) : reason
  }
}

export const isVisible = (error: TalkwireError): boolean => visible.has(error)

type Verdict = 'INVALID_INPUT' | 'INVALID_OUTPUT'

/** The validated value, or a promise of it. Throws (or rejects with) `code`. */
export function validate(schema: StandardSchema, value: unknown, method: string, code: Verdict, outcome: Outcome): unknown {
  const result = schema['~standard'].validate(value)
  if (result instanceof Promise) return result.then((each) => checked(each, method, code, outcome))
  return checked(result, method, code, outcome)
}

function checked(
  result: Awaited<ReturnType<StandardSchema['~standard']['validate']>>,
  method: string,
  code: Verdict,
  outcome: Outcome,
): unknown {
  if (!result.issues) return result.value
  const what = code === 'INVALID_INPUT' ? 'input' : 'output'
  throw visibleError(code, `the ${what} of "${method}" does not fit its schema: ${describeIssues(result.issues)}`, {
    outcome,
    details: result.issues.map(({ message, path }) => ({
      message,
      path: path?.map((part) => String(typeof part === 'object' ? part.key : part)) ?? [],
    })),
  })
}

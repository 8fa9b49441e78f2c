/** Errors as they travel between two Talkwire sides: spec/wire.md § 6. The number tells plain peers what the name tells us. */
import { plainMessage, TalkwireError, type Outcome } from '../error.js'

const DECLARED = -32010
const INTERNAL = -32603

interface WireError {
  readonly code?: unknown
  readonly message?: unknown
  readonly data?: { readonly code?: string; readonly outcome?: Outcome; readonly details?: unknown }
}

export const toWire = (error: TalkwireError): WireError => ({
  code: error.declared ? DECLARED : INTERNAL,
  message: plainMessage(error),
  data: { code: error.code, outcome: error.outcome, details: error.details },
})

export const fromWire = ({ code, message, data }: WireError): TalkwireError =>
  new TalkwireError(data?.code ?? 'UNKNOWN', String(message), {
    declared: code === DECLARED,
    outcome: data?.outcome ?? 'ran',
    details: data?.details,
  })

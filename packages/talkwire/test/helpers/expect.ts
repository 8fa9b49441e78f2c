import { TalkwireError, type Code } from '../../src/error.js'

/** For assert.throws and assert.rejects: a TalkwireError with this code. */
export const fails =
  (...codes: Code[]) =>
  (reason: unknown): boolean => {
    if (reason instanceof TalkwireError && codes.includes(reason.code as Code)) return true
    throw new Error(`expected ${codes.join(' or ')}, got ${String(reason)}`, { cause: reason })
  }

/**
 * How two ends of Python's multiprocessing.connection prove to each other that they know the authkey. Sans I/O.
 * Source: Lib/multiprocessing/connection.py of Python 3.11 (HMAC-MD5 of 20 bytes) and 3.12 (a named digest).
 */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { TalkwireError } from '../error.js'

const CHALLENGE = Buffer.from('#CHALLENGE#')
const WELCOME = Buffer.from('#WELCOME#')
const FAILURE = Buffer.from('#FAILURE#')
/** No message of a handshake is longer. */
export const MAX_HANDSHAKE = 256
const SIZE = 40
/** As short a challenge as Python 3.11 sends; what is shorter was not made to be fresh. */
const LEAST = 20

/** Python's names and Node's. */
const DIGESTS: Readonly<Record<string, string>> = {
  md5: 'md5',
  sha256: 'sha256',
  sha384: 'sha384',
  sha3_256: 'sha3-256',
  sha3_384: 'sha3-384',
}
type Key = string | Uint8Array

const refused = (what: string): TalkwireError => new TalkwireError('UNAUTHENTICATED', what)
const DIFFERENT = 'the authkey is not the same on both sides; give both the same'

export const isChallenge = (message: Buffer): boolean => message.subarray(0, CHALLENGE.length).equals(CHALLENGE)

/** `{sha256}…`; a text without such a name has no digest. Undefined: a name that nobody knows here. */
function named(message: Buffer): { digest: string | undefined; payload: Buffer } | undefined {
  if (message[0] !== 0x7b) return { digest: undefined, payload: message }
  const end = message.indexOf(0x7d)
  const name = message.toString('latin1', 1, end)
  return Object.hasOwn(DIGESTS, name) ? { digest: name, payload: message.subarray(end + 1) } : undefined
}

const hmac = (key: Key, digest: string, message: Buffer): Buffer => createHmac(DIGESTS[digest]!, key).update(message).digest()

/** Throws UNAUTHENTICATED. */
function respond(key: Key, message: Buffer): Buffer {
  const challenge = message.subarray(CHALLENGE.length)
  if (!isChallenge(message) || challenge.length < LEAST) throw refused('the other side sent no challenge; does it want an authkey at all?')
  // Twenty bytes are a challenge of Python 3.11, whatever they begin with.
  const digest = challenge.length === LEAST ? undefined : named(challenge)?.digest
  if (digest === undefined && challenge.length !== LEAST) throw refused('the challenge names a digest that is not known here')
  return digest === undefined ? hmac(key, 'md5', challenge) : Buffer.concat([Buffer.from(`{${digest}}`), hmac(key, digest, challenge)])
}

function proves(key: Key, challenge: Buffer, response: Buffer): boolean {
  // Who knows no names answers with the bare HMAC-MD5, 16 bytes.
  const { digest = 'md5', payload } = response.length === 16 ? { payload: response } : (named(response) ?? { payload: Buffer.alloc(0) })
  const expected = hmac(key, digest, challenge)
  return payload.length === expected.length && timingSafeEqual(payload, expected)
}

/** One side of a handshake: gets each message, sends its own. */
export class Handshake {
  done = false
  private step: 'wait' | 'asked' | 'answered'
  private challenge = Buffer.alloc(0)

  constructor(
    private readonly role: 'listener' | 'client',
    private readonly key: Key,
    private readonly send: (message: Buffer) => void,
  ) {
    this.step = 'wait'
    if (role === 'listener') this.ask()
  }

  /** Throws UNAUTHENTICATED: it failed, and the other side has been told. */
  take(message: Buffer): void {
    if (this.step === 'asked') return this.check(message)
    if (this.step === 'wait') {
      this.send(respond(this.key, message))
      this.step = 'answered'
      return
    }
    if (!message.equals(WELCOME)) throw refused(DIFFERENT)
    if (this.role === 'client') this.ask()
    else this.done = true
  }

  private ask(): void {
    this.challenge = Buffer.concat([Buffer.from('{sha256}'), randomBytes(SIZE)])
    this.send(Buffer.concat([CHALLENGE, this.challenge]))
    this.step = 'asked'
  }

  private check(response: Buffer): void {
    const right = proves(this.key, this.challenge, response)
    this.send(right ? WELCOME : FAILURE)
    if (!right) throw refused(DIFFERENT)
    if (this.role === 'client') this.done = true
    else this.step = 'wait'
  }
}

/** `rpc.auth`: both sides prove that they know a key, and neither sends it. spec/wire.md § 4.1. */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { TalkwireError } from '../error.js'

export type AuthKey = string | Uint8Array
const MIN_KEY = 16

/** Throws TypeError for a key that could be guessed from a recorded handshake. */
export function validateKey(key: AuthKey): void {
  if (Buffer.byteLength(key as string) < MIN_KEY)
    throw new TypeError(`an authkey has at least ${MIN_KEY} bytes; take for example crypto.randomBytes(32)`)
}

type Side = 'server' | 'client'
const prove = (key: AuthKey, side: Side, challenge: string, own: string): string =>
  createHmac('sha256', key).update(`talkwire-${side}:${challenge}:${own}`).digest('hex')

const HEX = /^[0-9a-f]{64}$/

function equal(proof: unknown, expected: string): boolean {
  return typeof proof === 'string' && HEX.test(proof) && timingSafeEqual(Buffer.from(proof), Buffer.from(expected))
}

const refused = (what: string): TalkwireError => new TalkwireError('UNAUTHENTICATED', what)

export interface AuthServer {
  /** Give it the params of each `rpc.auth`. Throws UNAUTHENTICATED. */
  answer(params: unknown): unknown
  readonly done: boolean
}

/** The accepting side. */
export function authServer(key: AuthKey): AuthServer {
  let nonces: { server: string; client: string } | undefined
  let done = false
  return {
    get done() {
      return done
    },
    answer(params) {
      const { nonce, proof } = (params ?? {}) as { nonce?: unknown; proof?: unknown }
      if (!nonces) {
        if (typeof nonce !== 'string' || !HEX.test(nonce)) throw refused('rpc.auth begins with a nonce of 32 bytes in hex')
        nonces = { server: randomBytes(32).toString('hex'), client: nonce }
        return { nonce: nonces.server, proof: prove(key, 'server', nonces.client, nonces.server) }
      }
      if (done || !equal(proof, prove(key, 'client', nonces.server, nonces.client)))
        throw refused('the authkey is not the same on both sides; give both the same')
      done = true
      return true
    },
  }
}

/** The connecting side. Rejects with UNAUTHENTICATED when the server does not know the key. */
export async function authClient(key: AuthKey, call: (params: unknown) => Promise<unknown>): Promise<void> {
  const client = randomBytes(32).toString('hex')
  const { nonce, proof } = ((await call({ nonce: client })) ?? {}) as { nonce?: unknown; proof?: unknown }
  if (typeof nonce !== 'string' || !HEX.test(nonce) || !equal(proof, prove(key, 'server', client, nonce)))
    throw refused('the server does not know the authkey; give both sides the same')
  await call({ proof: prove(key, 'client', nonce, client) })
}

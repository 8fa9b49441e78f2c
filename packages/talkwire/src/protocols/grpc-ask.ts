/** What a client of gRPC or Connect asks before its first call: grpc.health.v1. */
import { TalkwireError } from '../error.js'
import type { Answer, DialectClientOptions, OpenCall } from './dialect.js'
import { healthFile, NOT_SERVED } from './grpc-health.js'
import type { Meta } from './message.js'
import { fullName, type File } from './protobuf-model.js'

/** Whoever can be asked by any file, also for reflection. */
export interface Asked {
  /** A call of any service. Throws as `Callee.call`. */
  start(file: File, member: string, input: unknown, meta: Meta | undefined, answer: Answer): OpenCall
}

/** Whether there is such a service, and whether we may call it. A server that does not say is taken at its word. */
export function askWhether(
  address: string,
  file: File,
  { limits, signal }: Pick<DialectClientOptions, 'limits' | 'signal'>,
  ask: (file: File, answer: Answer) => OpenCall,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (use: () => void): void => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
      call.cancel()
      use()
    }
    const onAbort = (): void => settle(() => reject(signal!.reason as Error))
    const timer = setTimeout(
      () =>
        settle(() =>
          reject(
            new TalkwireError(
              'PEER_NOT_FOUND',
              `${address} did not answer within ${limits.handshake} ms; check the address, or raise limits.handshake`,
            ),
          ),
        ),
      limits.handshake,
    )
    signal?.addEventListener('abort', onAbort, { once: true })
    const call = ask(healthFile, {
      result: () => settle(resolve),
      error: (error) => settle(() => refusalOf(error, address, file, resolve, reject)),
      item: () => 0,
    })
  })
}

function refusalOf(error: TalkwireError, address: string, file: File, resolve: () => void, reject: (reason: TalkwireError) => void): void {
  if (error.code === NOT_SERVED)
    return reject(new TalkwireError('CONTRACT_MISMATCH', `${address} does not serve ${fullName(file)}; give both sides the same contract`))
  if (ABSENT.has(error.code) || error.code.startsWith('CONNECTION_')) return reject(error.withOutcome('not-sent'))
  resolve()
}

/** Who cannot be reached or may not be called. What else is wrong, the first call tells. */
const ABSENT = new Set(['UNAUTHENTICATED', 'PERMISSION_DENIED', 'PEER_NOT_FOUND'])

/** SQS has requests and no connection: it is lost when one finds nobody, and there again when another is answered. None is tried again. */
import type { SQS, SQSClientConfig } from '@aws-sdk/client-sqs'
import { TalkwireError } from '../../../error.js'
import { isCertificate } from '../../../trust.js'
import type { OpenOptions } from '../../driver.js'
import { brokerAddress } from '../broker-address.js'
import { packageOf, type Pauses } from '../broker.js'
import { presence } from '../presence.js'

export interface Sqs {
  /** Every queue's name begins with it. */
  readonly prefix: string
  /** `outcome`: of what was sent and not answered. */
  ask<T>(run: (sqs: SQS) => Promise<T>, outcome?: Outcome): Promise<T>
  /** Resolves when it is worth trying again after this reason. Tells reasons that are no lost connection. */
  again(pause: Pauses, reason: unknown, what: string): Promise<void>
  /** Called before the hub closes; what it returns is waited for. */
  closing(what: () => unknown): () => void
  onError: OpenOptions['onError']
  close(): Promise<void>
}

export type Outcome = 'not-sent' | 'maybe-ran'

const FORM =
  'SQS is sqs+https://sqs.eu-central-1.amazonaws.com?prefix=shop&region=eu-central-1, or sqs+http: without TLS; the prefix has letters, digits, "_" and "-"'
/** Where the address says no region and the environment neither: what stands in for SQS takes any. */
const ANY_REGION = 'us-east-1'
const OF_AWS = /(?:^|\.)sqs\.([a-z0-9-]+)\.(?:vpce\.)?amazonaws\.com/
/** Longer than SQS lets anybody wait. */
const SILENCE = 40_000

function parse(address: string, credentials: Readonly<Record<string, unknown>>): { config: SQSClientConfig; prefix: string } {
  const { url, host, user, password, prefix } = brokerAddress(address, ['sqs+http', 'sqs+https'], /^\/?$/, FORM, ['region'])
  const place = `${url.protocol.slice('sqs+'.length)}//${url.host}`
  const inAddress = user === '' ? undefined : { accessKeyId: user, secretAccessKey: password }
  const given = 'accessKeyId' in credentials ? credentials : inAddress
  const agent = { maxSockets: Infinity, keepAlive: true }
  return {
    prefix,
    config: {
      endpoint: place,
      region: url.searchParams.get('region') ?? OF_AWS.exec(host)?.[1] ?? process.env['AWS_REGION'] ?? ANY_REGION,
      ...(given && { credentials: given as unknown as NonNullable<SQSClientConfig['credentials']> }),
      // What is in doubt is told, not sent twice.
      maxAttempts: 1,
      // A queue's URL may have a name that only the broker's own machine knows.
      useQueueUrlAsEndpoint: false,
      // Whoever waits for jobs has a connection for it: nobody else may wait for one.
      requestHandler: {
        requestTimeout: SILENCE,
        throwOnRequestTimeout: true,
        httpAgent: agent,
        httpsAgent: { ...agent, ...(credentials['tls'] as object | undefined) },
      },
    },
  }
}

export async function connectSqs(address: string, options: OpenOptions): Promise<Sqs> {
  const { credentials = {}, onError, signal } = options
  const { config, prefix } = parse(address, credentials)
  const lib = await packageOf('sqs', '@aws-sdk/client-sqs', () => import('@aws-sdk/client-sqs'))
  signal?.throwIfAborted()
  const client = new lib.SQS(config)

  /** Whoever may not ask for a queue, or asks for one that is none, has an answer. */
  const there = async (abortSignal?: AbortSignal): Promise<void> => {
    try {
      await client.getQueueUrl({ QueueName: `${prefix}-` }, abortSignal && { abortSignal })
    } catch (reason) {
      if (!/QueueDoesNotExist|NonExistentQueue|^AccessDenied/.test((reason as Error).name)) throw reason
    }
  }
  const broker = presence('SQS: nobody answers now; it is asked again by itself', there, options)
  const run = async <T>(what: (sqs: SQS) => Promise<T>, outcome: Outcome): Promise<T> => {
    broker.ready()
    try {
      return await what(client)
    } catch (reason) {
      if (reason instanceof TalkwireError || isAborted(reason)) throw reason
      const error = errorOf(reason, outcome)
      if (isUnanswered(reason)) broker.lost(error)
      throw error
    }
  }
  try {
    await there(signal)
  } catch (reason) {
    client.destroy()
    signal?.throwIfAborted()
    throw errorOf(reason, 'not-sent')
  }
  return {
    prefix,
    onError,
    closing: broker.closing,
    ask: (what, outcome = 'maybe-ran') => broker.keep(run(what, outcome)),
    again: broker.again,
    close: () => broker.close(() => client.destroy()),
  }
}

/** What the library throws: SQS's own name of an error, or one of the system's. */
interface Reason extends Error {
  readonly code?: string
  readonly $metadata?: { readonly httpStatusCode?: number }
}

export const isAborted = (reason: unknown): boolean => reason instanceof Error && reason.name === 'AbortError'
const isUnanswered = (reason: unknown): boolean =>
  (reason as Reason).$metadata?.httpStatusCode === undefined && !CREDENTIALS.test((reason as Reason).name)

const CREDENTIALS = /^CredentialsProviderError|^TokenProviderError/
const REFUSED =
  /^(InvalidClientTokenId|UnrecognizedClient|SignatureDoesNotMatch|MissingAuthenticationToken|IncompleteSignature|InvalidAccessKeyId|ExpiredToken|OptInRequired)/
const BUSY = /Throttl|RequestLimitExceeded|ServiceUnavailable|OverLimit/
const NOBODY = /^(ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH)$/
const TOO_LARGE = /must be shorter|TooLong|too (?:long|large)/i
const GONE = /ReceiptHandleIsInvalid|MessageNotInflight/

function errorOf(reason: unknown, outcome: Outcome): TalkwireError {
  const { name, message, code, $metadata } = reason as Reason
  const say = (our: string, how: Outcome): TalkwireError =>
    new TalkwireError(our, `SQS: ${[...new Set([name === 'Error' ? '' : name, message || code])].filter(Boolean).join(': ')}`, {
      cause: reason,
      outcome: how,
    })
  if (CREDENTIALS.test(name) || REFUSED.test(name)) return say('UNAUTHENTICATED', 'not-sent')
  if (name.startsWith('AccessDenied')) return say('PERMISSION_DENIED', 'not-sent')
  if (NOBODY.test(code ?? '') || isCertificate(code ?? '')) return say('UNAVAILABLE', 'not-sent')
  if ($metadata?.httpStatusCode === undefined) return say(outcome === 'not-sent' ? 'UNAVAILABLE' : 'CONNECTION_LOST', outcome)
  if (BUSY.test(name)) return say('LIMIT_EXCEEDED', 'not-sent')
  if (TOO_LARGE.test(`${name} ${message}`)) return say('MESSAGE_TOO_LARGE', 'not-sent')
  if (GONE.test(name)) return say('NOT_FOUND', 'not-sent')
  if (/QueueDoesNotExist|NonExistentQueue/.test(name)) return say('NOT_FOUND', 'not-sent')
  return say('UNKNOWN', outcome)
}

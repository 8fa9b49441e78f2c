/** The library has connections of its own and makes them again. What is told here is whether there is a server that takes writes. */
import type { Collection, Db, Document, MongoClient, MongoServerError } from 'mongodb'
import { TalkwireError } from '../../../error.js'
import type { OpenOptions } from '../../driver.js'
import { orAborted, packageOf, type Pauses } from '../broker.js'
import { presence } from '../presence.js'

type Library = typeof import('mongodb')

/** The greatest document. */
export const LARGEST = 16 * 1024 * 1024

export interface Mongo {
  readonly lib: Library
  readonly client: MongoClient
  readonly collection: <T extends Document>(name: string) => Collection<T>
  /** Rejects with what the library says in our words. */
  run<T>(what: () => Promise<T>): Promise<T>
  errorOf(reason: unknown): TalkwireError
  /** Resolves when it is worth trying again after this reason. Tells reasons that are no lost connection. */
  again(pause: Pauses, reason: unknown, what: string, signal?: AbortSignal): Promise<void>
  /** Called when there is a server again. */
  back(what: () => unknown): () => void
  /** Called before the hub closes; what it returns is waited for. */
  closing(what: () => unknown): () => void
  onError: OpenOptions['onError']
  close(): Promise<void>
}

const FORM =
  'MongoDB is mongodb://user:password@host:27017/database?prefix=shop, or mongodb+srv:, with hosts and options as MongoDB has them; the prefix has letters, digits, "_" and "-"'
const PARTS = /^(mongodb(?:\+srv)?:\/\/[^/?#]+)(?:\/([^/?#]*))?(?:\?([^#]*))?$/
const PREFIX = /^[A-Za-z0-9_-]{1,64}$/
/** Milliseconds in which a server is found that takes writes, where the address does not say it. */
const SELECTION = '5000'

function parse(address: string): { uri: string; prefix: string } {
  const [whole, hosts, database = '', query = ''] = PARTS.exec(address) ?? []
  const words = new URLSearchParams(query)
  const prefix = words.get('prefix') ?? 'talkwire'
  if (whole === undefined || !PREFIX.test(prefix)) throw new TalkwireError('INVALID_ADDRESS', `an address of ${FORM}`)
  words.delete('prefix')
  if (!words.has('serverSelectionTimeoutMS')) words.set('serverSelectionTimeoutMS', SELECTION)
  return { uri: `${hosts}/${database || 'talkwire'}?${words.toString()}`, prefix }
}

export async function connectMongo(address: string, options: OpenOptions): Promise<Mongo> {
  const { credentials = {}, onError, signal } = options
  const { uri, prefix } = parse(address)
  const lib = await packageOf('mongodb', 'mongodb', () => import('mongodb'))
  signal?.throwIfAborted()
  const { user, password, tls, ...more } = credentials
  const make = (): MongoClient => {
    try {
      return new lib.MongoClient(uri, {
        ...more,
        ...(tls !== undefined && { tls: true, ...(tls as object) }),
        ...(user !== undefined && { auth: { username: user as string, password: password as string } }),
        // What is acknowledged is on the disks of most, and what is read was.
        writeConcern: { w: 'majority', journal: true },
        readConcern: { level: 'majority' },
        readPreference: 'primary',
      })
    } catch (cause) {
      throw new TalkwireError('INVALID_ADDRESS', `an address of ${FORM}; ${(cause as Error).message}`, { cause })
    }
  }
  const client = make()
  const db: Db = client.db()
  let opening = true
  const there = async (): Promise<void> => void (await client.db('admin').command({ ping: 1 }))
  const server = presence('MongoDB: nobody takes writes now; it is asked again by itself', there, options)
  client.on('topologyDescriptionChanged', ({ newDescription }) => {
    if (opening || [...newDescription.servers.values()].some(({ isWritable }) => isWritable)) return
    server.lost(new TalkwireError('CONNECTION_LOST', 'MongoDB: nobody takes writes now', { outcome: 'maybe-ran' }))
  })
  const hasName = user !== undefined || /\/\/[^/]*@/.test(uri)
  const errorOf = (reason: unknown): TalkwireError => errorIn(lib, reason, opening, hasName)
  const open = async (): Promise<void> => {
    await client.connect()
    const hello = await db.command({ hello: 1 })
    if (hello['setName'] === undefined && hello['msg'] !== 'isdbgrid')
      throw new TalkwireError('UNAVAILABLE', 'this MongoDB stands alone, without change streams and transactions; start it with --replSet')
    // What says hello to anybody may still want a password.
    await db.collection<{ _id: string }>(`${prefix}.state`).findOne({ _id: '' })
  }
  try {
    await orAborted(open(), signal)
  } catch (reason) {
    const error = errorOf(reason)
    await client.close()
    signal?.throwIfAborted()
    throw error
  }
  opening = false
  const run = async <T>(what: () => Promise<T>): Promise<T> => {
    server.ready()
    try {
      return await what()
    } catch (reason) {
      throw errorOf(reason)
    }
  }
  return {
    lib,
    client,
    collection: (name) => db.collection(`${prefix}.${name}`),
    run: (what) => server.keep(run(what)),
    errorOf,
    back: server.back,
    closing: server.closing,
    onError,
    again: server.again,
    close: () => server.close(() => client.close()),
  }
}

/** Of MongoDB's numbers: https://github.com/mongodb/mongo/blob/master/src/mongo/base/error_codes.yml */
const UNAUTHORIZED = 13
const AUTHENTICATION_FAILED = 18
const TOO_LARGE = new Set([10334, 17419, 17420])
const DUPLICATE = 11000
/** Of Node's, for a socket that is no more. */
const BROKEN = new Set(['EPIPE', 'ECONNRESET'])

export const codeOf = (reason: unknown): number | undefined => {
  const code = (reason as MongoServerError | undefined)?.code
  return typeof code === 'number' ? code : undefined
}

/** Somebody else made the same one. */
export const isDuplicate = (reason: unknown): boolean => reason instanceof TalkwireError && codeOf(reason.cause) === DUPLICATE

function errorIn(lib: Library, reason: unknown, isOpening: boolean, hasName: boolean): TalkwireError {
  // The library lets what a socket says through, where it wrote to one that the other side had ended.
  if (BROKEN.has((reason as NodeJS.ErrnoException).code ?? ''))
    return new TalkwireError('CONNECTION_LOST', `MongoDB: ${(reason as Error).message}`, { cause: reason, outcome: 'maybe-ran' })
  if (!(reason instanceof lib.MongoError || reason instanceof lib.BSON.BSONError || reason instanceof RangeError))
    return TalkwireError.from(reason)
  const say = (code: string, outcome: 'not-sent' | 'maybe-ran'): TalkwireError =>
    new TalkwireError(code, `MongoDB: ${reason.message}`, { cause: reason, outcome })
  const code = codeOf(reason)
  if (code === AUTHENTICATION_FAILED) return say('UNAUTHENTICATED', 'not-sent')
  if (code === UNAUTHORIZED) return say(hasName ? 'PERMISSION_DENIED' : 'UNAUTHENTICATED', 'not-sent')
  // The library has room for 17 MB, and says that an offset is out of range.
  if (TOO_LARGE.has(code ?? 0) || !(reason instanceof lib.MongoError)) return say('MESSAGE_TOO_LARGE', 'not-sent')
  // Later it may be the end of a second attempt, of which the first one was sent.
  if (reason instanceof lib.MongoServerSelectionError)
    return isOpening ? say('UNAVAILABLE', 'not-sent') : say('CONNECTION_LOST', 'maybe-ran')
  if (/TopologyClosed|NotConnected|ClientClosed|ServerClosed|ExpiredSession/.test(reason.name))
    return new TalkwireError('CLOSED', 'the hub was closed', { cause: reason, outcome: 'maybe-ran' })
  if (reason instanceof lib.MongoNetworkError) return say('CONNECTION_LOST', 'maybe-ran')
  // A server that is no longer the one that takes writes, or is about to end.
  const isLeaving = ['RetryableWriteError', 'TransientTransactionError'].some((label) => reason.hasErrorLabel(label))
  return say(isLeaving || reason instanceof lib.MongoWriteConcernError ? 'CONNECTION_LOST' : 'UNKNOWN', 'maybe-ran')
}

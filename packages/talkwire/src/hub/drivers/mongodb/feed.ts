/**
 * What changes in a collection, for all who listen: one change stream, which begins after a lost connection where it ended. Where MongoDB
 * no longer has what came since, who listens is told to begin anew.
 */
import type { ChangeStream, Document, ResumeToken, Timestamp } from 'mongodb'
import { pauses } from '../broker.js'
import { codeOf, type Mongo } from './connection.js'

export interface Listener {
  heard(change: Document): void
  /** Anything may have changed. */
  anew(): void
}

export interface Ear {
  /** Nothing is heard after it resolves. */
  close(): Promise<void>
}

export interface Feed {
  /** Resolves when everything that changes from now on will be heard. */
  listen(listener: Listener): Promise<Ear>
}

/** Changes of the whole collection, behind which `invalidate` ends the stream. */
const WHOLE = ['drop', 'rename', 'dropDatabase']

export function feed(mongo: Mongo, name: string, pipeline: readonly Document[]): Feed {
  const listeners = new Set<Listener>()
  let running: { readonly started: Promise<void>; end(): Promise<void> } | undefined
  const leave = async (listener: Listener): Promise<void> => {
    listeners.delete(listener)
    if (listeners.size > 0) return
    const last = running
    running = undefined
    await last?.end()
  }
  return {
    async listen(listener) {
      listeners.add(listener)
      running ??= follow(mongo, name, pipeline, listeners)
      try {
        await running.started
      } catch (reason) {
        await leave(listener)
        throw reason
      }
      return { close: () => leave(listener) }
    },
  }
}

function follow(mongo: Mongo, name: string, pipeline: readonly Document[], listeners: ReadonlySet<Listener>) {
  let pause = pauses()
  let over = false
  let isAnew = false
  let from: { readonly startAfter: ResumeToken } | { readonly startAtOperationTime: Timestamp } | undefined
  let stream: ChangeStream | undefined
  /** The last moment that most have: what is read after this is from then or later. */
  const now = async (): Promise<Timestamp> =>
    mongo.client.withSession(async (session) => {
      await mongo.collection<{ _id: string }>(name).findOne({ _id: '' }, { session })
      return session.operationTime!
    })
  const begin = async (): Promise<void> => {
    from ??= { startAtOperationTime: await mongo.run(now) }
  }
  const read = async (): Promise<void> => {
    const mine = (stream = mongo.collection(name).watch([...pipeline], from))
    try {
      for (;;) {
        const change = await mine.next()
        pause = pauses()
        if (change.operationType === 'invalidate') {
          // From now on would leave out what was changed since.
          from = { startAfter: change._id }
          isAnew = true
          return
        }
        if (!WHOLE.includes(change.operationType)) for (const listener of listeners) listener.heard(change)
      }
    } catch (reason) {
      // Also where only others had changes since.
      if (mine.resumeToken) from = { startAfter: mine.resumeToken }
      throw reason
    } finally {
      await mine.close()
    }
  }
  const started = begin()
  const run = async (): Promise<void> => {
    await started
    while (!over) {
      try {
        await begin()
        if (over) return
        if (isAnew) for (const listener of listeners) listener.anew()
        isAnew = false
        await read()
      } catch (reason) {
        if (over) return
        if (isGone(mongo, reason)) {
          from = undefined
          isAnew = true
          await pause.next()
        } else await mongo.again(pause, mongo.errorOf(reason), name)
      }
    }
  }
  void run().catch(() => undefined)
  return {
    started,
    async end() {
      over = true
      pause.end()
      await stream?.close()
    },
  }
}

/** CappedPositionLost, InvalidResumeToken, ChangeStreamFatalError and ChangeStreamHistoryLost. */
const LOST = new Set([136, 260, 280, 286])
/** A stream that cannot go on where it ended. */
const isGone = (mongo: Mongo, reason: unknown): boolean =>
  reason instanceof mongo.lib.MongoChangeStreamError || LOST.has(codeOf(reason) ?? 0)

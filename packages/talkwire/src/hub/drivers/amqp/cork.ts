/** The library gives each message to the socket by itself, one system call each: here all of a turn leave in one. */
import type { ChannelModel } from 'amqplib'
import type { Writable } from 'node:stream'

export function corkOf(model: ChannelModel): () => void {
  const { stream } = model.connection as unknown as { readonly stream: Writable }
  let corked = false
  const release = (): void => {
    corked = false
    stream.uncork()
  }
  const cork = (): void => {
    if (corked) return
    corked = true
    stream.cork()
    // The library writes in an immediate, which it asks for in the tick after a message was given to it: this is the next one.
    process.nextTick(setImmediate, release)
  }
  // What had no room it writes as soon as there is some, before anything else.
  stream.prependListener('drain', cork)
  return cork
}

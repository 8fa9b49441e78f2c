/** What follows a stream is made again when its server is gone, which has to wait where the cluster elects another. */
import { isAway, pauses } from '../broker.js'

/** Runs it until it is done, or until `over` when JetStream was away. Rejects with what is no absence. */
export async function trying(run: () => Promise<void>, over: () => boolean): Promise<void> {
  const pause = pauses()
  for (;;)
    try {
      return await run()
    } catch (reason) {
      if (!isAway(reason)) throw reason
      await pause.next()
      if (over()) throw reason
    }
}

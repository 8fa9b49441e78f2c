// The child: answers its parent, and calls it back.
import { context, serve } from 'talkwire'

/** Whoever calls: the parent. To be asked for before the first await. */
const caller = () => /** @type {import('talkwire').FunctionsClient<typeof import('./parent.mjs').parent>} */ (context().caller)

export const child = {
  /** @param {string} word */
  async hello(word) {
    return `reply from the child to "${word}" of ${await caller().name()}`
  },
  /** @param {string} word */
  async remember(word) {
    return `the child was told: ${await caller().hello(word)}`
  },
}

await serve('child', child, { listen: 'ipc:' })

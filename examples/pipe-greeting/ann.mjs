// Ann, in JavaScript: is greeted, and greets back over the same two pipes before she answers.
import { context, serve } from 'talkwire'

const ann = {
  /** @param {string} name */
  async greet(name) {
    const caller = /** @type {import('talkwire').FunctionsClient<{ greet(name: string): string }>} */ (context().caller)
    console.log(`Ann hears that ${name} is here, and greets`)
    console.log(`Ann is told: ${await caller.greet('Ann')}`)
    return `Hello ${name}, I am Ann`
  },
}

await serve('ann', ann, { listen: 'stdio:' })

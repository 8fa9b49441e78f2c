// The parent: node parent.mjs. Starts the child, says hello, and is itself asked for its name meanwhile.
import { fileURLToPath } from 'node:url'
import { connect, implement } from 'talkwire'

export const parent = {
  name: () => 'the parent',
  /** @param {string} word */
  hello: (word) => `reply from the parent to "${word}"`,
}

/** @type {import('talkwire').FunctionsClient<typeof import('./child.mjs').child>} */
const child = await connect('fork:./child.mjs', { cwd: fileURLToPath(new URL('.', import.meta.url)), serve: implement(parent) })

console.log(await child.hello('hello'))
console.log(await child.remember('what the parent says'))
await child.close()
console.log('the child has ended')

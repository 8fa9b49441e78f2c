// Every change of shared memory that an algorithm depends on goes through memory/store.ts: only there a test can end the process
// in place of it. Plain payload (a message, a label, the bytes of a value) is copied in directly.
import path from 'node:path'
import { main } from './lib/check.mjs'
import { filesBelow, readText } from './lib/repository.mjs'

const HOME = 'memory/store.ts'
/** Views of shared memory have these names there. */
const VIEWS = 'words?|longs?|float|header|headerWords|seats'
const RULES = [
  { pattern: /\bAtomics\.(?:store|add|sub|and|or|xor|exchange|compareExchange|notify)\b/, what: 'an atomic change' },
  { pattern: new RegExp(`\\b(?:${VIEWS})\\[[^\\]]*\\]!?\\s*(?:[-+*/%&|^]|<<|>>>?)?=[^=]`), what: 'a store' },
  { pattern: new RegExp(`\\b(?:${VIEWS})\\[[^\\]]*\\]!?\\s*(?:\\+\\+|--)`), what: 'a store' },
  { pattern: /\b(?:words?|longs?|float)\.(?:fill|set|copyWithin)\(/, what: 'a store' },
]

/** @param {string} root */
export function check(root) {
  const source = path.join(root, 'packages/talkwire/src')
  const files = filesBelow(source).filter((file) => /^(?:sync|memory)\/.*\.ts$/.test(file) && file !== HOME)
  return files.flatMap((file) =>
    readText(path.join(source, file))
      .split('\n')
      .flatMap((line, index) =>
        RULES.filter(({ pattern }) => pattern.test(line))
          .slice(0, 1)
          .map(({ what }) => `src/${file}:${index + 1} ${what} that no test can stop at. Use a function of ${HOME}`),
      ),
  )
}

await main(import.meta.url, check)

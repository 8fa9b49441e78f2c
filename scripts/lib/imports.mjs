// Which modules a TypeScript file imports. Reads text: enough for code that is written in one style.
import path from 'node:path'

/**
 * `runs`: the import exists at run time; `deferred`: only when it is called for, by import().
 * @typedef {{ specifier: string, line: number, runs: boolean, deferred: boolean }} Import
 */

/** Blanks comments, keeps lines. @param {string} text */
const withoutComments = (text) =>
  text.replace(
    /('(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")|\/\*[\s\S]*?\*\/|\/\/[^\n]*/g,
    (match, quoted) => quoted ?? match.replace(/[^\n]/g, ' '),
  )

const STATEMENT = /^[ \t]*(import|export)\b(\s+type\b(?!\s*(?:,|from)))?(?:[^'"`;()=]*?\bfrom)?\s*['"]([^'"]+)['"]/gm
/** In a type, `import('x').Name` or `typeof import('x')`. */
const CALL = /(\btypeof\s+)?\bimport\(\s*['"]([^'"]+)['"]\s*\)(\.[A-Z])?/g

/** @param {string} text @returns {Import[]} */
export function importsOf(text) {
  const code = withoutComments(text)
  const line = (/** @type {number | undefined} */ index) => code.slice(0, index).split('\n').length
  return [
    ...[...code.matchAll(STATEMENT)].map((match) => ({
      specifier: match[3] ?? '',
      line: line(match.index),
      runs: !match[2],
      deferred: false,
    })),
    ...[...code.matchAll(CALL)].map((match) => ({
      specifier: match[2] ?? '',
      line: line(match.index),
      runs: !match[1] && !match[3],
      deferred: true,
    })),
  ]
}

/** The source file that a relative import names. @param {string} from @param {string} specifier */
export const target = (from, specifier) =>
  path.posix.normalize(path.posix.join(path.posix.dirname(from), specifier)).replace(/\.js$/, '.ts')

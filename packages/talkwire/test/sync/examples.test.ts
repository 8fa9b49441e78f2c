/** The headers for C, and what the pages of locks and values show, as a user would compile and run it. */
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { HAS_CC } from '../helpers/c.js'
import { freshPath } from '../helpers/place.js'
import { python } from '../session/processes.js'

const root = fileURLToPath(new URL('../../../../../', import.meta.url))
const headers = join(root, 'clients/c')
const STRICT = ['-Wall', '-Wextra', '-Wpedantic', '-Wconversion', '-Wshadow', '-Werror', `-I${headers}`]
const HAS_CXX = spawnSync('c++', ['--version']).status === 0
const COMPILERS = [...(HAS_CC ? [['cc', '-std=c11', 'c'] as const] : []), ...(HAS_CXX ? [['c++', '-std=c++17', 'cpp'] as const] : [])]

const textOf = (page: string): string => readFileSync(join(root, page), 'utf8')
const LOCKS = textOf('docs/sync/other-languages.md')
const VALUES = textOf('docs/memory/value.md')
const blocks = (language: string, page = LOCKS): string[] =>
  [...page.matchAll(new RegExp(`\`\`\`${language}\n(.*?)\`\`\``, 'gs'))].map((match) => match[1]!)

function compile([compiler, standard, ending]: (typeof COMPILERS)[number], code: string): string {
  const [file, program] = [freshPath(`.${ending}`), freshPath()]
  writeFileSync(file, code)
  execFileSync(compiler, [standard, ...STRICT, '-o', program, file], { stdio: ['ignore', 'inherit', 'inherit'] })
  return program
}

for (const how of COMPILERS) {
  for (const header of readdirSync(headers))
    test(`${how[0]}: ${header} stands by itself, twice, without a warning`, () => {
      const include = `#include "${header}"\n`
      compile(how, `${include}${include}int main(void) { return 0; }\n`)
    })
  test(`${how[0]}: the page's example compiles and runs`, () => {
    assert.equal(blocks('c').length, 1)
    assert.match(execFileSync(compile(how, blocks('c')[0]!), { encoding: 'utf8' }), /^grant \d{16}\n$/)
  })
  test(`${how[0]}: the example of values compiles and runs`, () => {
    assert.equal(execFileSync(compile(how, blocks('c', VALUES)[0]!), { encoding: 'utf8' }), 'ready 1\nblue\n')
  })
}

test("the page's example in Python runs", () => {
  assert.equal(blocks('python').length, 1)
  assert.equal(execFileSync(python, ['-c', blocks('python')[0]!], { encoding: 'utf8' }), 'True\nthe nightly sum\nFalse\ndone here\nTrue\n')
})

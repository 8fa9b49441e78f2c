/** Foreign partners in C: small programs, compiled for the test that runs them. */
import { execFileSync, spawnSync } from 'node:child_process'
import { basename } from 'node:path'
import { fileURLToPath } from 'node:url'
import { freshPath } from './place.js'

/** Whether this machine has a C compiler. Where it has none, tests with C are not defined. */
export const HAS_CC = spawnSync('cc', ['--version']).status === 0

/** Compiles `fixtures/NAME.c` beside the test (`base`: its import.meta.url). Returns the program's path, in the test's folder. */
export function compileC(base: string, name: string, ...flags: string[]): string {
  const compiled = new URL(`fixtures/${name}.c`, base)
  const file = fileURLToPath(compiled).replace('/dist/test/', '/test/')
  const program = freshPath(`-${basename(name)}`)
  execFileSync('cc', ['-O1', '-Wall', '-Werror', '-o', program, file, '-pthread', ...flags])
  return program
}

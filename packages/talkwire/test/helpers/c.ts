/** Foreign partners in C: small programs, compiled for the test that runs them. */
import { execFileSync, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, renameSync } from 'node:fs'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { freshPath } from './place.js'

/** Whether this machine has a C compiler. Where it has none, tests with C are not defined. */
export const HAS_CC = spawnSync('cc', ['--version']).status === 0

/** Of a run of tests, in which no source changes: what one file has compiled is there for the others. */
const folder = process.env['TALKWIRE_COMPILED']
const programs = new Map<string, string>()

/** Compiles `fixtures/NAME.c` beside the test (`base`: its import.meta.url), once. Returns the program's path. */
export function compileC(base: string, name: string, ...flags: string[]): string {
  const file = fileURLToPath(new URL(`fixtures/${name}.c`, base)).replace('/dist/test/', '/test/')
  const key = createHash('sha256')
    .update([file, ...flags].join())
    .digest('hex')
  const program = programs.get(key) ?? (folder === undefined ? freshPath(`-${basename(name)}`) : join(folder, key))
  programs.set(key, program)
  if (!existsSync(program)) compile(file, program, flags)
  return program
}

/** Others may want the same one meanwhile: what is there is whole. */
function compile(file: string, program: string, flags: readonly string[]): void {
  const half = `${program}.${process.pid}`
  execFileSync('cc', ['-O1', '-Wall', '-Werror', '-o', half, file, '-pthread', ...flags])
  renameSync(half, program)
}

// How a check ends: one line a problem, then one line in all.
import { realpathSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { root } from './repository.mjs'

/**
 * Runs `check` on this repository when the file was started as a program, not when it was imported.
 * @param {string} url the file's `import.meta.url`
 * @param {(root: string) => string[] | Promise<string[]>} check gives one line a problem
 */
export async function main(url, check) {
  const started = process.argv[1]
  if (!started || realpathSync(started) !== fileURLToPath(url)) return
  const name = /([\w-]+)\.mjs$/.exec(url)?.[1] ?? url
  const problems = await check(root)
  for (const problem of problems) console.error(`${name}: ${problem}`)
  console.log(problems.length ? `${name}: ${problems.length} ${problems.length === 1 ? 'problem' : 'problems'}` : `${name}: ok`)
  if (problems.length) process.exitCode = 1
}

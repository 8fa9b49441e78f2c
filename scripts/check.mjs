// npm run check: all checks that need no test run, one line each. A part of a name chooses: npm run check -- docs
import { spawnSync } from 'node:child_process'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const CHECKS = ['layers', 'stores', 'exports', 'adapters', 'scripts', 'words', 'lock', 'browser', 'docs', 'package']
const filters = process.argv.slice(2)
const chosen = CHECKS.filter((name) => filters.length === 0 || filters.some((filter) => name.includes(filter)))
if (chosen.length === 0) {
  console.error(`check: no check has ${filters.join(' or ')} in its name; there are ${CHECKS.join(', ')}`)
  process.exit(1)
}
const failed = chosen.filter((name) => {
  const script = path.join(path.dirname(fileURLToPath(import.meta.url)), `check-${name}.mjs`)
  return spawnSync(process.execPath, [script], { stdio: 'inherit' }).status !== 0
})
if (failed.length) console.error(`check: ${failed.length} of ${chosen.length} failed: ${failed.join(', ')}`)
process.exitCode = failed.length ? 1 : 0

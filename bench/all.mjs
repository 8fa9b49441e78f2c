// npm run bench: calls (run.mjs), then protocols, rings, arrays, locks and the hub. Options are those of run.mjs; with --only, --cases, --json or --help just that.
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const args = process.argv.slice(2)
const smoke = args.filter((arg) => arg === '--smoke')

/** @param {string} program @param {string[]} options */
function run(program, options) {
  const file = fileURLToPath(new URL(`${program}.mjs`, import.meta.url))
  if (spawnSync(process.execPath, [file, ...options], { stdio: 'inherit' }).status !== 0) process.exitCode = 1
}

run('run', args)
if (!args.some((arg) => /^(--only|--cases|--json|--help|-h)/.test(arg)))
  for (const program of ['protocols', 'rings', 'arrays', 'locks', 'hub']) {
    console.log()
    run(program, smoke)
  }

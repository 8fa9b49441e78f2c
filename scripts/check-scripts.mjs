// Installing runs nothing, importing does nothing: no install script, few dependencies, no network, no native code, no side effect that lasts.
import { spawnSync } from 'node:child_process'
import path from 'node:path'
import { pathToFileURL, fileURLToPath } from 'node:url'
import { main } from './lib/check.mjs'
import { filesBelow, readJson } from './lib/repository.mjs'

const MOST_DEPENDENCIES = 5
const INSTALL_SCRIPTS = ['preinstall', 'install', 'postinstall', 'prepare', 'preprepare', 'postprepare']
/** Programs, not modules to import. */
const PROGRAM = /^cli\//
const refuse = pathToFileURL(fileURLToPath(new URL('./lib/refuse.mjs', import.meta.url))).href

/** @param {any} manifest @returns {string[]} */
function checkManifest(manifest) {
  const problems = INSTALL_SCRIPTS.filter((name) => manifest.scripts?.[name]).map(
    (name) => `package.json has the script "${name}", which runs at install. Remove it`,
  )
  const dependencies = Object.keys(manifest.dependencies ?? {})
  if (dependencies.length > MOST_DEPENDENCIES)
    problems.push(`${dependencies.length} dependencies, at most ${MOST_DEPENDENCIES}. Make one an optional peer dependency`)
  if (manifest.gypfile) problems.push('package.json has "gypfile"')
  for (const [name, range] of Object.entries(manifest.peerDependencies ?? {})) {
    if (range !== '*')
      problems.push(`the peer dependency "${name}" has the range "${range}". Write "*", and check the version when it is loaded`)
    if (!manifest.peerDependenciesMeta?.[name]?.optional)
      problems.push(`the peer dependency "${name}" is not optional. Add it to "peerDependenciesMeta"`)
  }
  return problems
}

/** @param {string} root */
export function check(root) {
  const folder = path.join(root, 'packages/talkwire')
  const problems = checkManifest(readJson(path.join(folder, 'package.json')))
  const built = filesBelow(path.join(folder, 'dist/src')).filter((file) => file.endsWith('.js') && !PROGRAM.test(file))
  if (built.length === 0) return [...problems, 'nothing is built. Run: npm run build']
  // All at once first: one process instead of one a file.
  const load = (/** @type {string[]} */ files) => {
    const code = files.map((file) => `await import(${JSON.stringify(pathToFileURL(path.join(folder, 'dist/src', file)).href)})`).join('\n')
    const { status, signal, stderr } = spawnSync(process.execPath, ['--import', refuse, '--input-type=module', '-e', code], {
      encoding: 'utf8',
      timeout: 20_000,
    })
    return status === 0 ? '' : signal ? 'does not let the process end' : stderr.trim()
  }
  if (!load(built)) return problems
  for (const file of built) {
    const reason = load([file])
    if (reason) problems.push(`importing src/${file.replace(/js$/, 'ts')} ${reason}. Do it on first use`)
  }
  return problems
}

await main(import.meta.url, check)

// npm run test:node -- 20.6 22 24 [filter…]: the whole suite on other versions of Node. Each comes from npm, into .nodes/.
import { spawnSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { root } from './lib/repository.mjs'

const VERSION = /^\d+(\.\d+){0,2}$/
const args = process.argv.slice(2)
const versions = args.filter((arg) => VERSION.test(arg))
const rest = args.filter((arg) => !VERSION.test(arg))
/** Has the program in bin/ and no install script. */
const packageName = `node-${process.platform}-${process.arch}`

/** @param {string} version @returns {string | undefined} the folder of the program `node` */
function install(version) {
  const folder = path.join(root, '.nodes', version)
  mkdirSync(folder, { recursive: true })
  // Without one of its own npm would look for the project above.
  writeFileSync(path.join(folder, 'package.json'), '{ "private": true }\n')
  const { status } = spawnSync('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--silent', `${packageName}@${version}`], {
    cwd: folder,
    stdio: 'inherit',
  })
  return status === 0 ? path.join(folder, 'node_modules', packageName, 'bin') : undefined
}

/** @param {string} version */
function passes(version) {
  const bin = install(version)
  if (!bin) {
    console.log(`test-node: ${packageName}@${version} could not be installed; is there such a version?`)
    return false
  }
  const node = path.join(bin, 'node')
  console.log(`== Node ${spawnSync(node, ['--version'], { encoding: 'utf8' }).stdout.trim()}`)
  // Tests that start "node" by name must get this one too.
  const env = { ...process.env, PATH: `${bin}${path.delimiter}${process.env['PATH']}` }
  return spawnSync(node, [path.join(root, 'scripts/test.mjs'), ...rest], { cwd: root, env, stdio: 'inherit' }).status === 0
}

if (versions.length === 0) {
  console.error('test-node: say which versions: npm run test:node -- 22 24')
  process.exit(1)
}
const failed = versions.filter((version) => !passes(version))
console.log(failed.length ? `test-node: failed on ${failed.join(', ')}` : `test-node: ok on ${versions.join(', ')}`)
process.exitCode = failed.length ? 1 : 0

// npm run build: compiles the package, and makes `npx talkwire` run it. Output without a source is removed first, so that no test of a deleted file runs.
import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, rmSync } from 'node:fs'
import path from 'node:path'
import { filesBelow, readJson, root } from './lib/repository.mjs'

const packageFolder = path.join(root, 'packages/talkwire')
const dist = path.join(packageFolder, 'dist')

/** @param {string} file */
const sourceOf = (file) => path.join(packageFolder, file.replace(/(\.d\.ts|\.js)(\.map)?$/, '.ts'))

for (const file of filesBelow(dist)) {
  if (!existsSync(sourceOf(file))) rmSync(path.join(dist, file))
}
const tsc = path.join(root, 'node_modules/typescript/bin/tsc')
if (!existsSync(tsc)) {
  console.error('build: TypeScript is not installed. Run: npm ci')
  process.exit(1)
}
const { status } = spawnSync(process.execPath, [tsc, '-p', packageFolder], { stdio: 'inherit' })
if (status === 0) linkCommand()
process.exitCode ??= status ?? 1

/** npm links a command when it installs, but `npm ci` of a clone came before there was anything to link; and tsc sets no x bit. */
function linkCommand() {
  chmodSync(path.join(packageFolder, readJson(path.join(packageFolder, 'package.json')).bin.talkwire), 0o755)
  if (existsSync(path.join(root, 'node_modules/.bin/talkwire'))) return
  const npm = ['rebuild', 'talkwire', '--ignore-scripts', '--silent']
  const linked = spawnSync('npm', npm, { cwd: root, stdio: ['ignore', 'ignore', 'inherit'], shell: process.platform === 'win32' })
  if (linked.status === 0) return
  console.error(`build: "npx talkwire" will not work here; run: npm ${npm.join(' ')}`)
  process.exitCode = 1
}

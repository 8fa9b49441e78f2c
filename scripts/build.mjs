// npm run build: compiles the package. Output without a source is removed first, so that no test of a deleted file runs.
import { spawnSync } from 'node:child_process'
import { existsSync, rmSync } from 'node:fs'
import path from 'node:path'
import { filesBelow, root } from './lib/repository.mjs'

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
process.exitCode = status ?? 1

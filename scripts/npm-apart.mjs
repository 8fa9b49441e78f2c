// Programs from npm that only tests start, each with a lock file of its own in scripts/NAME: npm ci, without scripts, to .servers/NAME-VERSION.
import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, renameSync, rmSync } from 'node:fs'
import path from 'node:path'
import { root } from './lib/repository.mjs'

/** @typedef {{ name: string, version: string }} Apart */

/** @param {Apart} apart */
export const placeOf = ({ name, version }) => path.join(root, '.servers', `${name}-${version}`)

/** Undefined, or what npm says. @param {Apart} apart @returns {string | undefined} */
export function installApart(apart) {
  const folder = placeOf(apart)
  const part = `${folder}.part`
  rmSync(part, { recursive: true, force: true })
  mkdirSync(part, { recursive: true })
  for (const file of ['package.json', 'package-lock.json']) cpSync(path.join(root, 'scripts', apart.name, file), path.join(part, file))
  cpSync(path.join(root, '.npmrc'), path.join(part, '.npmrc'))
  const { status, stdout, stderr } = spawnSync('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--prefer-offline'], {
    cwd: part,
    encoding: 'utf8',
  })
  if (status !== 0) return `${stdout}${stderr}`
  rmSync(folder, { recursive: true, force: true })
  renameSync(part, folder)
  return undefined
}

// The lock file serves every platform and names no host. npm drops other platforms' packages when it updates one beside node_modules.
import path from 'node:path'
import { main } from './lib/check.mjs'
import { readJson } from './lib/repository.mjs'

const FIX =
  'Copy package.json, .npmrc and the workspaces\' package.json to an empty folder, run "npm install --package-lock-only" there, and take its package-lock.json'

/** @param {string} root */
export function check(root) {
  /** @type {Record<string, { resolved?: string, version?: string, optionalDependencies?: Record<string, string> }>} */
  const packages = readJson(path.join(root, 'package-lock.json')).packages
  const names = new Set(Object.keys(packages).map((place) => place.slice(place.lastIndexOf('node_modules/') + 'node_modules/'.length)))
  const problems = []
  for (const [place, { resolved, optionalDependencies }] of Object.entries(packages)) {
    if (resolved && /^\w+:\/\//.test(resolved))
      problems.push(`${place} names the host it came from. Keep omit-lockfile-registry-resolved in .npmrc; ${FIX}`)
    const missing = Object.keys(optionalDependencies ?? {}).filter((name) => !names.has(name))
    if (missing.length)
      problems.push(
        `${place || 'the root'} has optional packages that the lock file lacks (${missing.join(', ')}), so npm ci fails. ${FIX}`,
      )
  }
  return problems
}

await main(import.meta.url, check)

// Lock files serve every platform, name no host, and say of every package what it is made of. npm drops other platforms' packages when it updates one beside node_modules.
import path from 'node:path'
import { main } from './lib/check.mjs'
import { readJson, repositoryFiles } from './lib/repository.mjs'

const FIX =
  'Copy package.json, .npmrc and the workspaces\' package.json to an empty folder, run "npm install --package-lock-only" there, and take its package-lock.json'

/** @typedef {{ resolved?: string, version?: string, integrity?: string, link?: boolean, inBundle?: boolean, optionalDependencies?: Record<string, string> }} Locked */

/** @param {string} root */
export function check(root) {
  const files = repositoryFiles(root).filter((file) => path.basename(file) === 'package-lock.json')
  return files.flatMap((file) => problemsOf(readJson(path.join(root, file)).packages).map((problem) => `${file}: ${problem}`))
}

/** @param {Record<string, Locked>} packages */
function problemsOf(packages) {
  const names = new Set(Object.keys(packages).map((place) => place.slice(place.lastIndexOf('node_modules/') + 'node_modules/'.length)))
  const problems = []
  for (const [place, { resolved, integrity, link, inBundle, optionalDependencies }] of Object.entries(packages)) {
    if (resolved && /^\w+:\/\//.test(resolved))
      problems.push(`${place} names the host it came from. Keep omit-lockfile-registry-resolved in .npmrc; ${FIX}`)
    if (place.includes('node_modules/') && !integrity && !link && !inBundle)
      problems.push(`${place} has no integrity: npm ci would take anything of that name. ${FIX}`)
    const missing = Object.keys(optionalDependencies ?? {}).filter((name) => !names.has(name))
    if (missing.length)
      problems.push(
        `${place || 'the root'} has optional packages that the lock file lacks (${missing.join(', ')}), so npm ci fails. ${FIX}`,
      )
  }
  return problems
}

await main(import.meta.url, check)

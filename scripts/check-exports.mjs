// package.json exports and the build agree, both ways: what is exported exists and has types; what is public is exported.
import { existsSync } from 'node:fs'
import path from 'node:path'
import { main } from './lib/check.mjs'
import { filesBelow, readJson } from './lib/repository.mjs'

/** Public by their place: these built files must be reachable through an export. */
const PUBLIC = [
  /^dist\/src\/index\.js$/,
  /^dist\/src\/(?!cli\/)[^/]+\/index\.js$/,
  /^dist\/src\/(transports|protocols)\/[^/]+\.js$/,
  /^dist\/compliance\/index\.js$/,
]

/** @typedef {{ types?: string, default?: string }} Target */

/** Built files that an export names; several with a `*`. @param {string} target @param {readonly string[]} built */
function named(target, built) {
  const [head = '', tail] = target.replace(/^\.\//, '').split('*')
  return tail === undefined ? built.filter((file) => file === head) : built.filter((file) => file.startsWith(head) && file.endsWith(tail))
}

/** @param {string} subpath @param {string | Target} entry @param {readonly string[]} built @returns {string[]} */
function checkEntry(subpath, entry, built) {
  if (typeof entry === 'string')
    return entry.endsWith('.json') ? [] : [`export "${subpath}" has no types. Write { "types": …, "default": … }`]
  const { types, default: file } = entry
  if (!types || !file) return [`export "${subpath}" needs "types" and "default"`]
  if (Object.keys(entry)[0] !== 'types') return [`export "${subpath}": "types" comes first`]
  const files = named(file, built)
  if (files.length === 0) return [`export "${subpath}" names ${file}, which the build does not have. Remove it, or write its source`]
  return files
    .map((each) => each.replace(/\.js$/, '.d.ts'))
    .filter((each) => !named(types, built).includes(each))
    .map((each) => `export "${subpath}": ${each} is missing or is not what "types" names`)
}

/** @param {string} root */
export function check(root) {
  const folder = path.join(root, 'packages/talkwire')
  const manifest = readJson(path.join(folder, 'package.json'))
  /** @type {Record<string, string | Target>} */
  const exported = manifest.exports
  const built = filesBelow(path.join(folder, 'dist')).map((file) => `dist/${file}`)
  if (built.length === 0) return ['nothing is built. Run: npm run build']
  const problems = Object.entries(exported).flatMap(([subpath, entry]) => checkEntry(subpath, entry, built))

  const reachable = new Set(
    Object.values(exported).flatMap((entry) => (typeof entry === 'string' ? [] : named(entry.default ?? '', built))),
  )
  for (const file of built.filter((each) => PUBLIC.some((pattern) => pattern.test(each)))) {
    if (!reachable.has(file))
      problems.push(`${file} is public by its place and not exported. Add it to "exports" in packages/talkwire/package.json`)
  }
  for (const [name, file] of Object.entries(manifest.bin ?? {})) {
    if (!existsSync(path.join(folder, String(file)))) problems.push(`bin "${name}" names ${file}, which the build does not have`)
  }
  const shipped = /** @type {string[]} */ (manifest.files).filter((file) => !file.startsWith('!'))
  for (const file of shipped) {
    if (!existsSync(path.join(folder, file))) problems.push(`"files" names ${file}, which does not exist`)
  }
  for (const file of reachable) {
    if (!shipped.some((prefix) => file.startsWith(`${prefix}/`)))
      problems.push(`${file} is exported and not shipped. Add its folder to "files"`)
  }
  for (const file of built.filter((each) => each.endsWith('.js'))) {
    if (!existsSync(path.join(folder, file.replace(/^dist\//, '').replace(/\.js$/, '.ts'))))
      problems.push(`${file} has no source. Run: npm run build`)
  }
  return problems
}

await main(import.meta.url, check)

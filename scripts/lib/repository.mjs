// Where things are, and which files belong to the repository.
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..')

/** Files that git tracks or would track, with `/`, relative to `folder`. @param {string} folder @returns {string[]} */
export function repositoryFiles(folder) {
  const listed = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
    cwd: folder,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  })
  return [...new Set(listed.split('\0'))].filter((file) => file && existsSync(path.join(folder, file))).sort()
}

/** Files below `folder`, with `/`, relative to it; [] when there is no such folder. @param {string} folder @returns {string[]} */
export function filesBelow(folder) {
  if (!existsSync(folder)) return []
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(folder, path.join(entry.parentPath ?? entry.path, entry.name)).replaceAll(path.sep, '/'))
    .sort()
}

/** @param {string} file */
export const readText = (file) => readFileSync(file, 'utf8')

/** @param {string} file @returns {any} */
export const readJson = (file) => JSON.parse(readText(file))

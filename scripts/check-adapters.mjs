// Every scheme of src/registry.ts has its file, its test and its page; every transport and every dialect is in the registry.
import { existsSync } from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { main } from './lib/check.mjs'
import { filesBelow, readText } from './lib/repository.mjs'

/** One line of the table: `unix: async () => (await import('./transports/unix.js')).unix,` */
const LINE = /^\s*['"]?([a-z][a-z0-9+]*)['"]?\s*:.*import\(\s*['"]\.\/(transports|protocols)\/([\w-]+)\.js['"]\s*\)\)?\.(\w+)/gm

/** @param {string} folder the package @returns {{ scheme: string, place: string, file: string, name: string }[]} */
const registered = (folder) =>
  [...readText(path.join(folder, 'src/registry.ts')).matchAll(LINE)].map(([, scheme = '', place = '', file = '', name = '']) => ({
    scheme,
    place,
    file,
    name,
  }))

/** @param {any} value */
const isTransport = (value) =>
  typeof value === 'object' && value !== null && typeof value.scheme === 'string' && typeof value.traits === 'object'

/** What a built file exports. @param {string} folder @param {string} place @param {string} file @returns {Promise<{ name: string, scheme: string }[]>} */
async function adaptersOf(folder, place, file) {
  const built = path.join(folder, 'dist/src', place, `${file}.js`)
  if (!existsSync(built)) return []
  const exported = await import(pathToFileURL(built).href)
  return Object.entries(exported)
    .filter(([, value]) => isTransport(value))
    .map(([name, value]) => ({ name, scheme: value.scheme }))
}

/** @param {string} folder @param {string} place @returns {[place: string, file: string][]} */
const sourcesOf = (folder, place) =>
  existsSync(path.join(folder, 'src', place))
    ? filesBelow(path.join(folder, 'src', place))
        .filter((file) => file.endsWith('.ts'))
        .map((file) => [place, file.replace(/\.ts$/, '')])
    : []

/** What a stranger asks of a wire; each part of a page begins with its word. */
const PARTS = ['What', 'When', 'Address', 'Limits', 'Cost', 'Other languages']

/** @param {string} root @param {string} page @returns {string[]} */
function checkPage(root, page) {
  const text = readText(path.join(root, page))
  const missing = PARTS.filter((part) => !new RegExp(`^\\*\\*${part}(es)?\\.\\*\\*`, 'm').test(text))
  return missing.length ? [`${page} does not say: ${missing.join(', ')}. Write a paragraph that begins with **${missing[0]}.**`] : []
}

/** @param {string} root */
export async function check(root) {
  const folder = path.join(root, 'packages/talkwire')
  const entries = registered(folder)
  if (entries.length === 0)
    return [
      "no line of src/registry.ts reads as one of its table. One adapter, one line: unix: async () => (await import('./transports/unix.js')).unix,",
    ]
  const problems = []
  for (const { scheme, place, file } of entries) {
    /** The test and the page have the scheme's name, or, for one file with several schemes, the file's. */
    const missing = (/** @type {(name: string) => string} */ where) =>
      ![scheme, file].some((name) => existsSync(path.join(root, where(name))))
    if (!existsSync(path.join(folder, 'src', place, `${file}.ts`)))
      problems.push(`"${scheme}:" is in the registry; packages/talkwire/src/${place}/${file}.ts does not exist`)
    if (missing((name) => `packages/talkwire/test/${place}/${name}.test.ts`))
      problems.push(`"${scheme}:" has no test. Write packages/talkwire/test/${place}/${scheme}.test.ts`)
    const page = [scheme, file].map((name) => `docs/${place}/${name}.md`).find((name) => existsSync(path.join(root, name)))
    problems.push(...(page ? checkPage(root, page) : [`"${scheme}:" has no page. Write docs/${place}/${scheme}.md`]))
  }
  for (const [place, file] of ['transports', 'protocols'].flatMap((each) => sourcesOf(folder, each))) {
    for (const { name, scheme } of await adaptersOf(folder, place, file)) {
      const lines = entries.filter((entry) => entry.place === place && entry.file === file && entry.name === name)
      if (lines.length === 0)
        problems.push(`src/${place}/${file}.ts exports the adapter "${name}", which no line of src/registry.ts loads. Add one`)
      else if (!lines.some((entry) => entry.scheme === scheme))
        problems.push(
          `src/registry.ts loads "${name}" as ${lines.map((entry) => `"${entry.scheme}:"`).join(', ')}; it calls itself "${scheme}:"`,
        )
    }
  }
  return problems
}

await main(import.meta.url, check)

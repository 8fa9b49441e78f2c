// Every scheme of src/registry.ts has its file, its test and its page; every transport and every dialect is in the registry. The same
// of src/hub/registry.ts and the drivers, whose libraries are optional peers of any version.
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

/** One line of the drivers' table: `nats: async () => (await import('./drivers/nats.js')).nats,` */
const DRIVER_LINE = /^\s*['"]?([a-z][a-z0-9+]*)['"]?\s*:.*import\(\s*['"]\.\/drivers\/([\w-]+)\.js['"]\s*\)/gm
const DRIVERS = 'hub/drivers'
/** What is loaded when it is used: `import('amqplib')`, and the types of it. */
const LIBRARY = /import\(\s*['"]((?:@[\w.-]+\/)?[\w.-]+)['"]\s*\)/g
/** The page of the engine that comes with Talkwire is the hub's own. */
const OWN = 'embedded'

/** @param {any} value */
const isDriver = (value) => typeof value === 'object' && value !== null && Array.isArray(value.traits) && typeof value.open === 'function'

/** @param {string} root @returns {Promise<string[]>} */
async function checkDrivers(root) {
  const folder = path.join(root, 'packages/talkwire')
  const registry = path.join(folder, 'src/hub/registry.ts')
  if (!existsSync(registry)) return []
  const files = [...new Set([...readText(registry).matchAll(DRIVER_LINE)].map(([, , file = '']) => file))]
  if (files.length === 0)
    return [
      "no line of src/hub/registry.ts reads as one of its table. One scheme, one line: nats: async () => (await import('./drivers/nats.js')).nats,",
    ]
  const tests = testsBelow(path.join(folder, 'test', DRIVERS))
  const problems = files.flatMap((file) => [
    ...(existsSync(path.join(folder, 'src', DRIVERS, `${file}.ts`))
      ? []
      : [`"${file}" is in the hub's registry; packages/talkwire/src/${DRIVERS}/${file}.ts does not exist`]),
    ...(tests.some((text) => text.includes(`${DRIVERS}/${file}.js'`))
      ? []
      : [`the driver "${file}" has no test. Write packages/talkwire/test/${DRIVERS}/${file}.test.ts`]),
    ...checkDriverPage(root, file),
  ])
  for (const [, file] of sourcesOf(folder, DRIVERS).filter(([, each]) => !each.includes('/') && !files.includes(each)))
    if (await exportsDriver(folder, file))
      problems.push(`src/${DRIVERS}/${file}.ts exports a driver, which no line of src/hub/registry.ts loads`)
  return [...problems, ...checkLibraries(folder)]
}

/** @param {string} folder */
const testsBelow = (folder) =>
  existsSync(folder)
    ? filesBelow(folder)
        .filter((file) => file.endsWith('.test.ts'))
        .map((file) => readText(path.join(folder, file)))
    : []

/** @param {string} root @param {string} file */
function checkDriverPage(root, file) {
  const page = `docs/hub/${file === OWN ? 'hub' : file}.md`
  if (!existsSync(path.join(root, page))) return [`the driver "${file}" has no page. Write ${page}`]
  return file === OWN ? [] : checkPage(root, page)
}

/** @param {string} folder @param {string} file */
async function exportsDriver(folder, file) {
  const built = path.join(folder, 'dist/src', DRIVERS, `${file}.js`)
  return existsSync(built) && Object.values(await import(pathToFileURL(built).href)).some(isDriver)
}

/** @param {string} folder */
function checkLibraries(folder) {
  const { peerDependencies = {}, peerDependenciesMeta = {} } = JSON.parse(readText(path.join(folder, 'package.json')))
  const used = sourcesOf(folder, DRIVERS).flatMap(([, file]) =>
    [...readText(path.join(folder, 'src', DRIVERS, `${file}.ts`)).matchAll(LIBRARY)].map(([, library = '']) => library),
  )
  return [...new Set(used)]
    .sort()
    .filter((library) => peerDependencies[library] !== '*' || peerDependenciesMeta[library]?.optional !== true)
    .map((library) => `src/${DRIVERS} loads "${library}", which is no optional peer of any version: "${library}": "*" in package.json`)
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
  return [...problems, ...(await checkDrivers(root))]
}

await main(import.meta.url, check)

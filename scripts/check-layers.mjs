// The arrows of docs/design.md: a file imports only what its layer allows, and no import runs in a circle.
import path from 'node:path'
import { main } from './lib/check.mjs'
import { importsOf, target } from './lib/imports.mjs'
import { filesBelow, readJson, readText } from './lib/repository.mjs'

/**
 * Names of `uses` are layers or files; `types` may be imported for their types alone. A file belongs to the first layer that
 * matches; every layer may use itself. A pattern that ends in / is a folder; ./ are the files of src itself.
 * @type {{ name: string, files: string[], uses: string[], types?: string[] }[]}
 */
export const LAYERS = [
  { name: 'error', files: ['error.ts'], uses: [] },
  { name: 'timers', files: ['timers.ts'], uses: [] },
  { name: 'address', files: ['address.ts'], uses: ['error'] },
  { name: 'trust', files: ['trust.ts'], uses: ['error'] },
  { name: 'suggest', files: ['suggest.ts'], uses: [] },
  { name: 'dtypes', files: ['dtypes.ts'], uses: [] },
  { name: 'descriptor', files: ['descriptor.ts'], uses: ['error'] },
  { name: 'kernel', files: ['kernel/'], uses: ['error', 'address'] },
  { name: 'names', files: ['discovery/names.ts', 'discovery/identity.ts'], uses: ['error', 'address', 'kernel'] },
  { name: 'memory', files: ['memory/'], uses: ['timers', 'dtypes', 'error', 'address', 'kernel', 'names'] },
  { name: 'sync', files: ['sync/'], uses: ['timers', 'error', 'address', 'kernel', 'names', 'memory'] },
  { name: 'queues', files: ['queues/'], uses: ['timers', 'error', 'address', 'kernel', 'names', 'memory'] },
  { name: 'codecs', files: ['codecs/'], uses: ['dtypes', 'error'] },
  {
    name: 'transports',
    files: ['transports/'],
    uses: [
      'error',
      'trust',
      'address',
      'kernel',
      'memory',
      'sync',
      'queues',
      'names',
      'codecs/writer.ts',
      'codecs/envelope.ts',
      'codecs/chunk.ts',
    ],
  },
  {
    name: 'protocols',
    files: ['protocols/message.ts', 'protocols/jsonrpc.ts', 'protocols/values.ts'],
    uses: ['error', 'codecs'],
    types: ['transports/transport.ts'],
  },
  {
    name: 'contract',
    files: ['contract/'],
    uses: ['error', 'address', 'transports/webrtc-signals.ts'],
    types: ['transports/transport.ts'],
  },
  {
    name: 'session',
    files: ['session/'],
    uses: ['timers', 'error', 'address', 'contract', 'transports/transport.ts', 'protocols/message.ts', 'codecs/codec.ts', 'descriptor'],
  },
  {
    name: 'engines',
    files: [
      'hub/driver.ts',
      'hub/topic-names.ts',
      'hub/once-done.ts',
      'hub/open-driver.ts',
      'hub/underway.ts',
      'hub/drivers/activemq/',
      'hub/drivers/amqp*',
      'hub/drivers/broker*',
      'hub/drivers/gather.ts',
      'hub/drivers/kafka*',
      'hub/drivers/looking.ts',
      'hub/drivers/telling.ts',
      'hub/drivers/waking.ts',
      'hub/drivers/mqtt*',
      'hub/drivers/nats*',
      'hub/drivers/presence.ts',
      'hub/drivers/redis*',
      'hub/drivers/stomp*',
    ],
    uses: ['timers', 'error', 'trust'],
  },
  {
    name: 'dialects',
    files: ['protocols/'],
    uses: [
      'error',
      'address',
      'suggest',
      'dtypes',
      'descriptor',
      'kernel',
      'codecs',
      'transports',
      'protocols',
      'contract',
      'session',
      'engines',
    ],
  },
  {
    name: 'discovery',
    files: ['discovery/'],
    uses: ['error', 'address', 'kernel', 'names', 'contract'],
    types: ['transports/transport.ts'],
  },
  {
    name: 'browser',
    files: ['browser/'],
    uses: [
      'timers',
      'error',
      'codecs/codec.ts',
      'codecs/json-values.ts',
      'contract',
      'session/deadline.ts',
      'session/params.ts',
      'session/stream.ts',
      'session/subscriptions.ts',
      'session/validate.ts',
      'transports/webrtc-end.ts',
      'transports/webrtc-meeting.ts',
      'transports/webrtc-pieces.ts',
      'transports/webrtc-signals.ts',
    ],
    types: ['protocols', 'session'],
  },
  { name: 'signals', files: ['signals/'], uses: ['error', 'address', 'kernel', 'names'] },
  {
    name: 'composition',
    files: ['./'],
    uses: [
      'error',
      'trust',
      'address',
      'suggest',
      'descriptor',
      'kernel',
      'memory',
      'sync',
      'queues',
      'codecs',
      'transports',
      'protocols',
      'dialects',
      'contract',
      'session',
      'names',
      'discovery',
      'signals',
    ],
  },
  {
    name: 'process',
    files: ['process/'],
    uses: ['error', 'address', 'kernel', 'names', 'discovery', 'signals', 'contract', 'session', 'composition'],
  },
  {
    name: 'hub',
    files: ['hub/'],
    uses: [
      'timers',
      'error',
      'trust',
      'engines',
      'address',
      'suggest',
      'kernel',
      'memory',
      'sync',
      'names',
      'codecs',
      'contract',
      'session',
      'discovery',
      'composition',
      'process',
      'descriptor',
    ],
    types: ['transports/transport.ts'],
  },
  { name: 'cli', files: ['cli/'], uses: ['public', 'suggest'] },
]

/** @param {string} pattern @param {string} file */
function matches(pattern, file) {
  if (pattern === './') return !file.includes('/')
  if (pattern.endsWith('/')) return file.startsWith(pattern)
  const [head = '', tail] = pattern.split('*')
  return tail === undefined ? file === pattern : file.startsWith(head) && file.endsWith(tail)
}

/** @param {string} file */
const layerOf = (file) => LAYERS.find(({ files }) => files.some((pattern) => matches(pattern, file)))

/** Source files that package.json exports: the layer `public`. @param {string} folder @returns {string[]} */
function publicFiles(folder) {
  /** @type {Record<string, string | { default?: string }>} */
  const exported = readJson(path.join(folder, 'package.json')).exports ?? {}
  return Object.values(exported)
    .map((entry) => (typeof entry === 'string' ? entry : (entry.default ?? '')))
    .flatMap((file) => /^\.\/dist\/src\/(.*)\.js$/.exec(file)?.[1] ?? [])
    .map((file) => `${file}.ts`)
}

/** @param {string[]} names @param {string} file @param {string[]} exported */
const allowed = (names, file, exported) =>
  names.some((name) =>
    name === 'public' ? exported.some((pattern) => matches(pattern, file)) : name === file || name === layerOf(file)?.name,
  )

/** @param {Map<string, string[]>} graph @returns {string[][]} one way round for each circle found */
function cycles(graph) {
  /** @type {string[][]} */
  const found = []
  const done = new Set()
  const visit = (/** @type {string} */ file, /** @type {string[]} */ trail) => {
    if (trail.includes(file)) return void found.push([...trail.slice(trail.indexOf(file)), file])
    if (done.has(file)) return
    for (const next of graph.get(file) ?? []) visit(next, [...trail, file])
    done.add(file)
  }
  for (const file of graph.keys()) visit(file, [])
  return found
}

/** @param {string} root */
export function check(root) {
  const folder = path.join(root, 'packages/talkwire')
  const exported = publicFiles(folder)
  const problems = []
  /** @type {Map<string, string[]>} */
  const graph = new Map()
  for (const file of filesBelow(path.join(folder, 'src')).filter((name) => name.endsWith('.ts'))) {
    const layer = layerOf(file)
    if (!layer) {
      problems.push(`src/${file} is in no layer. Move it, or add it to LAYERS in scripts/check-layers.mjs`)
      continue
    }
    const imports = importsOf(readText(path.join(folder, 'src', file))).filter(({ specifier }) => specifier.startsWith('.'))
    graph.set(
      file,
      imports.filter(({ runs, deferred }) => runs && !deferred).map(({ specifier }) => target(file, specifier)),
    )
    for (const { specifier, line, runs } of imports) {
      const other = target(file, specifier)
      if (layerOf(other) === layer || allowed(layer.uses, other, exported)) continue
      if (!runs && allowed(layer.types ?? [], other, exported)) continue
      const only = allowed(layer.types ?? [], other, exported)
        ? ' at run time; write "import type"'
        : `. ${layer.name} may use: ${layer.uses.join(', ') || 'nothing'}`
      problems.push(`src/${file}:${line} imports ${other}, which its layer may not${only}`)
    }
  }
  for (const circle of cycles(graph))
    problems.push(`imports run in a circle: ${circle.join(' -> ')}. Move what both need into a third file`)
  return problems
}

await main(import.meta.url, check)

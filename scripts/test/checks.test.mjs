// Each check finds what it is for, in a small repository that is right but for one planted fault.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import test from 'node:test'
import { check as adapters } from '../check-adapters.mjs'
import { check as docs } from '../check-docs.mjs'
import { check as exported } from '../check-exports.mjs'
import { check as layers } from '../check-layers.mjs'
import { check as lock } from '../check-lock.mjs'
import { check as scripts } from '../check-scripts.mjs'
import { check as stores } from '../check-stores.mjs'
import { check as words } from '../check-words.mjs'
import { root } from '../lib/repository.mjs'

/** @typedef {Record<string, string>} Files */

const target = (/** @type {string} */ file) => ({ types: `./dist/${file}.d.ts`, default: `./dist/${file}.js` })
const manifest = {
  name: 'talkwire',
  type: 'module',
  files: ['dist/src'],
  exports: { '.': target('src/index'), './transports/*': target('src/transports/*') },
  peerDependencies: { amaro: '*', amqplib: '*' },
  peerDependenciesMeta: { amaro: { optional: true }, amqplib: { optional: true } },
}
const pkg = 'packages/talkwire'
const src = `${pkg}/src`
const built = `${pkg}/dist/src`
const unix = "export const unix = { scheme: 'unix', traits: {} }\n"
const driver = "export const amqp = { name: 'amqp', traits: [], open() {} }\n"
const page =
  '**What.** See [the start](../../README.md#two-minutes).\n\n**When.** a\n\n**Addresses.** a\n\n**Limits.** a\n\n**Cost.** a\n\n**Other languages.** a\n'

/** @type {Files} */
const right = {
  [`${pkg}/package.json`]: JSON.stringify(manifest),
  [`${pkg}/tsconfig.json`]: '{ "compilerOptions": { "module": "nodenext", "target": "es2022", "strict": true, "types": [] } }',
  [`${src}/index.ts`]: "export { unix } from './transports/unix.js'\nexport { TalkwireError } from './error.js'\n",
  [`${src}/error.ts`]: 'export class TalkwireError extends Error {}\n',
  [`${src}/registry.ts`]: "export const registry = {\n  unix: async () => (await import('./transports/unix.js')).unix,\n}\n",
  [`${src}/session/session.ts`]: "import type { A } from '../error.js'\nexport const session = 1\n",
  [`${src}/transports/unix.ts`]: `import type { TalkwireError } from '../error.js'\n${unix}`,
  [`${built}/index.js`]: "export { unix } from './transports/unix.js'\n",
  [`${built}/index.d.ts`]: 'export declare const unix: { scheme: string }\n',
  [`${built}/transports/unix.js`]: unix,
  [`${built}/transports/unix.d.ts`]: 'export declare const unix: { scheme: string }\n',
  [`${pkg}/test/transports/unix.test.ts`]: '',
  'docs/transports/unix.md': `# Unix\n\n${page}`,
  [`${src}/hub/registry.ts`]: [
    'export const drivers = {',
    "  hub: async () => (await import('./drivers/embedded.js')).embedded,",
    "  amqp: async () => (await import('./drivers/amqp.js')).amqp,",
    "  amqps: async () => (await import('./drivers/amqp.js')).amqp,",
    '}\n',
  ].join('\n'),
  [`${src}/hub/drivers/embedded.ts`]: '',
  [`${src}/hub/drivers/amqp.ts`]: driver,
  [`${src}/hub/drivers/amqp/connection.ts`]: "// import('amqplib') is the client\n",
  [`${built}/hub/drivers/amqp.js`]: driver,
  [`${pkg}/test/hub/drivers/embedded.test.ts`]: "import { embedded } from '../../../src/hub/drivers/embedded.js'\n",
  [`${pkg}/test/hub/drivers/rabbit.test.ts`]: "import { amqp } from '../../../src/hub/drivers/amqp.js'\n",
  'docs/hub/amqp.md': page,
  'docs/hub/hub.md': '# Hub\n',
  'README.md':
    "# Talkwire\n\n## Two minutes\n\n```ts\nimport { unix } from 'talkwire'\nexport const scheme: string = unix.scheme\n```\n\n```js run\nconst { unix } = await import('talkwire')\nif (unix.scheme !== 'unix') process.exit(1)\n```\n",
  'package-lock.json': '{ "packages": { "": {}, "node_modules/a": { "version": "1.0.0", "integrity": "sha512-x" } } }',
  '.gitignore': 'dist/\nnode_modules/\n',
}

/** @param {import('node:test').TestContext} t @param {Files} changes @returns {string} */
function repository(t, changes) {
  const folder = mkdtempSync(path.join(tmpdir(), 'talkwire-checks-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  for (const [file, text] of Object.entries({ ...right, ...changes })) {
    mkdirSync(path.dirname(path.join(folder, file)), { recursive: true })
    writeFileSync(path.join(folder, file), text)
  }
  mkdirSync(path.join(folder, 'node_modules'))
  symlinkSync(path.join(folder, pkg), path.join(folder, 'node_modules/talkwire'))
  symlinkSync(path.join(root, 'node_modules/typescript'), path.join(folder, 'node_modules/typescript'))
  execFileSync('git', ['init', '-q'], { cwd: folder })
  return folder
}

const checks = { adapters, docs, exports: exported, layers, lock, scripts, stores, words }

for (const [name, check] of Object.entries(checks)) {
  test(`${name}: nothing to say about a repository that is right`, async (t) => {
    assert.deepEqual(await check(repository(t, {})), [])
  })
}

const withManifest = (/** @type {object} */ changes) => ({ [`${pkg}/package.json`]: JSON.stringify({ ...manifest, ...changes }) })
const host = ['registry.npm', 'js.org'].join('')

/** @type {[keyof typeof checks, string, Files, RegExp][]} */
const faults = [
  [
    'layers',
    'a session that names a transport',
    { [`${src}/session/session.ts`]: "import { unix } from '../transports/unix.js'\nexport const a = unix\n" },
    /session\.ts:1 imports transports\/unix\.ts/,
  ],
  [
    'layers',
    'the same by import()',
    { [`${src}/session/session.ts`]: "\nexport const a = () => import('../transports/unix.js')\n" },
    /session\.ts:2 imports transports\/unix\.ts/,
  ],
  ['layers', 'the same by export from', { [`${src}/session/session.ts`]: "export * from '../transports/unix.js'\n" }, /session\.ts:1/],
  [
    'layers',
    'the same in a type',
    { [`${src}/session/session.ts`]: "export type A = import('../transports/unix.js').A\n" },
    /session\.ts:1/,
  ],
  [
    'layers',
    'a value where types are allowed',
    {
      [`${src}/protocols/values.ts`]: "import { MAX } from '../transports/transport.js'\n",
      [`${src}/transports/transport.ts`]: 'export const MAX = 1\n',
    },
    /write "import type"/,
  ],
  [
    'layers',
    'a circle',
    { [`${src}/session/a.ts`]: "import './b.js'\n", [`${src}/session/b.ts`]: "import { a } from './a.js'\n" },
    /circle: session\/a\.ts -> session\/b\.ts -> session\/a\.ts/,
  ],
  ['stores', 'an atomic change', { [`${src}/sync/a.ts`]: 'Atomics.add(word, 1, 1)\n' }, /sync\/a\.ts:1 an atomic change/],
  [
    'stores',
    'a plain store',
    { [`${src}/memory/a.ts`]: 'const a = words[1] === 2\nthis.words[at + 1]! |= 2\n' },
    /memory\/a\.ts:2 a store/,
  ],
  ['layers', 'a file in no layer', { [`${src}/misc/a.ts`]: '' }, /misc\/a\.ts is in no layer/],
  [
    'layers',
    'a command line past the public API',
    { [`${src}/cli/main.ts`]: "import { session } from '../session/session.js'\n" },
    /cli\/main\.ts:1 imports session/,
  ],
  [
    'exports',
    'an export without a file',
    withManifest({ exports: { ...manifest.exports, './hub': target('src/hub/index') } }),
    /"\.\/hub" names/,
  ],
  ['exports', 'a file without types', { [`${src}/transports/tcp.ts`]: '', [`${built}/transports/tcp.js`]: '' }, /tcp\.d\.ts is missing/],
  [
    'exports',
    'a public file without an export',
    { [`${src}/hub/index.ts`]: '', [`${built}/hub/index.js`]: '', [`${built}/hub/index.d.ts`]: '' },
    /dist\/src\/hub\/index\.js is public/,
  ],
  ['exports', 'an export that is not shipped', withManifest({ files: ['dist/src/transports'] }), /exported and not shipped/],
  ['exports', 'output without a source', { [`${built}/old.js`]: '' }, /old\.js has no source/],
  ['exports', 'a command that is not built', withManifest({ bin: { talkwire: './dist/src/cli/main.js' } }), /bin "talkwire"/],
  [
    'adapters',
    'no file',
    { [`${src}/registry.ts`]: "const r = {\n  tcp: async () => (await import('./transports/tcp.js')).tcp,\n}\n" },
    /tcp\.ts does not exist/,
  ],
  [
    'adapters',
    'no test',
    {
      [`${src}/registry.ts`]: `${right[`${src}/registry.ts`]}  'a+b': async () => (await import('./transports/ab.js')).ab,\n`,
      [`${src}/transports/ab.ts`]: '',
    },
    /"a\+b:" has no test/,
  ],
  [
    'adapters',
    'no page',
    {
      [`${src}/registry.ts`]: `${right[`${src}/registry.ts`]}  ab: async () => (await import('./transports/ab.js')).ab,\n`,
      [`${src}/transports/ab.ts`]: '',
    },
    /"ab:" has no page/,
  ],
  [
    'adapters',
    'a page that leaves questions',
    { 'docs/transports/unix.md': '**What.** a\n\n**When.** a\n' },
    /does not say: Address, Limits, Cost, Other languages/,
  ],
  [
    'adapters',
    'a transport that is not registered',
    { [`${src}/transports/tcp.ts`]: '', [`${built}/transports/tcp.js`]: "export const tcp = { scheme: 'tcp', traits: {} }\n" },
    /exports the adapter "tcp", which no line/,
  ],
  [
    'adapters',
    'another name than its own',
    { [`${built}/transports/unix.js`]: unix.replace("'unix'", "'socket'") },
    /calls itself "socket:"/,
  ],
  [
    'adapters',
    'a driver without a file, a test and a page',
    { [`${src}/hub/registry.ts`]: `${right[`${src}/hub/registry.ts`]}  nats: async () => (await import('./drivers/nats.js')).nats,\n` },
    /drivers\/nats\.ts does not exist\nthe driver "nats" has no test[^\n]*\nthe driver "nats" has no page\. Write docs\/hub\/nats\.md/,
  ],
  ['adapters', "a driver's page that leaves questions", { 'docs/hub/amqp.md': '**What.** a\n' }, /hub\/amqp\.md does not say: When,/],
  [
    'adapters',
    'a driver that is not registered',
    { [`${src}/hub/drivers/nats.ts`]: driver, [`${built}/hub/drivers/nats.js`]: driver },
    /drivers\/nats\.ts exports a driver, which no line/,
  ],
  [
    'adapters',
    'drivers that cannot be read',
    { [`${src}/hub/registry.ts`]: 'export const drivers = {}\n' },
    /no line of src\/hub\/registry\.ts/,
  ],
  [
    'adapters',
    "a driver's library that is no peer",
    { [`${src}/hub/drivers/amqp/line.ts`]: "const lib = () => import('@other/client')\n" },
    /loads "@other\/client", which is no optional peer/,
  ],
  [
    'adapters',
    "a driver's library that has to be there",
    withManifest({ peerDependenciesMeta: { amaro: { optional: true } } }),
    /loads "amqplib", which is no optional peer/,
  ],
  [
    'adapters',
    "a driver's library of one version",
    withManifest({ peerDependencies: { amaro: '*', amqplib: '^0.10.0' } }),
    /loads "amqplib", which is no optional peer/,
  ],
  ['scripts', 'an install script', withManifest({ scripts: { postinstall: 'node x' } }), /"postinstall"/],
  [
    'scripts',
    'too many dependencies',
    withManifest({ dependencies: { a: '1', b: '1', c: '1', d: '1', e: '1', f: '1' } }),
    /6 dependencies/,
  ],
  ['scripts', 'a narrow peer range', withManifest({ peerDependencies: { amaro: '^1.0.0' } }), /range "\^1\.0\.0"/],
  ['scripts', 'a peer that is not optional', withManifest({ peerDependenciesMeta: {} }), /not optional/],
  [
    'scripts',
    'a connection at import',
    { [`${built}/index.js`]: "import net from 'node:net'\nnet.connect(1).on('error', () => {})\n" },
    /src\/index\.ts opens a connection/,
  ],
  [
    'scripts',
    'native code at import',
    { [`${built}/index.js`]: "try { process.dlopen({ exports: {} }, '/nowhere.node') } catch {}\n" },
    /loads a native module/,
  ],
  [
    'scripts',
    'a process at import',
    { [`${built}/index.js`]: "import { spawnSync } from 'node:child_process'\nspawnSync('true')\n" },
    /starts a process/,
  ],
  ['words', 'a registry', { 'a.md': `from https://${host}/x\n` }, /a\.md:1 names a package registry/],
  ['words', 'a path of this machine', { 'a.md': `see ${['', 'work', 'main'].join('/')}\n` }, /a\.md:1 names a path/],
  ['words', 'unfinished work', { 'a.ts': `// ${['TO', 'DO'].join('')}: later\n` }, /a\.ts:1 notes unfinished/],
  ['words', 'a test left out', { 'a.test.ts': `${['test', 'skip'].join('.')}('x', () => {})\n` }, /a\.test\.ts:1 leaves tests out/],
  [
    'words',
    'a test left out by option',
    { 'a.test.ts': `test('x', { ${['sk', 'ip'].join('')}: true }, () => {})\n` },
    /a\.test\.ts:1 leaves tests out/,
  ],
  ['words', 'a Python test left out', { 'test_a.py': `@pytest.mark.${['sk', 'ipif'].join('')}(True)\n` }, /test_a\.py:1 leaves tests out/],
  [
    'lock',
    'a platform left out',
    { 'package-lock.json': JSON.stringify({ packages: { '': {}, 'node_modules/a': { optionalDependencies: { 'a-darwin': '1' } } } }) },
    /lacks \(a-darwin\)/,
  ],
  [
    'lock',
    'a host',
    { 'package-lock.json': JSON.stringify({ packages: { 'node_modules/a': { resolved: 'https://example.com/a.tgz' } } }) },
    /names the host/,
  ],
  [
    'lock',
    'a package that may be anything, in a lock file of its own',
    { 'scripts/a/package-lock.json': JSON.stringify({ packages: { '': {}, 'node_modules/a': { version: '1.0.0' } } }) },
    /scripts\/a\/package-lock\.json: node_modules\/a has no integrity/,
  ],
  ['docs', 'a link to nothing', { 'docs/a.md': '\n[b](b.md)\n' }, /docs\/a\.md:2 links to b\.md, which does not exist/],
  ['docs', 'an anchor to nothing', { 'docs/a.md': '[b](../README.md#three-minutes)\n' }, /no heading/],
  [
    'docs',
    'code that does not compile',
    { 'docs/a.md': "text\n\n```ts\nimport { unix } from 'talkwire'\nexport const n: number = unix.scheme\n```\n" },
    /docs\/a\.md:5 TS2322/,
  ],
  ['docs', 'a command that fails', { 'docs/a.md': '```sh run\ntrue\nfalse\n```\n' }, /docs\/a\.md:1 exit code 1/],
  [
    'docs',
    'a command that prints something else',
    { 'docs/a.md': '```sh run\nsleep 100 &\necho 1   # → 1\necho "it\'s"   # → its\n```\n' },
    /docs\/a\.md:1 exit code 1\nit printed it's, not its/,
  ],
  ['docs', 'code that does not run', { 'docs/a.md': '```js run\nthrow new Error("no")\n```\n' }, /docs\/a\.md:1 exit code 1/],
  [
    'docs',
    'a name used twice',
    { 'docs/a.md': '```ts bank.ts\nexport {}\n```\n```ts bank.ts\nexport {}\n```\n' },
    /the name bank\.ts is taken/,
  ],
]

for (const [name, what, changes, expected] of faults) {
  test(`${name}: ${what}`, async (t) => {
    const problems = await checks[name](repository(t, changes))
    assert.match(problems.join('\n'), expected)
  })
}

test('layers: what its layer may use is fine', (t) => {
  const files = {
    [`${src}/protocols/a.ts`]: "import type { T } from '../transports/transport.js'\n// import '../session/session.js'\n",
    [`${src}/transports/transport.ts`]: '',
  }
  assert.deepEqual(layers(repository(t, files)), [])
})

test('docs: named blocks of a page import each other; ignored ones are left alone', (t) => {
  const page =
    "```ts bank.ts\nexport const n = 1\n```\n```ts run\nimport { n } from './bank.js'\nif (n !== 1) throw new Error()\n```\n```ts ignore\nnot code\n```\n"
  assert.deepEqual(docs(repository(t, { 'docs/a.md': page })), [])
})

// The package as users get it: packed, read by publint and attw, installed without scripts, with koffi and without, called, imported, started.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { main } from './lib/check.mjs'
import { readJson } from './lib/repository.mjs'

/** @param {string} cwd @param {string} command @param {string[]} args */
function run(cwd, command, args) {
  const { status, stdout, stderr } = spawnSync(command, args, {
    cwd,
    encoding: 'utf8',
    timeout: 120_000,
    shell: process.platform === 'win32',
  })
  return { ok: status === 0, output: `${stdout ?? ''}${stderr ?? ''}`.trim() }
}

/** @param {string} root @param {string} folder */
function pack(root, folder) {
  const packed = run(path.join(root, 'packages/talkwire'), 'npm', ['pack', '--ignore-scripts', '--silent', '--pack-destination', folder])
  const tarball = readdirSync(folder).find((file) => file.endsWith('.tgz'))
  if (!packed.ok || !tarball) throw new Error(`npm pack failed: ${packed.output}`)
  return path.join(folder, tarball)
}

/** @param {string} root @param {string} tarball @returns {string[]} */
function checkTarball(root, tarball) {
  const tool = (/** @type {string} */ name) => path.join(root, 'node_modules/.bin', name)
  const publint = run(root, tool('publint'), [tarball, '--strict'])
  const attw = run(root, tool('attw'), [tarball, '--profile', 'esm-only', '--format', 'ascii', '--no-color', '--no-emoji'])
  return [...(publint.ok ? [] : [`publint:\n${publint.output}`]), ...(attw.ok ? [] : [`attw:\n${attw.output}`])]
}

/** A first call, in a runtime directory of its own. */
const FIRST_CALL = `
process.env.TALKWIRE_RUNTIME_DIR = await (await import('node:fs/promises')).mkdtemp((await import('node:os')).tmpdir() + '/tw-')
const { serve, connect } = await import('talkwire')
const service = await serve('calc', { add: (a, b) => a + b })
const client = await connect('calc')
if ((await client.add(2, 5)) !== 7) throw new Error('2 and 5 is not 7')
await client.close()
await service.close()
await (await import('node:fs/promises')).rm(process.env.TALKWIRE_RUNTIME_DIR, { recursive: true })
`

/** @param {string} parent @param {string} tarball @param {any} manifest @param {boolean} optional with koffi, or without @returns {string[]} */
function checkInstalled(parent, tarball, manifest, optional) {
  const folder = mkdtempSync(path.join(parent, 'installed-'))
  writeFileSync(path.join(folder, 'package.json'), '{ "private": true, "type": "module" }')
  const omit = ['--omit=dev', ...(optional ? [] : ['--omit=optional'])]
  const install = run(folder, 'npm', ['install', '--ignore-scripts', ...omit, '--prefer-offline', '--no-audit', '--no-fund', tarball])
  if (!install.ok) return [`npm install of the packed package failed:\n${install.output}`]
  if (existsSync(path.join(folder, 'node_modules/koffi')) !== optional)
    return [`koffi ${optional ? 'is not installed, and it is in "optionalDependencies"' : 'is installed in spite of --omit=optional'}`]
  const call = run(folder, process.execPath, ['--input-type=module', '-e', FIRST_CALL])
  if (!call.ok) return [`a first call with the installed package${optional ? '' : ', without koffi,'} failed:\n${call.output}`]
  const entries = Object.keys(manifest.exports).filter((subpath) => !subpath.includes('*') && !subpath.endsWith('.json'))
  const imports = entries.map((subpath) =>
    run(folder, process.execPath, ['--input-type=module', '-e', `await import('talkwire${subpath.slice(1)}')`]),
  )
  const problems = imports.flatMap(({ ok, output }, index) =>
    ok ? [] : [`importing "${entries[index]}" of the installed package failed:\n${output}`],
  )
  const help = run(folder, 'npx', ['--no-install', 'talkwire', '--help'])
  if (!help.ok || !help.output.includes('talkwire'))
    problems.push(`"npx talkwire --help" failed in a folder with the installed package:\n${help.output}`)
  return problems
}

/** @param {string} root */
export function check(root) {
  const folder = mkdtempSync(path.join(tmpdir(), 'talkwire-package-'))
  try {
    const tarball = pack(root, folder)
    const manifest = readJson(path.join(root, 'packages/talkwire/package.json'))
    return [...checkTarball(root, tarball), ...[true, false].flatMap((optional) => checkInstalled(folder, tarball, manifest, optional))]
  } catch (error) {
    return [String(error)]
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

await main(import.meta.url, check)

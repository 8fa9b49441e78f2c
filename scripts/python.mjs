// Sets up .venv with what the Python tests need. As a program: npm run python. Imported: `python()` gives the interpreter.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { root } from './lib/repository.mjs'

const venv = path.join(root, '.venv')
const stampFile = path.join(venv, 'talkwire-stamp')
const requirementsFile = path.join(root, 'clients/python/requirements-dev.txt')
const inVenv = path.join(venv, process.platform === 'win32' ? 'Scripts/python.exe' : 'bin/python')
/** Where packages go when the venv has no pip of its own. */
const target = path.join(venv, 'packages')

/** @param {string} text @returns {never} */
function fail(text) {
  console.error(`python: ${text}`)
  process.exit(1)
}

/** @param {string} command @param {string[]} args */
function attempt(command, args) {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' })
  return { ok: status === 0, output: `${stdout ?? ''}${stderr ?? ''}`.trim(), stdout: (stdout ?? '').trim() }
}

/** The first of PYTHON, python3 and python that is 3.9 or later. */
export function findPython() {
  const candidates = process.env['PYTHON'] ? [process.env['PYTHON']] : ['python3', 'python']
  for (const command of candidates) {
    const { ok, stdout } = attempt(command, ['-c', 'import sys; print(sys.executable if sys.version_info >= (3, 9) else "")'])
    if (ok && stdout) return stdout
  }
  return fail(
    `no Python 3.9 or later as ${candidates.join(' or ')}. Install it (Debian: apt install python3 python3-venv), or set PYTHON to its path`,
  )
}

/** @param {string} python */
function stamp(python) {
  const version = attempt(python, ['-c', 'import sys; print(sys.version)']).stdout
  return createHash('sha256').update(version).update(root).update(readRequirements()).digest('hex')
}

const readRequirements = () => (existsSync(requirementsFile) ? readFileSync(requirementsFile, 'utf8') : 'numpy\npytest\npytest-timeout\n')

/** Makes the venv. Without the module ensurepip it has no pip: packages then go to a folder beside it. @param {string} python @returns {[string, string[]]} */
function createVenv(python) {
  rmSync(venv, { recursive: true, force: true })
  const whole = attempt(python, ['-m', 'venv', venv])
  if (whole.ok) return [inVenv, []]
  rmSync(venv, { recursive: true, force: true })
  const bare = attempt(python, ['-m', 'venv', '--without-pip', venv])
  if (!bare.ok)
    return fail(`cannot make a virtual environment; install the venv module (Debian: apt install python3-venv)\n${whole.output}`)
  if (!attempt(python, ['-m', 'pip', '--version']).ok) {
    return fail('there is neither ensurepip nor pip. Install one (Debian: apt install python3-venv)')
  }
  const folder = attempt(inVenv, ['-c', 'import sysconfig; print(sysconfig.get_path("purelib"))']).stdout
  writeFileSync(path.join(folder, 'talkwire-packages.pth'), `${target}\n`)
  return [python, ['--target', target, '--upgrade']]
}

/** Makes `import talkwire` work in the venv, from the source. */
function linkClient() {
  const folder = attempt(inVenv, ['-c', 'import sysconfig; print(sysconfig.get_path("purelib"))']).stdout
  writeFileSync(path.join(folder, 'talkwire-source.pth'), `${path.join(root, 'clients/python')}\n`)
}

/** @param {string} pip the interpreter whose pip is used @param {string[]} where */
function install(pip, where) {
  const command = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--no-input', ...where]
  const pinned = existsSync(requirementsFile) ? attempt(pip, [...command, '-r', requirementsFile]) : { ok: false, output: '' }
  if (pinned.ok) return
  const names = readRequirements()
    .split('\n')
    .map((line) => line.replace(/[#;=<>~!].*/, '').trim())
    .filter(Boolean)
  const any = attempt(pip, [...command, ...names])
  if (!any.ok) fail(`pip could not install ${names.join(', ')}; is the network reachable?\n${pinned.output}\n${any.output}`)
  console.log(`python: the pinned versions do not fit this Python; took the newest that do`)
}

/** Makes sure that .venv is there and up to date. @returns {string} the interpreter in it */
export function python() {
  const current = existsSync(stampFile) && existsSync(inVenv) ? readFileSync(stampFile, 'utf8') : ''
  if (current && current === stamp(inVenv)) return inVenv
  const base = findPython()
  console.log('python: setting up .venv')
  install(...createVenv(base))
  linkClient()
  writeFileSync(stampFile, stamp(inVenv))
  return inVenv
}

if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url))
  console.log(`python: ${path.relative(root, python())}`)

// npm run lint: oxlint with types for TypeScript and JavaScript, the compiler's syntax check and mypy for Python.
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import path from 'node:path'
import { findPython, python as preparePython } from './python.mjs'
import { root } from './lib/repository.mjs'

/** @param {string} command @param {string[]} args */
const run = (command, args, folder = '.') => spawnSync(command, args, { cwd: path.join(root, folder), stdio: 'inherit' }).status === 0

const oxlint = run(path.join(root, 'node_modules/.bin/oxlint'), ['--type-aware', '--deny-warnings', ...process.argv.slice(2)])
const folders = ['clients/python', 'examples', 'packages/talkwire/test/fixtures', 'bench'].filter((folder) =>
  existsSync(path.join(root, folder)),
)
const python = run(findPython(), ['-m', 'compileall', '-q', ...folders])
if (!python) console.error('lint: a Python file does not compile; see above')
const types = run(preparePython(), ['-m', 'mypy'], 'clients/python')
process.exitCode = oxlint && python && types ? 0 : 1

// Every page: links lead somewhere, ```ts blocks compile against the built package, blocks marked `run` run and exit 0.
//   ```ts            a whole module; must compile          ```ts ignore     a fragment, or not meant to compile
//   ```ts bank.ts    the same, and other blocks of the page may import './bank.js'
//   ```ts run        compiles and runs                     ```js run        runs
//   ```sh run        runs in a bash beside the page's files, with `talkwire` in its PATH; `command  # → text` says what it prints
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { main } from './lib/check.mjs'
import { anchorsOf, blocksOf, linksOf } from './lib/markdown.mjs'
import { readText, repositoryFiles } from './lib/repository.mjs'

const RUN_TIMEOUT = 30_000
const TYPESCRIPT = ['ts', 'typescript']
const JAVASCRIPT = ['js', 'mjs', 'javascript']
const SHELL = ['sh', 'bash']

/** @typedef {{ page: string, line: number, run: boolean, file: string, code: string }} Program `file` is relative to the folder of programs */

/** @param {string} root @param {string} page @returns {string[]} */
function checkLinks(root, page) {
  const problems = []
  for (const { target, line } of linksOf(readText(path.join(root, page)))) {
    if (/^[a-z][a-z0-9+.-]*:|^\/\//i.test(target)) continue
    const [file = '', anchor] = decodeURIComponent(target).split('#')
    const full = file === '' ? path.join(root, page) : path.resolve(root, path.dirname(page), file)
    if (file.startsWith('/')) problems.push(`${page}:${line} links to ${target}; make it relative`)
    else if (!existsSync(full)) problems.push(`${page}:${line} links to ${target}, which does not exist`)
    else if (anchor && full.endsWith('.md') && statSync(full).isFile() && !anchorsOf(readText(full)).has(anchor)) {
      problems.push(`${page}:${line} links to ${target}; no heading there has this anchor`)
    }
  }
  return problems
}

/** @param {string} root @param {string} page @returns {Program[]} */
function programsOf(root, page) {
  const folder = page.slice(0, -'.md'.length).replaceAll('/', '-')
  return blocksOf(readText(path.join(root, page))).flatMap(({ language, words, line, code }) => {
    const run = words.includes('run')
    const ending = TYPESCRIPT.includes(language)
      ? 'ts'
      : !run
        ? ''
        : JAVASCRIPT.includes(language)
          ? 'mjs'
          : SHELL.includes(language)
            ? 'sh'
            : ''
    if (words.includes('ignore') || ending === '') return []
    if (ending === 'sh') return [{ page, line, run, file: `${folder}/line-${line}.sh`, code: checkedShell(code) }]
    const name = words.find((word) => /^[\w./-]+\.[mc]?[jt]s$/.test(word)) ?? `line-${line}.${ending}`
    // Blank lines before it, so that the compiler's line numbers are the page's.
    return [{ page, line, run, file: `${folder}/${name}`, code: '\n'.repeat(line) + code }]
  })
}

/** What it starts ends with it; what `# →` announces is compared. @param {string} code */
function checkedShell(code) {
  const lines = code.split('\n').map((line) => {
    const [, command, expected] = /^(.*\S)\s+# → (.*)$/.exec(line) ?? []
    if (command === undefined || expected === undefined) return line
    const text = `'${expected.replaceAll("'", `'\\''`)}'`
    return `printed=$(${command})\n[ "$printed" = ${text} ] || { echo "it printed $printed, not" ${text}; exit 1; }`
  })
  return `set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n${lines.join('\n')}`
}

/** @param {string} root @param {string} folder @param {readonly Program[]} programs @returns {string[]} */
function compile(root, folder, programs) {
  const files = programs.map(({ file }) => file).filter((file) => file.endsWith('.ts'))
  if (files.length === 0) return []
  const base = path.relative(folder, path.join(root, 'packages/talkwire/tsconfig.json')).replaceAll(path.sep, '/')
  const compilerOptions = {
    rootDir: '.',
    outDir: '.',
    moduleDetection: 'force',
    declaration: false,
    sourceMap: false,
    noEmitOnError: false,
  }
  writeFileSync(path.join(folder, 'tsconfig.json'), JSON.stringify({ extends: base, compilerOptions, files, include: [] }))
  const tsc = path.join(root, 'node_modules/typescript/bin/tsc')
  const { status, stdout, stderr } = spawnSync(process.execPath, [tsc, '-p', '.', '--pretty', 'false'], { cwd: folder, encoding: 'utf8' })
  if (status === 0) return []
  const problems = `${stdout}${stderr}`.split('\n').flatMap((line) => {
    const error = /^(\S+\.ts)\((\d+),\d+\): error (.*)$/.exec(line)
    if (!error) return line.startsWith('error ') ? [line] : []
    const page = programs.find(({ file }) => file === error[1])?.page ?? error[1]
    return [`${page}:${error[2]} ${error[3]}`]
  })
  return problems.length ? problems : [`tsc ended with code ${status}: ${stderr}`]
}

/** @param {string} root @param {string} folder @param {Program} program @returns {string[]} */
function run(root, folder, { page, line, file }) {
  const runtime = mkdtempSync(path.join(tmpdir(), 'tw-'))
  const program = file.endsWith('.sh') ? 'bash' : process.execPath
  const { status, signal, stdout, stderr } = spawnSync(program, [path.join(folder, file.replace(/ts$/, 'js'))], {
    cwd: path.dirname(path.join(folder, file)),
    env: {
      ...process.env,
      TALKWIRE_RUNTIME_DIR: runtime,
      PATH: [path.join(root, 'node_modules/.bin'), process.env['PATH']].join(path.delimiter),
    },
    encoding: 'utf8',
    timeout: RUN_TIMEOUT,
    killSignal: 'SIGKILL',
  })
  rmSync(runtime, { recursive: true, force: true })
  if (status === 0) return []
  return [`${page}:${line} ${signal ? `did not end within ${RUN_TIMEOUT / 1000} s` : `exit code ${status}`}\n${stdout}${stderr}`.trimEnd()]
}

/** @param {readonly Program[]} programs @returns {string[]} */
function sameNames(programs) {
  return programs
    .filter(({ file }, index) => programs.findIndex((other) => other.file === file) !== index)
    .map(({ page, line, file }) => `${page}:${line} the name ${path.basename(file)} is taken on this page`)
}

/** @param {string} root */
export function check(root) {
  const pages = repositoryFiles(root).filter((file) => file.endsWith('.md'))
  const problems = pages.flatMap((page) => checkLinks(root, page))
  const programs = pages.flatMap((page) => programsOf(root, page))
  if (programs.length === 0) return problems
  // Inside the repository, so that `talkwire` and the schema libraries are found as a user finds them.
  const folder = path.join(root, 'dist/docs')
  rmSync(folder, { recursive: true, force: true })
  for (const { file, code } of programs) {
    mkdirSync(path.dirname(path.join(folder, file)), { recursive: true })
    writeFileSync(path.join(folder, file), code)
  }
  writeFileSync(path.join(folder, 'package.json'), '{ "type": "module" }')
  problems.push(...sameNames(programs), ...compile(root, folder, programs))
  if (problems.length === 0) problems.push(...programs.filter((program) => program.run).flatMap((program) => run(root, folder, program)))
  rmSync(folder, { recursive: true, force: true })
  return problems
}

await main(import.meta.url, check)

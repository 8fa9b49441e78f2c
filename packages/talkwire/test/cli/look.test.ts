/** `talkwire ls`, `describe`, `watch`, `completion` and the help. */
import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { after, before, test } from 'node:test'
import { parseArgs } from 'node:util'
import { parseWords } from '../../src/address.js'
import { bridge } from '../../src/cli/bridge.js'
import { call } from '../../src/cli/call.js'
import type { Command } from '../../src/cli/command.js'
import { completion } from '../../src/cli/completion.js'
import { describe } from '../../src/cli/describe.js'
import { doctor } from '../../src/cli/doctor.js'
import { importCommand } from '../../src/cli/import.js'
import { locks } from '../../src/cli/locks.js'
import { ls } from '../../src/cli/ls.js'
import { serve as serveCommand } from '../../src/cli/serve.js'
import { watch } from '../../src/cli/watch.js'
import { inPath } from '../helpers/in-path.js'
import { freshPath } from '../helpers/place.js'
import { fixture, lines, program, serving, start, startProgram, talkwire, type Running } from './program.js'

let bank: Running
before(async () => {
  bank = start(['serve', fixture('bank.mjs')])
  await bank.said(' serves ')
})
after(() => bank.stop())

const prints = async (args: readonly string[]): Promise<string> => {
  const { code, stdout, stderr } = await talkwire(args)
  assert.deepEqual([code, stderr], [0, ''], args.join(' '))
  return stdout
}
const fails = async (args: readonly string[], code: number, stderr: RegExp): Promise<void> => {
  const ended = await talkwire(args)
  assert.deepEqual([ended.code, ended.stdout], [code, ''], ended.stderr)
  assert.match(ended.stderr, stderr)
}

test('ls: a table for people, JSON for programs', async () => {
  const [head, row] = lines(await prints(['ls']))
  assert.match(head!, /^NAME +PID +LANGUAGE +SINCE +CONTRACT +ADDRESSES$/)
  assert.match(row!, new RegExp(`^bank +${bank.child.pid} +node +[\\d-]+ [\\d:]+ +bank/1 +unix:bank$`))
  const [entry] = JSON.parse(await prints(['ls', '--json'])) as { name: string; contract: string; hash: string }[]
  assert.deepEqual([entry!.name, entry!.contract], ['bank', 'bank/1'])
  const nothing = await talkwire(['ls'], { env: { TALKWIRE_RUNTIME_DIR: `${process.env['TALKWIRE_RUNTIME_DIR']}-empty` } })
  assert.deepEqual([nothing.code, nothing.stdout], [0, ''])
  assert.match(nothing.stderr, /no service runs/)
})

test('describe: methods, types, errors, events', async () => {
  assert.equal(
    await prints(['describe', 'bank']),
    `bank/1  unix:bank
methods
  deposit({ account: string, amount: number }) → number
      throws AccountClosed { since: string }
  balance({ account: string }) → number  [idempotent]
  numbers(number) → stream of number
  total(stream of number) → number
  shout(stream of string) → stream of string
events
  overdrawn { account: string }
`,
  )
  const document = JSON.parse(await prints(['describe', 'bank', '--json'])) as { openrpc: string; info: unknown }
  assert.deepEqual([document.openrpc, document.info], ['1.3.2', { title: 'bank', version: '1' }])
  await fails(['describe', 'bink'], 3, /did you mean "bank"\?/)
})

test('describe: functions without a contract', async () => {
  await serving([fixture('calc.ts')], async () => {
    assert.match(await prints(['describe', 'calc']), /^calc {2}unix:calc\nmethods\n(.*\n)* {2}add\(a, b\)\n/)
  })
})

/** Overdraws until the watcher has said it: nobody else knows when a subscription has begun. */
async function overdraw(watcher: Running, service: string, account: string): Promise<void> {
  let seen = false
  const said = watcher.said(`{"account":"${account}"}\n`).then(() => (seen = true))
  while (!seen) {
    const { stderr } = await talkwire(['call', service, 'deposit', `account=${account}`, 'amount=-1'])
    assert.equal(stderr, '')
  }
  await said
}

test('watch: events as they come, until Ctrl-C', async () => {
  const watch = start(['watch', 'bank', 'overdrawn'])
  await overdraw(watch, 'bank', 'a')
  const { code, stdout, stderr } = await watch.stop('SIGINT')
  assert.deepEqual([code, stderr], [130, ''])
  assert.ok(lines(stdout).every((line) => line === '{"account":"a"}'))
  await fails(['watch', 'bank', 'overdrown'], 1, /has no event "overdrown"; did you mean "overdrawn"\?/)
  await fails(['watch', 'bank'], 2, /usage: talkwire watch/)
})

test('watch: a reader that goes ends it', async () => {
  const piped = startProgram('/bin/sh', ['-c', '"$0" "$1" watch bank overdrawn | head -1', process.execPath, program])
  await overdraw(piped, 'bank', 'b')
  // It finds out with the next event.
  let over = false
  const ended = piped.ended.then((end) => ((over = true), end))
  while (!over) await talkwire(['call', 'bank', 'deposit', 'account=b', 'amount=-1'])
  assert.deepEqual(await ended, { code: 0, stdout: '{"account":"b"}\n', stderr: '' })
})

test('watch: a service that restarts is found again, one that stays away is told', async () => {
  const serve = async (): Promise<Running> => {
    const service = start(['serve', fixture('bank.mjs'), '--listen', 'unix:restless'])
    await service.said(' serves ')
    return service
  }
  const first = await serve()
  const watch = start(['watch', 'restless', 'overdrawn', '--json'])
  await overdraw(watch, 'restless', 'before')
  await first.stop('SIGKILL')
  const second = await serve()
  await overdraw(watch, 'restless', 'after')
  await second.stop('SIGTERM')
  const { code, stderr } = await watch.ended
  assert.equal(code, 3)
  assert.equal((JSON.parse(stderr) as { error: { code: string } }).error.code, 'PEER_NOT_FOUND')
})

test('completion: commands, options, services, methods, events', async () => {
  const complete = async (...words: string[]): Promise<string[]> => lines(await prints(['complete', '--', ...words]))
  assert.deepEqual(await complete('c'), ['call', 'completion'])
  assert.deepEqual(await complete('call', 'ba'), ['bank'])
  assert.deepEqual(await complete('call', 'bank', ''), ['balance', 'deposit', 'numbers', 'shout', 'total'])
  assert.deepEqual(await complete('call', '--json', 'bank', 'de'), ['deposit'])
  assert.deepEqual(await complete('call', '--timeout', '5', 'bank', 'de'), ['deposit'])
  assert.deepEqual(await complete('watch', 'bank', ''), ['overdrawn'])
  assert.deepEqual(await complete('serve', '--au'), ['--authkey-file'])
  assert.deepEqual(await complete('completion', ''), ['bash', 'fish', 'zsh'])
  assert.deepEqual(await complete('call', 'absent', ''), [])
  assert.deepEqual(await complete('nonsense', ''), [])
})

test('completion: bash asks the command at every word', async () => {
  const script = `set -e
talkwire() { "${process.execPath}" "${program}" "$@"; }
eval "$(talkwire completion bash)"
complete -p talkwire
offer() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _talkwire; echo "\${COMPREPLY[*]}"; }
offer talkwire des
offer talkwire call b
offer talkwire call bank d
offer talkwire call bank --time
offer talkwire call absent d`
  assert.deepEqual(await startProgram('bash', ['--norc', '-c', script]).ended, {
    code: 0,
    stdout: 'complete -o default -F _talkwire talkwire\ndescribe\nbank\ndeposit\n--timeout\n\n',
    stderr: '',
  })
  await fails(['completion', 'tcsh'], 2, /no completion for "tcsh"; there is bash, zsh, fish/)
})

test('completion: the shells that are here can read their scripts', async () => {
  for (const shell of ['bash', 'zsh', 'fish']) {
    const script = await prints(['completion', shell])
    assert.match(script, /talkwire complete -- /)
    const file = freshPath(`.${shell}`)
    writeFileSync(file, script)
    if (inPath(shell)) assert.deepEqual(await startProgram(shell, ['-n', file]).ended, { code: 0, stdout: '', stderr: '' })
  }
})

test('help: every example is a line that the command takes', () => {
  const commands: Record<string, Command> = {
    serve: serveCommand,
    call,
    bridge,
    ls,
    describe,
    import: importCommand,
    watch,
    locks,
    doctor,
    completion,
  }
  for (const [name, { examples, options, words }] of Object.entries(commands)) {
    assert.ok(examples.length > 0)
    for (const [line] of examples) {
      const own = /\btalkwire ([^|>)]*)/.exec(line)?.[1]
      assert.ok(own !== undefined, line)
      const [command, ...args] = parseWords(own.replace(/"$/, ''))
      assert.equal(command, name, line)
      const { positionals } = parseArgs({ args, options, allowPositionals: true })
      assert.ok(positionals.length >= words.least && positionals.length <= words.most, line)
    }
  }
})

test('help and version', async () => {
  const overview = await prints(['--help'])
  for (const command of ['serve', 'call', 'bridge', 'ls', 'describe', 'watch', 'locks', 'doctor', 'completion']) {
    assert.match(overview, new RegExp(`^ {2}talkwire ${command} `, 'm'))
    const help = await prints([command, '--help'])
    assert.match(help, new RegExp(`^talkwire ${command}.*\\n\\n[A-Z].*Examples\\n {2}\\S.*\\n\\nExit codes: 0 ok`, 's'))
    assert.equal(await prints(['help', command]), help)
  }
  const manifest = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')) as { version: string }
  assert.equal(await prints(['--version']), `${manifest.version}\n`)
})

/** `talkwire call` as somebody at a prompt meets it. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { chmodSync, writeFileSync } from 'node:fs'
import { createServer, type AddressInfo, type Socket } from 'node:net'
import { after, before, test } from 'node:test'
import { freshPath } from '../helpers/place.js'
import { fixture, program, serving, start, startProgram, talkwire, type Running } from './program.js'

let services: Running[]
before(async () => {
  services = ['calc.ts', 'work.mjs', 'bank.mjs'].map((name) => start(['serve', fixture(name)]))
  await Promise.all(services.map((service) => service.said(' serves ')))
})
after(() => Promise.all(services.map((service) => service.stop())))
const work = (): Running => services[1]!

const prints = async (args: readonly string[], stdout: string, input?: string): Promise<void> => {
  const ended = await talkwire(['call', ...args], input === undefined ? {} : { input })
  assert.deepEqual(ended, { code: 0, stdout, stderr: '' }, args.join(' '))
}
const fails = async (args: readonly string[], code: number, stderr: RegExp, input?: string): Promise<void> => {
  const ended = await talkwire(args, input === undefined ? {} : { input })
  assert.equal(ended.code, code, ended.stderr)
  assert.match(ended.stderr, stderr)
  assert.equal(ended.stdout, '')
}

test('arguments are JSON or plain words, by position', async () => {
  await prints(['calc', 'add', '2', '5'], '7\n')
  await prints(['calc', 'add', '-2', '-5'], '-7\n')
  await prints(['calc', 'shout', 'hello world'], '"HELLO WORLD!"\n')
  await prints(['calc', 'echo', '{"a":[1,null,true,"x"]}'], '{ "a": [1, null, true, "x"] }\n')
  await prints(['calc', 'echo', '"a=b"'], '"a=b"\n')
  await prints(['calc', 'echo', '--', '--flag'], '"--flag"\n')
  await prints(['calc', 'echo', '007'], '"007"\n')
  await prints(['calc', 'echo', '12345678901234567890'], '12345678901234567890\n')
})

test('arguments by name', async () => {
  await prints(['bank', 'deposit', 'account=savings', 'amount=5'], '5\n')
  await prints(['bank', 'balance', '{"account":"savings"}', '--timeout', '5000'], '5\n')
  await fails(['call', 'bank', 'deposit', 'account=savings', '5'], 2, /by position or as name=value, not both/)
  await fails(['call', 'bank', 'deposit', 'amount=1', 'amount=2'], 2, /amount= is given twice/)
})

test('stdin', async () => {
  await prints(['calc', 'echo', '-'], '{ "from": "stdin" }\n', '{"from":\n"stdin"}')
  await prints(['calc', 'add', '1', '-'], '3\n', '2\n')
  await prints(['bank', 'deposit', 'account=stdin', 'amount=-'], '9\n', '9')
  await fails(['call', 'calc', 'echo', '-'], 2, /stdin is no JSON/, 'not JSON')
  await fails(['call', 'calc', 'add', '-', '-'], 2, /only one argument/, '1')
})

test('streams: one value a line', async () => {
  await prints(['calc', 'count', '3'], '0\n1\n2\n')
  await prints(['bank', 'numbers', '3'], '0\n1\n2\n')
  await prints(['bank', 'total', '1', '2', '3'], '6\n')
  await prints(['bank', 'total', '-'], '15\n', '1\n2\n\n3\n4\n5')
  await prints(['bank', 'shout', 'a', '-'], '"A"\n"B"\n', 'b\n')
})

test('what JSON has no word for is printed as documented', async () => {
  const { stdout, code } = await talkwire(['call', 'work', 'specials', '--json'])
  assert.equal(code, 0)
  assert.equal(
    stdout,
    '{"big":12345678901234567890,"date":"1970-01-01T00:00:00.000Z","map":{"a":1},"pairs":[[1,"a"]],"set":[1,2],"bytes":[1,2],"grid":[[1,2],[3,4]],"nan":"NaN","minus":-0,"callback":"[function]","escape":"\\u009b31m\\u001b[0m"}\n',
  )
  await prints(['work', 'nothing'], 'null\n')
})

test('metadata and progress', async () => {
  const { code, stdout, stderr } = await talkwire([
    'call',
    'work',
    'report',
    '2',
    '--metadata',
    'tenant=a',
    '--metadata',
    'trace=b=c',
    '--progress',
    '--json',
  ])
  assert.deepEqual([code, stdout, stderr], [0, '{"tenant":"a","trace":"b=c"}\n', '{"progress":0.5}\n{"progress":1}\n'])
  await fails(['call', 'work', 'report', '2', '--metadata', 'nonsense'], 2, /key=value/)
})

test('a typo is answered with what was meant', async () => {
  await fails(['call', 'calc', 'ad', '2', '5'], 1, /^\[METHOD_NOT_FOUND\] .*did you mean "add"\? \(outcome: not-sent\)$/m)
  await fails(['call', 'bank', 'bolance', 'account=a'], 1, /did you mean "balance"\?/)
  await fails(['call', 'bank', 'xyz'], 1, /there is deposit, balance/)
  await fails(['call', 'clac', 'add', '2', '5'], 3, /^\[PEER_NOT_FOUND\] nothing has announced "clac".*did you mean "calc"\?/)
  await fails(['cal', 'calc', 'add'], 2, /did you mean "call"\?/)
  await fails(['call', 'calc', 'add', '--time', '5'], 2, /there is no option --time; did you mean "--timeout"\?/)
  await fails(['call', 'calc', 'add', '-5x', '-x'], 2, /there is no option -x; a word that begins with "-" goes after --/)
  await fails(['call', 'unx:calc', 'add', '2', '5'], 2, /^\[INVALID_ADDRESS\] "unx:" is no known address; did you mean "unix:"\?/)
  await fails(
    ['call', 'unix:clac', 'add', '2', '5'],
    3,
    /^\[PEER_NOT_FOUND\] cannot connect .*or pass --wait ms; did you mean "unix:calc"\?/,
  )
})

test('wrong usage is told before anything is called', async () => {
  await fails(['call', 'calc'], 2, /usage: talkwire call <name or address> <method>/)
  await fails(['call', 'calc', 'echo', '{"a":'], 2, /\{"a": is no JSON/)
  await fails(['call', 'calc', 'echo', 'a=[1'], 2, /\[1 is no JSON/)
  await fails(['call', 'calc', 'add', '--timeout', 'soon'], 2, /--timeout takes a positive number/)
  await fails(['call', '../etc', 'add'], 2, /^\[INVALID_ADDRESS\] "\.\.\/etc" is no name; .*; a socket's path is written unix:\/path/)
  await fails(['call', 'localhost:7000', 'add'], 2, /^\[INVALID_ADDRESS\] .*write tcp:\/\/host:port/)
  await fails(['call', 'nosuch:thing', 'add'], 2, /^\[INVALID_ADDRESS\].*no known address; there is memory:, unix:, .*spawn\+stdio:/)
  await fails([], 2, /talkwire call/)
})

test('errors: code first, outcome, details; with --json one line of JSON on stderr', async () => {
  await fails(
    ['call', 'bank', 'deposit', 'account=closed', 'amount=1'],
    1,
    /^\[AccountClosed\] .*\(outcome: ran\)\ndetails: \{ "since": "2020" \}\n$/,
  )
  const { code, stdout, stderr } = await talkwire(['call', 'bank', 'deposit', 'account=closed', 'amount=1', '--json'])
  assert.deepEqual([code, stdout], [1, ''])
  assert.deepEqual(JSON.parse(stderr), {
    error: { code: 'AccountClosed', message: 'AccountClosed', outcome: 'ran', declared: true, details: { since: '2020' } },
  })
  await fails(['call', 'bank', 'deposit', 'account=a', 'amount=many'], 1, /^\[INVALID_INPUT\]/)
  await fails(['call', 'work', 'fail'], 1, /^\[INTERNAL\] internal error \(outcome: ran\)\n$/)
  await fails(['call', 'work', '_private'], 1, /^\[METHOD_NOT_FOUND\]/)
})

test('a deadline', async () => {
  await fails(['call', 'work', 'wait', 'deadline', '--timeout', '300'], 1, /^\[DEADLINE_EXCEEDED\].*\(outcome: maybe-ran\)/)
  await work().said('stopped deadline')
})

test('nobody there: exit code 3 and the reason in one line', async () => {
  await fails(['call', 'absent', 'add'], 3, /^\[PEER_NOT_FOUND\] nothing has announced "absent" in .*\n$/)
  const path = freshPath('.sock')
  await fails(['call', `unix:${path}`, 'add'], 3, /^\[PEER_NOT_FOUND\]/)
  const dying = start(['serve', fixture('calc.ts'), '--name', 'dying'])
  await dying.said(' serves ')
  await dying.stop('SIGKILL')
  await fails(['call', 'dying', 'add'], 3, /^\[PEER_NOT_FOUND\] "dying" was announced by process \d+, which is dead/)
})

test('a service that comes later is waited for, and one that does not come is missing', async () => {
  const waiting = start(['call', 'late', 'add', '2', '5', '--wait', '3600000'])
  const described = start(['describe', 'late', '--wait', '3600000'])
  await serving([fixture('calc.ts'), '--name', 'late'], async () => {
    assert.deepEqual(await waiting.ended, { code: 0, stdout: '7\n', stderr: '' })
    assert.equal((await described.ended).code, 0)
  })
  await fails(
    ['call', 'absent', 'add', '--wait', '1'],
    3,
    /^\[PEER_NOT_FOUND\] nothing has announced "absent" in .*; there is bank, calc, work/,
  )
  await fails(['call', 'absent', 'add', '--wait', 'long'], 2, /--wait takes a positive number of milliseconds, not "long"/)
  const stopped = start(['call', 'absent', 'add', '--wait', '3600000'])
  assert.equal((await stopped.stop('SIGTERM')).stdout, '')
})

test('Ctrl-C cancels the call, here and there', async () => {
  const unary = start(['call', 'work', 'wait', 'unary'])
  await work().said('waiting unary')
  assert.deepEqual(await unary.stop('SIGINT'), { code: 130, stdout: '', stderr: '' })
  await work().said('stopped unary')
  const stream = start(['call', 'work', 'endless', 'stream'])
  await stream.said('100\n')
  const { code, stderr } = await stream.stop('SIGINT')
  assert.deepEqual([code, stderr], [130, ''])
  await work().said('ended stream')
})

test('a child that ends: its stderr is shown once', async () => {
  const file = freshPath('.mjs')
  writeFileSync(file, 'process.stderr.write("last words\\n"); process.exitCode = 5')
  const { code, stdout, stderr } = await talkwire(['call', `spawn:'${process.execPath}' '${file}'`, 'add'])
  assert.deepEqual([code, stdout], [3, ''])
  assert.match(stderr, /^last words\n\[PEER_EXITED\] \S+ ended with exit code 5 \(outcome: not-sent\)\n$/)
})

test('somebody who speaks another protocol', async () => {
  const web = createServer((socket) => void socket.end('HTTP/1.1 400 Bad Request\r\n\r\n')).listen(0, '127.0.0.1')
  await once(web, 'listening')
  const address = `tcp://127.0.0.1:${(web.address() as AddressInfo).port}`
  await fails(['call', address, 'add'], 3, /that is the text "HTTP": most likely the other end speaks another protocol/)
  web.close()
})

test('Ctrl-C while nobody answers ends at once', async () => {
  const path = freshPath('.sock')
  const mute = createServer().listen(path)
  const waiting = start(['call', `unix:${path}`, 'add', '1', '2'])
  const [socket] = (await once(mute, 'connection')) as [Socket]
  await once(socket, 'data')
  assert.deepEqual(await waiting.stop('SIGINT'), { code: 130, stdout: '', stderr: '' })
  socket.destroy()
  mute.close()
})

test('a reader that goes ends the stream quietly', async () => {
  const piped = await startProgram('/bin/sh', ['-c', '"$0" "$1" call work endless | head -2; echo done', process.execPath, program]).ended
  assert.deepEqual(piped, { code: 0, stdout: '0\n1\ndone\n', stderr: '' })
})

test('a key from a file that nobody else can read', async () => {
  const [key, other, open] = [freshPath('.key'), freshPath('.key'), freshPath('.key')]
  writeFileSync(key, 'a secret of enough bytes\n', { mode: 0o600 })
  writeFileSync(other, 'another of enough bytes\n', { mode: 0o600 })
  writeFileSync(open, 'a secret of enough bytes\n')
  chmodSync(open, 0o644)
  const service = start([
    'serve',
    fixture('calc.ts'),
    '--name',
    'guarded',
    '--listen',
    'tcp://127.0.0.1:0',
    '--authkey-file',
    key,
    '--json',
  ])
  await service.said('"addresses"')
  await prints(['guarded', 'add', '2', '5', '--authkey-file', key], '7\n')
  await fails(['call', 'guarded', 'add', '2', '5'], 3, /^\[UNAUTHENTICATED\]/)
  await fails(['call', 'guarded', 'add', '2', '5', '--authkey-file', other], 3, /^\[UNAUTHENTICATED\]/)
  await fails(['call', 'guarded', 'add', '2', '5', '--authkey-file', open], 2, /chmod 600/)
  const { code, stdout } = await service.stop()
  const { name, addresses, pid } = JSON.parse(stdout) as { name: string; addresses: string[]; pid: number }
  assert.deepEqual([code, name, pid], [0, 'guarded', service.child.pid])
  assert.match(addresses[0]!, /^tcp:\/\/127\.0\.0\.1:\d+$/)
})

test('a process for one call', async () => {
  const command = `spawn:'${process.execPath}' '${program}' serve '${fixture('calc.ts')}'`
  await prints([command, 'add', '2', '5'], '7\n')
  await prints([command, 'count', '2'], '0\n1\n')
})

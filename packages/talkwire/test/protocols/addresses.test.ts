import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { isName, parseAddress, parseHostPort, validateName } from '../../src/address.js'
import { parseEntry } from '../../src/discovery/names.js'
import { TalkwireError } from '../../src/error.js'
import { fails } from '../helpers/expect.js'

const text = fc.oneof(
  fc.string(),
  fc.string({ unit: 'binary' }),
  fc.string({ unit: fc.constantFrom('a', '.', '/', ':', '-', '\0', '\n', '@', '[', ']', '?', '1', 'ä') }),
  fc.webUrl(),
)

/** The value, or that it was refused as it should be. */
function attempt<T>(action: () => T): T | undefined {
  try {
    return action()
  } catch (reason) {
    assert.ok(reason instanceof TalkwireError && reason.code === 'INVALID_ADDRESS', String(reason))
    return undefined
  }
}

test('addresses: what has a scheme, and what is a name', () => {
  const cases: [string, string, string][] = [
    ['bank', '', 'bank'],
    ['unix:bank', 'unix', 'bank'],
    ['unix:/a/b.sock', 'unix', '/a/b.sock'],
    ['unix:@x', 'unix', '@x'],
    ['unix:', 'unix', ''],
    ['tcp://127.0.0.1:7000', 'tcp', '//127.0.0.1:7000'],
    ['spawn:python3 worker.py --a=b:c', 'spawn', 'python3 worker.py --a=b:c'],
    ['spawn+stdio:x', 'spawn+stdio', 'x'],
    ['worker:./w.js', 'worker', './w.js'],
    ['a.b-c_d', '', 'a.b-c_d'],
  ]
  for (const [address, scheme, rest] of cases) assert.deepEqual(parseAddress(address), { scheme, rest })
  for (const bad of ['', ' ', 'a b', '/x', '../x', 'UNIX:x y', 'a\0', 'unix:a\nb', 'unix:a\0b', '.a', '-a', 'a.sock', 'ä'])
    assert.throws(() => parseAddress(bad), fails('INVALID_ADDRESS'), JSON.stringify(bad))
  for (const bad of [undefined, null, 5, {}]) assert.throws(() => parseAddress(bad as never), TypeError)
})

test('addresses: hosts and ports', () => {
  const cases: [string, string, number][] = [
    ['tcp://127.0.0.1:7000', '127.0.0.1', 7000],
    ['tcp://[::1]:0', '::1', 0],
    ['tls://a.example:65535/', 'a.example', 65_535],
    ['tcp://localhost:1?a=b&c=d', 'localhost', 1],
    ['tcp://[fe80::1%eth0]:5', 'fe80::1%eth0', 5],
  ]
  for (const [address, host, port] of cases) {
    const parsed = parseHostPort(address)
    assert.deepEqual([parsed.host, parsed.port], [host, port])
  }
  assert.equal(parseHostPort('tcp://localhost:1?a=b&c=d').query.get('c'), 'd')
  for (const bad of [
    'tcp://',
    'tcp://a',
    'tcp://a:',
    'tcp://a:65536',
    'tcp://a:99999',
    'tcp://a:-1',
    'tcp://a:1x',
    'tcp://:1',
    'tcp://a b:1',
    'tcp:a:1',
    'tcp://u@a:1',
    'tcp://::1:5',
    'tcp://a:1/path',
    'tcp://a:1\n',
    'tcp://[]:1',
    'tcp://[x y]:1',
  ])
    assert.throws(() => parseHostPort(bad), fails('INVALID_ADDRESS'), bad)
})

test('addresses: any text is an address or INVALID_ADDRESS', () => {
  fc.assert(
    fc.property(text, (address) => {
      const parsed = attempt(() => parseAddress(address))
      if (parsed?.scheme === '') assert.ok(isName(parsed.rest))
      if (parsed) assert.doesNotMatch(parsed.rest, /[\0\r\n]/)
      const place = attempt(() => parseHostPort(address))
      if (place) assert.ok(Number.isInteger(place.port) && place.port >= 0 && place.port <= 65_535 && place.host !== '')
    }),
    { numRuns: 5000 },
  )
})

test('addresses: a name never leaves a folder', () => {
  fc.assert(
    fc.property(text, (name) => {
      if (!attempt(() => validateName(name))) return
      assert.match(name, /^[A-Za-z0-9][A-Za-z0-9._-]*$/)
      assert.ok(name.length <= 64 && !/\.(json|sock|lock)$/.test(name) && name !== '..')
    }),
    { numRuns: 5000 },
  )
})

const entry = {
  talkwire: 1,
  name: 'bank',
  state: 'serving',
  contract: 'bank/1',
  hash: null,
  addresses: ['unix:bank'],
  pid: 1,
  start: '5',
  boot: null,
  pidns: null,
  language: 'node',
  since: 5,
}

test('registry files: a whole entry is read, and one with anything missing or wrong is none', () => {
  assert.deepEqual(parseEntry(JSON.stringify(entry)), entry)
  const whole = JSON.stringify(entry)
  for (let length = 0; length < whole.length; length++) assert.equal(parseEntry(whole.slice(0, length)), undefined)
  for (const key of Object.keys(entry)) {
    for (const wrong of [undefined, {}, true, -1, 1.5, 'x'.repeat(5000), [5], [['a']]]) {
      const changed = JSON.stringify({ ...entry, [key]: wrong })
      const read = parseEntry(changed)
      const mayBe =
        (['contract', 'hash', 'start', 'boot', 'pidns', 'language'].includes(key) && typeof wrong === 'string') ||
        (key === 'since' && typeof wrong === 'number')
      assert.equal(read !== undefined, mayBe, `${key} as ${String(JSON.stringify(wrong)).slice(0, 20)}`)
    }
  }
  for (const name of ['../x', 'a/b', '', '.x', 'a\0', 'x.json']) assert.equal(parseEntry(JSON.stringify({ ...entry, name })), undefined)
  assert.equal(parseEntry(JSON.stringify({ ...entry, addresses: Array.from({ length: 101 }, () => 'a') })), undefined)
})

test('registry files: any text is an entry or none, and pollutes nothing', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        text,
        fc.json(),
        fc
          .record(
            Object.fromEntries(
              Object.keys(entry).map((key) => [key, fc.oneof(fc.constant((entry as Record<string, unknown>)[key]), fc.jsonValue())]),
            ),
          )
          .map((value) => JSON.stringify(value)),
      ),
      (content) => {
        const read = parseEntry(content)
        if (read) assert.ok(isName(read.name) && read.pid > 0 && read.addresses.every((address) => typeof address === 'string'))
      },
    ),
    { numRuns: 3000 },
  )
  parseEntry('{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}}')
  assert.equal(({} as { polluted?: unknown }).polluted, undefined)
})

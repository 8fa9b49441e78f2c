/** `talkwire describe --as`: each description is read by a tool of its own field. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { buildSchema } from 'graphql'
import * as soap from 'soap'
import * as z from 'zod'
import { forms } from '../../src/cli/forms.js'
import { contractIn, importModule } from '../../src/cli/modules.js'
import { contract, event, fromOpenApi, fromOpenRpc, rpc, stream } from '../../src/index.js'
import { python } from '../transports/fixtures/support.js'
import { freshPath } from '../helpers/place.js'
import { fixture, start, talkwire } from './program.js'

const described = async (word: string, as: string): Promise<string> => {
  const { code, stdout, stderr } = await talkwire(['describe', word, '--as', as])
  assert.deepEqual([code, stderr], [0, ''], as)
  return stdout
}
const read = async (script: string, text: string, ending: string): Promise<unknown> => {
  const file = freshPath(ending)
  writeFileSync(file, text)
  const { stdout } = await promisify(execFile)(python, ['-c', script, file])
  return JSON.parse(stdout)
}

const streams = contract('streams/1', {
  deposit: rpc({ input: z.object({ amount: z.number() }), output: z.number() }),
  balance: rpc({ output: z.number(), idempotent: true }),
  numbers: rpc({ output: stream(z.number()) }),
  total: rpc({ input: stream(z.number()), output: z.number() }),
  shout: rpc({ input: stream(z.string()), output: stream(z.string()) }),
  overdrawn: event(z.object({ account: z.string() })),
})
const METHODS = ['balance', 'deposit', 'numbers', 'shout', 'total']

/** A language, and the methods that its own reader finds in a description. Lower case: some languages have a case of their own. */
const readers: Readonly<Record<string, (text: string) => Promise<readonly string[]>>> = {
  openrpc: async (text) => Object.keys((await fromOpenRpc(JSON.parse(text))).members),
  openapi: async (text) => Object.keys((await fromOpenApi(JSON.parse(text))).members),
  proto: async (text) =>
    (await read(
      `import sys, os, json, tempfile
from grpc_tools import protoc
from google.protobuf import descriptor_pb2
folder, name = os.path.split(sys.argv[1])
out = sys.argv[1] + '.bin'
assert protoc.main(['protoc', '-I' + folder, '--include_imports', '--descriptor_set_out=' + out, '-I' + os.path.join(os.path.dirname(protoc.__file__), '_proto'), name]) == 0
files = descriptor_pb2.FileDescriptorSet.FromString(open(out, 'rb').read()).file
os.remove(out)
print(json.dumps([method.name for file in files for service in file.service for method in service.method]))`,
      text,
      '.proto',
    )) as string[],
  graphql: async (text) => {
    const schema = buildSchema(text)
    return [schema.getQueryType(), schema.getMutationType(), schema.getSubscriptionType()].flatMap((type) =>
      type ? Object.keys(type.getFields()) : [],
    )
  },
  wsdl: async (text) => {
    const file = freshPath('.wsdl')
    writeFileSync(file, text)
    const [service] = Object.values((await soap.createClientAsync(file)).describe() as Record<string, Record<string, object>>)
    return Object.keys(Object.values(service!)[0]!)
  },
  thrift: async (text) =>
    (await read(
      'import sys, json, thriftpy2\nmodule = thriftpy2.load(sys.argv[1], module_name="described_thrift")\nprint(json.dumps(list(module.__thrift_meta__["services"][0].thrift_services)))',
      text,
      '.thrift',
    )) as string[],
  varlink: async (text) =>
    (await read(
      'import sys, json, varlink\nprint(json.dumps([name for name, of in varlink.Interface(open(sys.argv[1]).read()).members.items() if type(of).__name__ == "_Method"]))',
      text,
      '.varlink',
    )) as string[],
  dbus: async (text) =>
    (await read(
      'import sys, json\nfrom xml.etree import ElementTree\nprint(json.dumps([each.get("name") for each in ElementTree.parse(sys.argv[1]).iter("method")]))',
      text,
      '.xml',
    )) as string[],
}

/** What each of them can say of the bank. */
const WITHOUT_STREAMS = ['balance', 'deposit']
const expected: Readonly<Record<string, readonly string[]>> = {
  openrpc: [...METHODS, 'overdrawn'],
  openapi: METHODS,
  proto: [...METHODS, 'overdrawn'],
}

test('describe --as: a running service and a module are described alike, and each field reads its own', async () => {
  const file = fixture('plain-bank.mjs')
  const plain = contractIn(await importModule(file), file, undefined)
  const running = start(['serve', file])
  try {
    await running.said(' serves ')
    for (const [as, methods] of Object.entries(readers)) {
      // The command itself for some: each is a process.
      const text = as === 'proto' || as === 'wsdl' ? await described('plain-bank', as) : await forms[as]!(plain)
      assert.deepEqual(
        (await methods(text))
          .map((name) => name.toLowerCase())
          .filter((name) => WITHOUT_STREAMS.includes(name))
          .toSorted(),
        WITHOUT_STREAMS,
        as,
      )
      if (as === 'proto') assert.equal(await described(file, as), text)
    }
  } finally {
    await running.stop()
  }
  for (const [as, members] of Object.entries(expected)) {
    const found = (await readers[as]!(await forms[as]!(streams))).map((name) => name.toLowerCase())
    assert.deepEqual(
      members.filter((name) => !found.includes(name)),
      [],
      as,
    )
  }
})

test('describe: a module without --as; what cannot be said, and what is asked wrongly', async () => {
  const { code, stdout } = await talkwire(['describe', fixture('bank.mjs')])
  assert.equal(code, 0)
  assert.match(stdout, /^bank\/1 {2}.*bank\.mjs\nmethods\n {2}deposit\(\{ account: string, amount: number \}\) → number\n/)
  const fails = async (args: readonly string[], exit: number, text: RegExp): Promise<void> => {
    const ended = await talkwire(['describe', ...args])
    assert.deepEqual([ended.code, ended.stdout], [exit, ''], ended.stderr)
    assert.match(ended.stderr, text)
  }
  await fails([fixture('bank.mjs'), '--as', 'corba'], 2, /there is no --as corba; there is openrpc, openapi, proto/)
  await fails([fixture('bank.mjs'), '--as', 'wsdl'], 1, /UNSUPPORTED/)
  await fails([fixture('bank.mjs'), '--export', 'bunk'], 2, /exports no contract "bunk"; it exports bank/)
  await fails(['nothing-here.mjs'], 2, /there is no file nothing-here\.mjs/)
})

/** Ten lines of another language's standard library, without any of ours. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { serve } from '../../src/index.js'
import { freshAddress, socketPathOf } from '../session/harness.js'
import { python, run } from '../session/processes.js'

const lines = `
import json, socket, sys
peer = socket.socket(socket.AF_UNIX)
peer.connect(sys.argv[1])
stream = peer.makefile("rw", encoding="utf-8", newline="\\n")
def call(id, method, *params):
    stream.write(json.dumps({"jsonrpc": "2.0", "id": id, "method": method, "params": params}) + "\\n")
    stream.flush()
    return json.loads(stream.readline())
print("lines", call(1, "add", 2, 5)["result"], call(2, "nope")["error"]["code"])
`

const prefixed = `
import json, socket, struct, sys
peer = socket.socket(socket.AF_UNIX)
peer.connect(sys.argv[1])
def take(n):
    data = b""
    while len(data) < n: data += peer.recv(n - len(data))
    return data
def call(id, method, **params):
    body = json.dumps({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).encode()
    peer.sendall(struct.pack(">I", len(body)) + body)
    return json.loads(take(struct.unpack(">I", take(4))[0]))
print("prefixed", call("x", "greet", name="Grüße")["result"])
`

for (const [name, script, expected] of [
  ['lines', lines, 'lines 7 -32601'],
  ['prefixed', prefixed, 'prefixed hello Grüße'],
] as const) {
  test(`a plain Python socket, ${name}`, async () => {
    const address = freshAddress('unix')
    const service = await serve(
      'calc',
      { add: (a: number, b: number) => a + b, greet: ({ name: who }: { name: string }) => `hello ${who}` },
      { listen: address },
    )
    const script_ = run(python, ['-c', script, socketPathOf(address)], { env: { PYTHONIOENCODING: 'utf-8' } })
    assert.equal(await script_.line(name), expected)
    await service.close()
  })
}

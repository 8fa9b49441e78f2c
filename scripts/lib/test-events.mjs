// A reporter for node's test runner: one JSON line an event, for scripts/test.mjs.
/** @param {AsyncIterable<{ type: string, data: any }>} source */
export default async function* events(source) {
  for await (const { type, data } of source) {
    if (!/^test:(dequeue|start|complete|pass|fail)$/.test(type)) continue
    const { name, nesting, skip, todo, details } = data
    yield `${JSON.stringify({ type, name, nesting, skip: skip !== undefined, todo: todo !== undefined, suite: details?.type === 'suite', at: Date.now() })}\n`
  }
}

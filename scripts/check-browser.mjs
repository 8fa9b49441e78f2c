// The client for pages, as a bundler makes it: nothing of Node's is in it, and it stays small.
import path from 'node:path'
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'
import { main } from './lib/check.mjs'

/** Bytes, minified and compressed: connecting, calling, streams, callbacks, events, serving. */
const MOST = 12 * 1024
const CLIENT = ['connect', 'implement', 'ref', 'withOptions', 'TalkwireError']

/** @param {string} root */
export async function check(root) {
  const entry = path.join(root, 'packages/talkwire/dist/src/browser/index.js')
  const contents = `export { ${CLIENT.join(', ')} } from ${JSON.stringify(entry)}`
  const { outputFiles, errors } = await build({
    stdin: { contents, resolveDir: root },
    bundle: true,
    minify: true,
    format: 'esm',
    platform: 'browser',
    write: false,
    logLevel: 'silent',
  }).catch((reason) => ({ outputFiles: [], errors: reason.errors ?? [{ text: String(reason) }] }))
  if (errors.length) return errors.map((/** @type {{ text: string }} */ { text }) => `talkwire/browser cannot be bundled: ${text}`)
  const size = gzipSync(outputFiles[0]?.contents ?? '', { level: 9 }).length
  console.log(`check-browser: ${size} bytes, minified and compressed`)
  return size > MOST ? [`talkwire/browser has ${size} bytes, at most ${MOST}; see what it imports`] : []
}

await main(import.meta.url, check)

// A program of the system that is missing leaves out just the tests that need it, and says which.
import assert from 'node:assert/strict'
import path from 'node:path'
import test from 'node:test'
import { advice, isInstalled, missingFor } from '../system.mjs'

/** @param {string} folders @param {() => void} run */
function withPath(folders, run) {
  const before = process.env['PATH']
  process.env['PATH'] = folders
  try {
    run()
  } finally {
    process.env['PATH'] = before
  }
}

test('what is not on the path is missing for the files that need it, and only for them', () =>
  withPath(path.join('nowhere', 'at', 'all'), () => {
    const missing = missingFor(['packages/talkwire/dist/test/protocols/browser.test.js', 'packages/talkwire/dist/test/serve.test.js'])
    assert.deepEqual([...missing], [['chromium', ['packages/talkwire/dist/test/protocols/browser.test.js']]])
    assert.equal(missingFor(['packages/talkwire/dist/test/serve.test.js']).size, 0)
    assert.match(advice('chromium'), /apt-get install chromium/)
  }))

test('what is on the path is not', () =>
  withPath(path.dirname(process.execPath), () => {
    assert.ok(isInstalled(path.basename(process.execPath)))
    assert.ok(!isInstalled('a-program-that-nobody-has'))
  }))

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import path from 'node:path'
import { test } from 'node:test'
import { readJson, root } from '../lib/repository.mjs'

test('after the build `npx talkwire` runs the package of the clone', () => {
  const { stdout, stderr } = spawnSync('npx', ['--no-install', 'talkwire', '--version'], {
    cwd: root,
    encoding: 'utf8',
    shell: process.platform === 'win32',
  })
  assert.equal(stdout.trim(), readJson(path.join(root, 'packages/talkwire/package.json')).version, stderr)
})

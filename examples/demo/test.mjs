import assert from 'node:assert/strict'
import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { programs } from '../harness.mjs'

test('a TypeScript and a Python process call each other, with NumPy', async (t) => {
  const { run } = programs(t, import.meta.url)
  const out = await run('node', '../../scripts/demo.mjs')
  assert.match(out, /^TypeScript {2}NumPy \S+ found the eigenvalues of \[2 1; 1 2\]: 1 and 3$/m)
  assert.match(out, /^demo {8}everything happened as it should, in \d+\.\d s$/m)
})

test('and without', async (t) => {
  const { env, folder, run } = programs(t, import.meta.url)
  mkdirSync(path.join(folder, 'none'))
  writeFileSync(path.join(folder, 'none/numpy.py'), 'raise ImportError("not here")\n')
  env['PYTHONPATH'] = path.join(folder, 'none')
  const out = await run('node', '../../scripts/demo.mjs')
  assert.match(out, /^TypeScript {2}Python has no NumPy here; everything else works without it$/m)
  assert.match(out, /^demo {8}everything happened as it should, in \d+\.\d s$/m)
})

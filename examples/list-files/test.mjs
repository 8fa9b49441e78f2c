import assert from 'node:assert/strict'
import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { programs } from '../harness.mjs'

test('a child lists the files of a folder', async (t) => {
  const { folder, start } = programs(t, import.meta.url)
  const listed = path.join(folder, 'a folder')
  mkdirSync(listed)
  for (const [name, text] of [
    ['one.txt', '1'],
    ['two words.txt', '22'],
    ['drei-ü.txt', '333'],
  ])
    writeFileSync(path.join(listed, name), text)
  const { code, out, err } = await start('node', 'main.mjs', listed).end()
  assert.deepEqual(out.split('\n').sort(), ['       1  one.txt', '       2  two words.txt', '       3  drei-ü.txt'])
  assert.match(err, /lister: process \d+ is ready/, 'what the child prints is not lost, and not in the output')
  assert.equal(code, 0)
})

test('a folder that does not exist is a declared error', async (t) => {
  const { folder, start } = programs(t, import.meta.url)
  const { code, out, err } = await start('node', 'main.mjs', path.join(folder, 'nowhere')).end()
  assert.deepEqual([code, out], [1, ''])
  assert.match(err, /\[CannotList\] ENOENT/)
})

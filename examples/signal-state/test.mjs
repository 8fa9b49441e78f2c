import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { programs } from '../harness.mjs'

test('a printer tells a desk in JavaScript and a lamp in plain Python', async (t) => {
  const { folder, start } = programs(t, import.meta.url)
  const directory = path.join(folder, 'watchers')
  const printer = start('node', 'printer.mjs', directory)
  await printer.line(/^the printer is down/)
  const desk = start('node', 'desk.mjs', directory)
  const lamp = start('python', 'lamp.py', directory)
  await Promise.all([desk.line(/^the desk is open/), lamp.line(/^the lamp is there/)])

  printer.type('')
  await Promise.all([printer.line(/^up: 2 told, 0 gone/), desk.line(/^the desk prints/), lamp.line(/^the lamp is on/)])
  desk.child.kill('SIGKILL')
  await once(desk.child, 'exit')
  printer.type('')
  await Promise.all([printer.line(/^down: 1 told, 1 gone/), lamp.line(/^the lamp is off/)])
  assert.deepEqual(readdirSync(directory), [String(lamp.child.pid)])
})

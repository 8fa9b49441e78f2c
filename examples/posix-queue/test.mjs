import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import path from 'node:path'
import { test } from 'node:test'
import { PosixQueue } from 'talkwire/queues'
import { programs } from '../harness.mjs'

if (spawnSync('cc', ['--version']).status === 0)
  test('a C program and Node on one POSIX queue: the alarm overtakes what was sent before it', async (t) => {
    const { folder, start, run } = programs(t, import.meta.url)
    const program = path.join(folder, 'sensor')
    await run('cc', '-Wall', '-Werror', '-o', program, 'sensor.c')
    const name = `tw-test-oven-${process.pid}`
    const sensor = start(program, name, '120', '180', '300')
    await sensor.line(/^told$/)
    assert.equal(await run('node', 'desk.mjs', name), 'alarm: 300 degrees\n120 degrees\n180 degrees')
    await sensor.line(/^the desk says: switch it off$/)
    assert.equal((await sensor.end()).code, 0)
    for (const each of [name, `${name}-orders`]) assert.throws(() => PosixQueue.open(each), { code: 'NOT_FOUND' })
  })

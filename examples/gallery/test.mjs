import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { programs } from '../harness.mjs'
import { startHub } from '../hub.mjs'

test('an image goes from a gallery to a messenger as an open file; with two of them one is chosen', async (t) => {
  const own = programs(t, import.meta.url)
  await startHub(own)
  const image = path.join(own.folder, 'image.png')
  writeFileSync(image, Buffer.from('89504e470d0a1a0a', 'hex'))
  const nobody = own.start('node', 'gallery.mjs', image)
  assert.match((await nobody.end()).err, /nobody handles share of image\/png/)
  await own.start('node', 'messenger.mjs', 'Chat').line(/is there/)
  assert.equal(await own.run('node', 'gallery.mjs', image), 'Chat shares an image/png that begins with PNG')
  await own.start('node', 'messenger.mjs', 'Mail').line(/is there/)
  own.env.CHOOSE = 'Mail'
  assert.equal(await own.run('node', 'gallery.mjs', image), 'Mail shares an image/png that begins with PNG')
})

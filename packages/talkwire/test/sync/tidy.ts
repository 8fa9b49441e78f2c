/** Locks whose users were killed stay: those of this test file are gone afterwards. Their names have its pid. */
import { readdirSync, rmSync } from 'node:fs'
import { after } from 'node:test'

after(() => {
  for (const name of readdirSync('/dev/shm'))
    if (name.startsWith('talkwire-') && name.includes(`-t${process.pid}-`)) rmSync(`/dev/shm/${name}`, { force: true })
})

import { forked } from '../lib/forked.mjs'
import { noteBytes } from '../lib/service.mjs'

export const { server, client } = forked(noteBytes, { out: (a) => a, in: (a) => a })

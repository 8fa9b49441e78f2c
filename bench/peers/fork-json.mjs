import { fromBase64, toBase64 } from '../lib/base64.mjs'
import { forked } from '../lib/forked.mjs'
import { noteText } from '../lib/service.mjs'

export const { server, client } = forked(noteText, { out: toBase64, in: fromBase64 })

// How every JavaScript client reaches the core: by name, and if it is not there it is started, once.
import { fileURLToPath } from 'node:url'
import { connect } from 'talkwire'
import { tasks } from './contract.mjs'

export const connectCore = () => connect(tasks, { start: [process.execPath, fileURLToPath(new URL('core.mjs', import.meta.url))] })

/** @param {{ id: number, title: string, done: boolean }} task */
export const show = ({ id, title, done }) => `${done ? '[x]' : '[ ]'} ${id} ${title}`

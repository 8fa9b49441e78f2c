// The core: has the tasks and all that is to be known about them, and no face. Whoever needs it first starts it.
import { serve } from 'talkwire'
import { tasks } from './contract.mjs'

/** @type {{ id: number, title: string, done: boolean }[]} */
const all = []

const service = await serve(tasks, {
  add({ title }) {
    const task = { id: all.length + 1, title, done: false }
    all.push(task)
    service.emit('changed', task)
    return task
  },
  finish({ id }, ctx) {
    const task = all[id - 1]
    if (!task) throw ctx.error('NoSuchTask', { id })
    task.done = true
    service.emit('changed', task)
    return task
  },
  list: () => all,
  about: () => ({ pid: process.pid }),
  quit() {
    service.emit('ending', { pid: process.pid })
    void service.close() // after the answer and the event have arrived
  },
})

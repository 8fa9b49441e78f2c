// What the core offers to its clients, whatever they look like and whatever they are written in.
import { contract, event, rpc } from 'talkwire'
import * as z from 'zod'

const Task = z.object({ id: z.number().int(), title: z.string().min(1), done: z.boolean() })

export const tasks = contract('tasks/1', {
  add: rpc({ input: z.object({ title: z.string().min(1) }), output: Task }),
  finish: rpc({ input: z.object({ id: z.number().int() }), output: Task, errors: { NoSuchTask: z.object({ id: z.number() }) } }),
  list: rpc({ output: z.array(Task), idempotent: true }),
  about: rpc({ output: z.object({ pid: z.number() }), idempotent: true }),
  quit: rpc(),
  changed: event(Task),
  ending: event(z.object({ pid: z.number() })),
})

/** A subscriber in a process of its own, which can be stopped. */
import { fixture } from '../session/processes.js'
import type { Heard } from './fixtures/subscriber.js'

let asked = 0
export async function startSubscriber(address: string) {
  const running = fixture(import.meta.url, 'subscriber.js', address)
  await running.line('subscribed')
  return {
    pid: running.pid,
    async sample(): Promise<Heard> {
      const key = `sample ${++asked}`
      running.child.stdin!.write(`${key}\n`)
      return JSON.parse((await running.line(`${key} `)).slice(key.length)) as Heard
    },
    end: () => running.kill(),
  }
}

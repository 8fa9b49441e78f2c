// The path service: node paths.mjs. Dijkstra's algorithm; stops when nobody waits for the answer any more.
import { setTimeout as wait } from 'node:timers/promises'
import { serve } from 'talkwire'
import { city } from './city.mjs'
import { paths } from './contracts.mjs'

const service = await serve(paths, {
  async shortest({ from, to, traffic }, ctx) {
    for (const place of [from, to]) if (!Object.hasOwn(city, place)) throw ctx.error('UnknownPlace', { place })
    const seconds = ctx.deadline === undefined ? 'no deadline' : `${((ctx.deadline - performance.now()) / 1000).toFixed(1)} s left`
    console.log(`paths: ${from} to ${to}, ${seconds}`)

    const best = new Map([[from, { km: 0, way: [from] }]])
    const done = new Set()
    for (;;) {
      const [place, { km, way }] = [...best].filter(([name]) => !done.has(name)).sort((a, b) => a[1].km - b[1].km)[0] ?? [
        '',
        { km: 0, way: [] },
      ]
      if (place === '') throw ctx.error('NoWay', { from, to })
      if (place === to) return { way, km: Math.round(km * 10) / 10 }
      done.add(place)
      if (traffic) await askTraffic(ctx, done.size)
      for (const [next, length] of Object.entries(city[place])) {
        if (km + length < (best.get(next)?.km ?? Infinity)) best.set(next, { km: km + length, way: [...way, next] })
      }
    }
  },
})

/** Takes its time, and ends at once when nobody waits any more. @param {import('talkwire').Context} ctx @param {number} crossings */
async function askTraffic(ctx, crossings) {
  ctx.progress({ crossings })
  try {
    await wait(150, undefined, { signal: ctx.signal })
  } catch {
    console.log(`paths: stopped at crossing ${crossings}`)
    throw ctx.signal.reason
  }
}

console.log('paths: ready')
process.once('SIGTERM', () => void service.close())

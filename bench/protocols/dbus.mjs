// @ts-ignore: installed by this package only
import dbus from 'dbus-next'
import * as service from '../lib/service.mjs'
import { talkwire } from './ours.mjs'

export const ours = talkwire(({ bus }) => `dbus:${bus}#org.example.Calc`)

const NAME = 'org.example.Bare'
const PATH = '/org/example/Bare'

class Calc extends dbus.interface.Interface {
  /** @param {number} a @param {number} b */
  add(a, b) {
    return service.add(a, b)
  }
}
Calc.configureMembers({ methods: { add: { inSignature: 'dd', outSignature: 'd' } } })

/** @type {import('./index.mjs').Side} */
export const bare = {
  async server({ bus }) {
    const connection = dbus.sessionBus({ busAddress: bus })
    await connection.requestName(NAME, 0)
    connection.export(PATH, new Calc(NAME))
    return /** @type {string} */ (bus)
  },
  async client(busAddress) {
    const connection = dbus.sessionBus({ busAddress })
    const calc = (await connection.getProxyObject(NAME, PATH)).getInterface(NAME)
    return { add: (a, b) => calc.add(a, b), close: () => connection.disconnect() }
  },
}

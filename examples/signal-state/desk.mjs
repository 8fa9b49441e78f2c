// Wants to know whether the printer is up.
import { SignalGroup } from 'talkwire/signals'

const printer = new SignalGroup(process.argv[2] ?? 'watchers')
printer.on('up', () => console.log('the desk prints'))
printer.on('down', () => console.log('the desk waits'))
printer.join()
console.log('the desk is open')
setInterval(() => {}, 1 << 30) // being told keeps no process alive

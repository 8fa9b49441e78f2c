// @ts-expect-error It has no types.
import nodeIpc from 'node-ipc'

const ipc = new nodeIpc.IPC()
ipc.config.silent = true
ipc.connectTo('bank', process.env.NODEIPC, () => {
  const { bank } = ipc.of
  bank.on('connect', () => bank.emit('deposit', { account: 'node-ipc', amount: 5 }))
  bank.on('deposit', (/** @type {number} */ balance) => {
    console.log(balance)
    ipc.disconnect('bank')
  })
})

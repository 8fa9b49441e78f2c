import WebSocket from 'ws'

const socket = new WebSocket(`ws://127.0.0.1:${process.env.PORT}/`, ['talkwire.v1', `talkwire.token.${process.env.TOKEN}`])
const params = { account: 'websocket', amount: 5 }
socket.on('open', () => socket.send(JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'deposit', params })))
socket.on('message', (/** @type {Buffer} */ answer) => {
  console.log(JSON.parse(answer.toString()).result)
  socket.close()
})

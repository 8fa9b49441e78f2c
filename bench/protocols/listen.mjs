/** A free port of loopback. @param {import('node:http').Server} server @returns {Promise<string>} its address */
export const listen = (server) =>
  new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => {
      const { port } = /** @type {import('node:net').AddressInfo} */ (server.address())
      resolve(`http://127.0.0.1:${port}`)
    })
  })

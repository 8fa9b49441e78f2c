/** For fixtures that are started as daemons: they outlive whoever starts them, but not the test, however that ended. */
const test = Number(process.env['TALKWIRE_TEST_PID'])
if (test > 0) {
  setInterval(() => {
    try {
      process.kill(test, 0)
    } catch {
      process.exit()
    }
  }, 500).unref()
}

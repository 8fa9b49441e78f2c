/** A bus of one's own for a test: Debian's dbus-daemon, ended by its id. */
import { writeFileSync } from 'node:fs'
import { after } from 'node:test'
import { freshPath } from '../helpers/place.js'
import { run } from '../session/processes.js'

/** As a session bus: whoever is the same user may own and call everything. (Without the limit it is 128.) */
const config = (path: string): string => `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path=${path}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
  <limit name="max_replies_per_connection">50000</limit>
</busconfig>
`

/** Its address, `unix:path=…`. */
export async function startBus(): Promise<string> {
  const file = freshPath('.conf')
  const path = freshPath('.bus')
  writeFileSync(file, config(path))
  const daemon = run('dbus-daemon', [`--config-file=${file}`, '--nofork', '--print-address=1'])
  await daemon.line('unix:')
  after(() => daemon.kill('SIGTERM'))
  return `unix:path=${path}`
}

import { json, texts, type Command, type Values } from './command.js'
import { interruption } from './interruption.js'
import { hubOption, withHub } from './opening.js'
import { exitCode } from './output.js'
import { readJsonStdin, readPairs, readWord, STDIN } from './words.js'

export const pub: Command = {
  usage: 'pub <topic> <data>',
  summary: 'publish a message on a topic of the hub',
  help: 'The data is JSON, or else a word; "-" reads JSON from stdin. Ends when the hub has it, where it says so.',
  options: {
    hub: hubOption,
    retain: { type: 'boolean', help: "keep it as the topic's last value" },
    header: { type: 'string', multiple: true, value: 'name=value', help: 'a header; may be repeated' },
    json,
  },
  examples: [
    ['talkwire pub orders.eu \'{"id": 7}\'', 'an object'],
    ['talkwire pub lamp.kitchen on --retain', 'for those who come later, too'],
    ['date +%s | talkwire pub clock - --hub nats://127.0.0.1:4222', 'on a broker'],
  ],
  words: { least: 2, most: 2 },
  run,
}

async function run([topic, word]: readonly string[], values: Values): Promise<number> {
  const data = word === STDIN ? await readJsonStdin() : readWord(word!)
  const headers = readPairs(texts(values, 'header'))
  return withHub(values, interruption(), async (hub) => {
    await hub.topic(topic!).publish(data, {
      ...(Object.keys(headers).length > 0 && { headers }),
      ...(values['retain'] === true && { retain: true }),
    })
    return exitCode.ok
  })
}

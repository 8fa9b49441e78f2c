/** The locks of spec/sync.md between processes of any two languages, Node or not. */
import { test } from 'node:test'
import { testFairPair, testLockPair } from '../../compliance/lock-pairs.js'
import { hireLockHolder, LANGUAGES, startPartyIn, type Holder, type Language } from './holders.js'
import { calm, inspect, OURS, placeOf, type LockWord } from './locks.js'

const startIn =
  (language: Language, word: LockWord, label: string) =>
  (place: string): Promise<Holder> =>
    language === 'Node' ? hireLockHolder(word, place, label) : startPartyIn(language, word, place, '1', label)

for (const word of OURS)
  for (const holder of LANGUAGES)
    for (const waiter of LANGUAGES) {
      const suite = word.startsWith('fair') ? testFairPair : testLockPair
      const isMutex = word.endsWith('mutex')
      const labels = { holder: `held in ${holder}`, waiter: `wanted in ${waiter}` }
      suite({
        test,
        name: `${word} of ${holder}, wanted by ${waiter}`,
        abandoned: isMutex,
        ...(isMutex && { labels }),
        place: placeOf(word),
        inspect: (place) => inspect(word, place),
        holder: startIn(holder, word, labels.holder),
        waiter: startIn(waiter, word, labels.waiter),
        calm: (place) => calm(word, place),
      })
    }

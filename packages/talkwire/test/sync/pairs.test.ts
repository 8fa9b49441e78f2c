/** The locks of spec/sync.md between processes of any two languages, Node or not. */
import { test } from 'node:test'
import { testFairPair, testLockPair } from '../../compliance/lock-pairs.js'
import { LANGUAGES, startLockHolder, startPartyIn, type Holder, type Language } from './holders.js'
import { calm, inspect, OURS, placeOf, type LockWord } from './locks.js'

const startIn =
  (language: Language, word: LockWord) =>
  (place: string): Promise<Holder> =>
    language === 'Node' ? startLockHolder(word, place) : startPartyIn(language, word, place)

for (const word of OURS)
  for (const holder of LANGUAGES)
    for (const waiter of LANGUAGES) {
      const suite = word.startsWith('fair') ? testFairPair : testLockPair
      suite({
        test,
        name: `${word} of ${holder}, wanted by ${waiter}`,
        abandoned: word.endsWith('mutex'),
        place: placeOf(word),
        inspect: (place) => inspect(word, place),
        holder: startIn(holder, word),
        waiter: startIn(waiter, word),
        calm: (place) => calm(word, place),
      })
    }

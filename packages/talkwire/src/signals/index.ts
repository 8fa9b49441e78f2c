/** `talkwire/signals`: a state that is announced by signals. */
export { SignalGroup, type SignalGroupOptions, type Told } from './group.js'
export type { SignalWord } from './words.js'

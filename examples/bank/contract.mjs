// What the bank offers. Both ends import it.
import { contract, event, rpc } from 'talkwire'
import * as z from 'zod'

const Account = z.object({ account: z.string().min(1) })
const Amount = Account.extend({ amount: z.number().int().positive() })
const Balance = z.object({ account: z.string(), balance: z.number().int() })
const AccountClosed = z.object({ since: z.string() })

export const bank = contract('bank/1', {
  balance: rpc({ input: Account, output: Balance, idempotent: true }),
  deposit: rpc({ input: Amount, output: Balance, errors: { AccountClosed } }),
  withdraw: rpc({ input: Amount, output: Balance, errors: { AccountClosed } }),
  closeAccount: rpc({ input: Account, idempotent: true }),
  /** What no bank should offer: whoever writes a balance forgets what others did since it was read. */
  setBalance: rpc({ input: Balance, errors: { AccountClosed } }),
  /** Answers all at once when `count` tellers have asked. */
  meet: rpc({ input: z.object({ count: z.number().int().positive() }) }),
  overdrawn: event(Balance),
})

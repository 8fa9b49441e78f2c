// What the bank offers, once for all protocols.
import { contract, rpc } from 'talkwire'
import * as z from 'zod'

const Account = z.object({ account: z.string().min(1) })

export const bank = contract('bank/1', {
  deposit: rpc({
    input: Account.extend({ amount: z.number() }),
    output: z.number(),
    errors: { AccountClosed: z.object({ since: z.string() }) },
  }),
  balance: rpc({ input: Account, output: z.number(), idempotent: true }),
})

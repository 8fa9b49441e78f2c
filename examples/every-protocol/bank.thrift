// bank/1, made from its contract.

exception AccountClosed {
  1: required string message
  2: required string since
}

service bank {
  double deposit(1: string account, 2: double amount) throws (1: AccountClosed e1)
  double balance(1: string account)
}

/** Of the brokers that speak TLS. */
import { ownHost } from '../../helpers/loopback.js'
import { issue, type Identity } from '../../transports/fixtures/certificates.js'

export const authority = issue({ name: 'us', authority: true })
const pairOf = ({ key, cert }: Identity): Identity => ({ key, cert })
export const server = pairOf(issue({ name: 'broker', hosts: [ownHost, 'broker.example'], issuer: authority }))
/** For another name than the broker has. */
export const elsewhere = pairOf(issue({ name: 'broker', hosts: ['broker.example'], issuer: authority }))
export const client = pairOf(issue({ name: 'ada', issuer: authority }))

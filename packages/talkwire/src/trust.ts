/** Whom TLS trusts. */
import { plainMessage, TalkwireError } from './error.js'

/** Whether an error of TLS is about who the other side is. */
export const isCertificate = (code: string): boolean =>
  /CERT|SELF_SIGNED|UNABLE_TO|ISSUER|ALERT_UNKNOWN_CA|ALERT_ACCESS_DENIED|HANDSHAKE_FAILURE|CRL/.test(code)

/** What helps where a certificate is not accepted. */
export const CERTIFICATE_ADVICE = 'check tls.ca, tls.cert and the name in the address'

/** Throws a TypeError for settings that would let in anybody. */
export function refuseBlindness(settings: { readonly rejectUnauthorized?: boolean | undefined } | undefined): void {
  if (settings?.rejectUnauthorized === false)
    throw new TypeError(
      'tls.rejectUnauthorized: false would trust anybody; pass the authority as tls.ca, and tls.servername if the certificate has another name',
    )
}

/** An error of ours as UNAUTHENTICATED, if a certificate is why; libraries put their own around it. */
export function aboutTrust(error: unknown): unknown {
  if (!(error instanceof TalkwireError) || !isUntrusted(error.cause)) return error
  return new TalkwireError('UNAUTHENTICATED', `${plainMessage(error)}; ${CERTIFICATE_ADVICE}`, {
    cause: error.cause,
    outcome: 'not-sent',
  })
}

function isUntrusted(reason: unknown): boolean {
  if (!(reason instanceof Error)) return false
  const { code, cause, errors } = reason as NodeJS.ErrnoException & { readonly errors?: unknown }
  return (typeof code === 'string' && isCertificate(code)) || isUntrusted(cause) || (Array.isArray(errors) && errors.some(isUntrusted))
}

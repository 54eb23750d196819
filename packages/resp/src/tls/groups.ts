/** Key exchanges of TLS 1.3 that also hold against a quantum computer: ML-KEM beside a classical curve, so that one of them may
 *  fall. Names of OpenSSL 3.5, the preferred first. */
export const hybridGroups = ['X25519MLKEM768', 'SecP384r1MLKEM1024', 'SecP256r1MLKEM768'] as const

/** All that may be asked for. What is recorded today over a classical group alone can be read once there are such computers. */
export const knownGroups = [...hybridGroups, 'MLKEM768', 'MLKEM1024', 'X25519', 'P-256', 'P-384'] as const
export type TlsGroup = (typeof knownGroups)[number]

/** What both ends hand to Node. */
export function tlsSettings(groups: readonly TlsGroup[]) {
  return { minVersion: 'TLSv1.3', maxVersion: 'TLSv1.3', ecdhCurve: groups.join(':') } as const
}

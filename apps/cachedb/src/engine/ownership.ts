import { OwnerLost, Refused } from '../errors.ts'

/** What one OWNER obtained. */
export interface Claim {
  readonly ownerId: string
  readonly attempt: number
}

const tokenBytesMax = 128
/** Owners remembered as gone. One more takes the place of the oldest, which nobody alive can be by then. */
const supersededMax = 4096

/** Who may use a namespace: the newest owner. A token is `<owner id>` or `<owner id>.<attempt>`. Another owner id takes the
 *  namespace over for good: the old one never gets it back. A higher attempt of the same owner fences off that owner's
 *  own lost connections, whose buffered commands may still be executed; an equal one joins. */
export class Ownership {
  #current: Claim | null = null
  readonly #superseded = new Set<string>()

  /** Whether anybody owns the namespace. */
  get isTaken(): boolean {
    return this.#current !== null
  }

  /** Whether `claim` could take the namespace now. */
  admits(claim: Claim): boolean {
    if (this.#current?.ownerId === claim.ownerId) return claim.attempt >= this.#current.attempt
    return !this.#superseded.has(claim.ownerId)
  }

  /** @throws OwnerLost when a newer owner or attempt has it */
  take(claim: Claim): void {
    if (!this.admits(claim)) throw new OwnerLost()
    if (this.#current && this.#current.ownerId !== claim.ownerId) this.#supersede(this.#current.ownerId)
    this.#current = claim
  }

  isCurrent(claim: Claim): boolean {
    return this.#current?.ownerId === claim.ownerId && this.#current.attempt === claim.attempt
  }

  #supersede(ownerId: string): void {
    this.#superseded.add(ownerId)
    if (this.#superseded.size <= supersededMax) return
    const [oldest] = this.#superseded
    if (oldest !== undefined) this.#superseded.delete(oldest)
  }
}

/** @throws Refused */
export function parseToken(token: Buffer): Claim {
  const match = /^([\x21-\x7e]+?)(?:\.(\d{1,15}))?$/.exec(token.toString('latin1'))
  if (!match || token.length > tokenBytesMax) throw new Refused('Invalid argument')
  return { ownerId: match[1]!, attempt: Number(match[2] ?? 0) }
}

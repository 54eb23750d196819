/** Of the data files. */
export interface DiskStats {
  bytesRead: number
  bytesWritten: number
  readsFailed: number
  writesFailed: number
}

/** What INFO tells. */
export class ServerStats {
  commandsExecuted = 0
  /** Unknown commands. */
  commandsFailed = 0
  commandsUnauthorized = 0
  readonly disk: DiskStats = { bytesRead: 0, bytesWritten: 0, readsFailed: 0, writesFailed: 0 }
  readonly bootSeconds: number
  readonly instanceId: number
  /** Asked when INFO is: the server that counts them is made after its sessions' state. */
  clientsLifetime: () => number = () => 0
  traffic: () => { readonly bytesRead: number; readonly bytesWritten: number } = () => ({
    bytesRead: 0,
    bytesWritten: 0,
  })

  constructor(bootSeconds: number, instanceId: number) {
    this.bootSeconds = bootSeconds
    this.instanceId = instanceId
  }
}

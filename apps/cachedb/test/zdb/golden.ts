/** Files that 0-db 2.0.7 wrote, byte for byte; docs/formats/zdb.md draws them. Timestamps begin at 1700000000. */
const hex = (...fields: string[]) => Buffer.from(fields.join('').replaceAll(' ', ''), 'hex')

/** SET hello world; SET hello WORLD2; SET k ""; DEL hello; NSJUMP; SET k x; SET n yz */
export const userNamespace = {
  d0: hex(
    '44415430 03000000 0000000000000000 0000000000000000 00000000', // DAT0, v3, created, opened, file 0
    '05 05000000 00000000 7bf7d874 00 00f15365 68656c6c6f 776f726c64', // 0x1c hello = world: K, L, previous, crc, flags, time
    '05 06000000 1c000000 c0b10bee 00 01f15365 68656c6c6f 574f524c4432', // 0x38 hello = WORLD2
    '01 00000000 38000000 00000000 00 02f15365 6b', // 0x55 k = empty
    '05 00000000 55000000 00000000 01 03f15365 68656c6c6f', // 0x68 hello deleted
  ),
  d1: hex(
    '44415430 03000000 0000000000000000 0000000000000000 01000000',
    '01 01000000 68000000 c20c41fb 00 04f15365 6b 78', // 0x1c k = x; previous points into d0
    '01 02000000 1c000000 7df3952b 00 05f15365 6e 797a', // 0x30 n = yz
  ),
  i0: hex(
    '49445830 04000000 0000000000000000 0000000000000000 00000000 00', // IDX0, v4, created, opened, file 0, mode user
    // K, data offset, length, previous, flags, data id, time, crc, parent id, parent offset, key
    '05 1c000000 05000000 00000000 01 00000000 00f15365 7bf7d874 00000000 00000000 68656c6c6f', // 0x1d superseded in place
    '05 38000000 06000000 1d000000 01 00000000 01f15365 c0b10bee 00000000 1d000000 68656c6c6f', // 0x44 deleted in place
    '01 55000000 00000000 44000000 01 00000000 02f15365 00000000 00000000 00000000 6b', // 0x6b superseded by i1
  ),
  i1: hex(
    '49445830 04000000 0000000000000000 0000000000000000 01000000 00',
    '01 1c000000 01000000 6b000000 00 01000000 04f15365 c20c41fb 00000000 6b000000 6b', // 0x1d parent is in i0
    '01 30000000 02000000 1d000000 00 00000000 05f15365 7df3952b 00000000 00000000 6e', // 0x40 new key: data id 0, wrongly
  ),
}

/** SET "" zero → 0; SET "" one → 1; SET 0 ZERO2, which burns 2; SET "" three → 3; DEL 1. The next id is 4. */
export const sequentialNamespace = {
  d0: hex(
    '44415430 03000000 0000000000000000 0000000000000000 00000000',
    '08 04000000 00000000 b0bcb366 00 00f15365 0000000000000000 7a65726f', // 0x1c id 0 = zero
    '08 03000000 1c000000 9311f04a 00 01f15365 0100000000000000 6f6e65', // 0x3a id 1 = one
    '08 05000000 3a000000 f941e931 00 02f15365 0000000000000000 5a45524f32', // 0x57 id 0 = ZERO2
    '08 05000000 57000000 89273659 00 03f15365 0300000000000000 7468726565', // 0x76 id 3 = three
    '08 00000000 76000000 00000000 01 04f15365 0100000000000000', // 0x95 id 1 deleted
  ),
  i0: hex(
    '49445830 04000000 0000000000000000 0000000000000000 00000000 01', // mode sequential
    '08 57000000 05000000 00000000 00 00000000 02f15365 f941e931 00000000 71000000 0000000000000000', // slot 0, overwritten in place
    '08 3a000000 03000000 1d000000 01 00000000 01f15365 9311f04a 00000000 00000000 0100000000000000', // slot 1, deleted in place
    '08 1c000000 04000000 47000000 01 00000000 00f15365 b0bcb366 00000000 00000000 0000000000000000', // slot 2: copy of id 0 as it was
    '08 76000000 05000000 71000000 00 00000000 03f15365 89273659 00000000 00000000 0300000000000000', // slot 3
  ),
}

/** `zdb-namespace` of a fresh `default`. */
export const freshDescriptor = hex('01000000 07 00 0000000000000000 05', '64656661756c74') // version, name and password length, quota, flags public|4, name

/** Of `vault`: quota 10,000, password "secret" where "longersecret" was, private, worm. */
export const vaultDescriptor = hex(
  '01000000 05 06 1027000000000000 06', // flags worm|4
  '7661756c74', // "vault"
  '736563726574', // "secret"
  '736563726574', // left of the longer password: ignored
)

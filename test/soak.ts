// `pnpm soak` tries cachedb, `pnpm soak fs` the filesystem: random commands, crashes and full disks beside a plain model, for ever or
// for `--seconds`. Each says with which arguments a world can be seen again.
const [what] = process.argv.slice(2)
if (what === 'fs') process.argv.splice(2, 1)
await import(what === 'fs' ? '../apps/fs/test/soak/soak.ts' : '../apps/cachedb/test/model/soak.ts')

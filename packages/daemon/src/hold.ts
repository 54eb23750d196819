/** Keeps the process alive until it is disposed of. For commands that only wait: the clock's timers are those of background
 *  work and hold nothing, so with every connection gone Node would end in the middle of the wait, with exit code 13. */
export function holdProcess(): Disposable {
  const timer = setInterval(() => undefined, 0x7fffffff)
  return { [Symbol.dispose]: () => clearInterval(timer) }
}

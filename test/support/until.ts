/** Looks every 50 ms until it is true. Throws after `limitMs`, 30 s by default. */
export async function until(isTrue: () => boolean | Promise<boolean>, limitMs = 30_000): Promise<void> {
  const deadline = Date.now() + limitMs;
  while (!(await isTrue())) {
    if (Date.now() > deadline) throw new Error(`still not true after ${limitMs} ms`);
    await new Promise(resolve => setTimeout(resolve, 50));
  }
}

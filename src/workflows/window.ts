/** Bounded fan-out: at most `width` in flight; after a failure nothing new starts, and what runs is waited for. */
export async function inWindow<Result>(
  count: number,
  width: number,
  run: (index: number) => Promise<Result>,
): Promise<readonly Result[]> {
  const results: Result[] = new Array(count);
  const failures: unknown[] = [];
  let next = 0;
  const lane = async () => {
    while (next < count && failures.length === 0) {
      const index = next++;
      try {
        results[index] = await run(index);
      } catch (error) {
        failures.push(error);
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(width, count) }, lane));
  if (failures.length > 0) throw failures[0];
  return results;
}

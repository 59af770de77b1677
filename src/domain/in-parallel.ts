/**
 * Runs `one` for every item, at most `width` of them at a time; results in the order of the items, which are taken one by
 * one as there is room. After a failure nothing new starts, what runs is waited for, and the failure is thrown.
 */
export async function inParallel<Item, Result>(
  items: Iterable<Item>,
  width: number,
  one: (item: Item) => Promise<Result>,
): Promise<readonly Result[]> {
  const results: Result[] = [];
  const failures: unknown[] = [];
  const iterator = items[Symbol.iterator]();
  let started = 0;
  const lane = async () => {
    while (failures.length === 0) {
      const next = iterator.next();
      if (next.done === true) return;
      const index = started++;
      try {
        results[index] = await one(next.value);
      } catch (error) {
        failures.push(error);
      }
    }
  };
  await Promise.all(Array.from({ length: width }, lane));
  if (failures.length > 0) throw failures[0];
  return results;
}

/** Runs the ranges of seeds it is sent, one after the other, and sends each report back. Started by `runSeedsInParallel`. */
import { runSeeds } from './run-seeds.ts';

process.on(
  'message',
  async (range: { readonly from: number; readonly count: number; readonly failuresMax: number }) => {
    process.send?.(await runSeeds(range));
  },
);
process.on('disconnect', () => process.exit());

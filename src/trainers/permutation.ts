/** Permutation importance (Breiman 2001, section 10): how much worse the model is when one column is shuffled. */
import { meanLoss } from './metrics.ts';
import { sampleIndices, seededRandom, shuffle } from './random.ts';
import type { TrainedModel } from './trainer.ts';

/** Enough for a ranking; the cost is one prediction of these rows per feature. */
const ROWS_MAX = 5_000;

/** Rise of the mean loss per feature, in the order of the columns; 0 for features the model does not use. */
export function permutationImportance(
  model: TrainedModel,
  {
    columns,
    labels,
    weights,
  }: {
    readonly columns: readonly Float32Array[];
    readonly labels: Float32Array;
    readonly weights: Float64Array | null;
  },
  seed: number,
): number[] {
  const { task } = model.signature;
  const chosen = sampleIndices(seededRandom(seed, 2), labels.length, ROWS_MAX);
  const sampled = columns.map(column => Float32Array.from(chosen, row => column[row]!));
  const sampledLabels = Float32Array.from(chosen, row => labels[row]!);
  const sampledWeights = weights === null ? null : Float64Array.from(chosen, row => weights[row]!);
  const base = meanLoss(task, model.predict(sampled), sampledLabels, sampledWeights);
  return sampled.map((column, feature) => {
    if (model.importance.values[feature] === 0) return 0;
    const order = shuffle(seededRandom(seed, 10_000 + feature), Uint32Array.from(column.keys()));
    const shuffled = Float32Array.from(order, row => column[row]!);
    const predictions = model.predict(sampled.map((other, index) => (index === feature ? shuffled : other)));
    return meanLoss(task, predictions, sampledLabels, sampledWeights) - base;
  });
}

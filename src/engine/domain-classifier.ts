/**
 * Tells two samples of rows apart: boosted trees learn on two thirds which side a row is from and are judged on the third
 * that is left, in turn. Trees, because a changed dependence between columns is an interaction: a sum over the columns, such
 * as logistic regression on one-hot groups, gives an AUC of 0.50 where two of five columns go from independent to a
 * correlation of 0.6; trees give 0.61. Keys and times are the caller's to leave out: they separate any two samples.
 */
import { type Separation, separableRows } from '../checks/domain-classifier.ts';
import { delongAuc } from '../stats/delong.ts';
import { createRandom } from '../stats/random.ts';
import { trainerNamed } from '../trainers/index.ts';
import { encodeFeatures, type Feature, type TrainedModel } from '../trainers/trainer.ts';

export interface DomainSamples {
  /** Columns of all rows, those of the reference first; categories of both sides share their codes. */
  readonly features: readonly Feature[];
  readonly reference: number;
  readonly current: number;
  /** Rows of each side at most; as many of both are drawn, so that chance is an AUC of one half. */
  readonly rowsMax: number;
  readonly seed: number;
}

const folds = 3;
const parameters = { trees: 30, max_leaves: 8, learning_rate: 0.2 };
const shownColumns = 5;

/** The same samples give the same answer. */
export async function tellApart({ features, reference, current, rowsMax, seed }: DomainSamples): Promise<Separation> {
  const rows = Math.min(reference, current, rowsMax);
  const of = { reference, current };
  const none = { rows, of, auc: null, interval: null, top: [], columns: features.length };
  if (rows < separableRows || features.length === 0) return none;
  const random = createRandom(seed);
  const chosen = [
    ...withoutReplacement(reference, rows, random),
    ...withoutReplacement(current, rows, random).map(row => reference + row),
  ];
  const labels = Float32Array.from(chosen, row => (row < reference ? 0 : 1));
  const scores = new Float64Array(chosen.length);
  const gains = features.map(() => 0);
  for (let fold = 0; fold < folds; fold++) {
    const out = [...chosen.keys()].filter(index => (index % rows) % folds === fold);
    const learned = [...chosen.keys()].filter(index => (index % rows) % folds !== fold);
    const model = await learn(
      pick(features, learned, chosen),
      Float32Array.from(learned, index => labels[index]!),
      seed,
    );
    const answers = model.predict(encodeFeatures(pick(features, out, chosen), model.signature));
    out.forEach((index, at) => {
      scores[index] = answers[at]!;
    });
    model.importance.values.forEach((gain, column) => {
      gains[column]! += gain / folds;
    });
  }
  const found = delongAuc(labels, scores).value;
  if (found === null) return none;
  const top = features
    .map(({ name }, column) => ({ name, gain: gains[column]! }))
    .toSorted((left, right) => right.gain - left.gain)
    .slice(0, shownColumns);
  return { ...none, auc: found.auc, interval: [found.interval.low, found.interval.high], top };
}

function learn(features: readonly Feature[], labels: Float32Array, seed: number): Promise<TrainedModel> {
  const task = { task: 'binary', classes: ['reference', 'current'], seed, threads: 1 } as const;
  return trainerNamed('gbdt').train({ rows: labels.length, features, labels }, task, parameters, null);
}

function pick(features: readonly Feature[], indexes: readonly number[], chosen: readonly number[]): Feature[] {
  return features.map(feature =>
    feature.kind === 'number'
      ? { ...feature, values: Float32Array.from(indexes, index => feature.values[chosen[index]!]!) }
      : { ...feature, codes: Int32Array.from(indexes, index => feature.codes[chosen[index]!]!) },
  );
}

/** In random order, for the folds take turns: rows that come in a rhythm of their own must not fall into one of them. */
function withoutReplacement(rows: number, size: number, random: { below(limit: number): number }): number[] {
  const order = Array.from({ length: rows }, (_, row) => row);
  for (let at = 0; at < size; at++) {
    const other = at + random.below(rows - at);
    [order[at], order[other]] = [order[other]!, order[at]!];
  }
  return order.slice(0, size);
}

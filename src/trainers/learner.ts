/** A built-in trainer as something that fits rows and scores rows, for backtests and probes. */
import { trainerNamed } from './index.ts';
import { encodeFeatures, type Feature, type Trainer, type TrainingTask } from './trainer.ts';

export interface LabelledRows {
  readonly columns: readonly Feature[];
  readonly labels: Float32Array;
}

export interface BuiltinLearner {
  readonly name: string;
  fit(rows: LabelledRows): Promise<{ score(rows: LabelledRows): Float32Array }>;
}

/** Learns binary tasks with the parameters of a definition. */
export function builtinLearner(
  trainer: string,
  parameters: Readonly<Record<string, unknown>>,
  seed: number,
): BuiltinLearner {
  const named = trainerNamed(trainer);
  named.check(parameters);
  const said = Object.entries(parameters).map(([name, value]) => `${name} ${String(value)}`);
  return { name: [trainer, ...said].join(', '), fit: rows => learn(named, rows, parameters, seed) };
}

/** Trees of a probe: it is fitted for every window, and a fifth of the usual trees already tells a hard week from a stale model. */
const probeTrees = 30;

/** The parameters of a model of the same kind as the champion that costs little; a stronger kind would always be ahead. */
export function probeParameters(
  trainer: string,
  parameters: Readonly<Record<string, unknown>>,
): Readonly<Record<string, unknown>> {
  return trainer === 'gbdt' ? { ...parameters, trees: probeTrees } : parameters;
}

export function probeLearner(
  trainer: string,
  parameters: Readonly<Record<string, unknown>>,
  seed: number,
): BuiltinLearner {
  return builtinLearner(trainer, probeParameters(trainer, parameters), seed);
}

async function learn(
  trainer: Trainer,
  { columns, labels }: LabelledRows,
  parameters: Readonly<Record<string, unknown>>,
  seed: number,
) {
  const task: TrainingTask = { task: 'binary', classes: ['0', '1'], seed, threads: 1 };
  const model = await trainer.train({ rows: labels.length, features: columns, labels }, task, parameters, null);
  return {
    score: (rows: LabelledRows) => model.predict(encodeFeatures(rows.columns, model.signature)),
  };
}

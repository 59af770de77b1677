/** A built-in trainer as something that fits rows and scores rows, for backtests and probes. */
import { gbdt } from './gbdt/index.ts';
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

/** Small on purpose: it is fitted for every window, and a fifth of the usual trees already tells a hard week from a stale model. */
const probeParameters = { trees: 30, max_leaves: 31 };

export function probeLearner(seed: number): BuiltinLearner {
  return { name: 'gbdt of 30 trees', fit: rows => learn(gbdt, rows, probeParameters, seed) };
}

async function learn(
  trainer: Trainer,
  { columns, labels }: LabelledRows,
  parameters: Readonly<Record<string, unknown>>,
  seed: number,
) {
  const task: TrainingTask = { task: 'binary', classes: ['0', '1'], seed, threads: 1 };
  const model = await trainer.train(
    { rows: labels.length, features: columns, labels },
    task,
    parameters,
    () => undefined,
  );
  return {
    score: (rows: LabelledRows) => model.predict(encodeFeatures(rows.columns, model.signature)),
  };
}

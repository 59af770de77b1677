/** A built-in trainer as something that fits rows and scores rows, for backtests and probes. */
import { trainerNamed } from './index.ts';
import type { LearnerThreads } from './learner-threads.ts';
import { encodeFeatures, type Feature, type TrainingTask } from './trainer.ts';

export interface LabelledRows {
  readonly columns: readonly Feature[];
  readonly labels: Float32Array;
  /** As in a training table. */
  readonly weights?: Float64Array | null;
}

export interface BuiltinLearner {
  readonly name: string;
  fit(rows: LabelledRows): Promise<LearnedModel>;
}

export interface LearnedModel {
  score(rows: Pick<LabelledRows, 'columns'>): Promise<Float32Array> | Float32Array;
  /** Lets the model go, where a thread holds it; it cannot score any more. */
  close?(): void;
}

/** What is learned, and from which seed. Plain data: it is sent to threads. */
export interface Lesson {
  readonly trainer: string;
  readonly parameters: Readonly<Record<string, unknown>>;
  readonly seed: number;
}

/** Learns binary tasks with the parameters of a definition: on threads where they are given, else on the caller's own. */
export function builtinLearner(
  trainer: string,
  parameters: Readonly<Record<string, unknown>>,
  seed: number,
  threads?: LearnerThreads,
): BuiltinLearner {
  trainerNamed(trainer).check(parameters);
  const said = Object.entries(parameters).map(([name, value]) => `${name} ${String(value)}`);
  const lesson = { trainer, parameters, seed };
  return {
    name: [trainer, ...said].join(', '),
    fit: rows => (threads === undefined ? learn(lesson, rows) : threads.fit(lesson, rows)),
  };
}

/** A fifth of the usual trees: enough to tell one split of the rows from another. */
const quickTrees = 30;

/** The parameters of a model of the same kind that costs little, for comparisons of rows in which both sides are such models. */
export function quickParameters(
  trainer: string,
  parameters: Readonly<Record<string, unknown>>,
): Readonly<Record<string, unknown>> {
  return trainer === 'gbdt' ? { ...parameters, trees: quickTrees } : parameters;
}

/** Fits on this thread alone. */
export async function learn({ trainer, parameters, seed }: Lesson, { columns, labels, weights = null }: LabelledRows) {
  const task: TrainingTask = { task: 'binary', classes: ['0', '1'], seed, threads: 1 };
  const table = { rows: labels.length, features: columns, labels, weights };
  const model = await trainerNamed(trainer).train(table, task, parameters, null);
  return {
    score: (rows: Pick<LabelledRows, 'columns'>) => model.predict(encodeFeatures(rows.columns, model.signature)),
  };
}

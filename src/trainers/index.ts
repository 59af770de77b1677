/** The built-in trainers by name. A new one is a file with a `Trainer` and a line here; the contract suite does the rest. */
import type { TrainerChoice } from '../domain/definition.ts';
import { unknownName } from '../domain/nearest.ts';
import { gbdt } from './gbdt/index.ts';
import { logistic } from './linear/index.ts';
import { ParameterError } from './parameters.ts';
import type { Trainer } from './trainer.ts';

export const trainers: readonly Trainer[] = [logistic, gbdt];

/** Throws ParameterError naming the nearest known trainer. */
export function trainerNamed(name: string): Trainer {
  const trainer = trainers.find(candidate => candidate.name === name);
  if (trainer !== undefined) return trainer;
  const known = trainers.map(candidate => candidate.name);
  throw new ParameterError(unknownName('trainer', name, known));
}

/** The built-in trainer that compares rows with rows: a program of the user's is not started for that, trees stand in. */
export function comparisonTrainer(trainer: TrainerChoice): Omit<Extract<TrainerChoice, { kind: 'builtin' }>, 'kind'> {
  return trainer.kind === 'builtin' ? trainer : { name: 'gbdt', parameters: {} };
}

/** Refuses an unknown built-in trainer, parameter or value before any data is read; a program checks its own. */
export function checkTrainer(trainer: TrainerChoice): void {
  if (trainer.kind === 'builtin') trainerNamed(trainer.name).check(trainer.parameters);
}

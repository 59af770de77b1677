/** The built-in trainers by name. A new one is a file with a `Trainer` and a line here; the contract suite does the rest. */
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

/** Refuses an unknown trainer, parameter or value before any data is read. */
export function checkTrainer(name: string, parameters: Readonly<Record<string, unknown>>): void {
  trainerNamed(name).check(parameters);
}

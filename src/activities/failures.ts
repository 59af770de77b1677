/** The one place where our errors become Temporal's: permanent ones end the retries, all others are tried again. */
import { Context } from '@temporalio/activity';
import { ApplicationFailure, CancelledFailure, TemporalFailure } from '@temporalio/common';
import { ConfigurationError } from '../config/configuration-error.ts';
import { EngineFault, isPermanent } from '../engine/fault.ts';
import { StorageFault } from '../storage/fault.ts';
import { PermanentFault } from './fault.ts';

/** Messages longer than this are cut by the server in the middle of a word. */
const messageMax = 3500;
/** Errors of trainers and readers that are about what the user gave, whatever module they come from. */
const userErrors = new Set(['ParameterError', 'TrainingDataError', 'TrainerFault']);

export function toFailure(error: unknown): unknown {
  if (error instanceof TemporalFailure) return error;
  if (error instanceof PermanentFault) return permanent(error.type, error, error.facts);
  if (error instanceof EngineFault && isPermanent(error)) return permanent(`Engine.${error.kind}`, error, error.facts);
  if (error instanceof StorageFault && error.isPermanent) {
    return permanent(`Storage.${error.kind}`, error, { where: error.where });
  }
  if (error instanceof ConfigurationError) return permanent('Configuration', error, { problems: error.problems });
  if (error instanceof Error && userErrors.has(error.name)) return permanent(error.name, error, {});
  return error;
}

function permanent(type: string, error: Error, facts: Readonly<Record<string, unknown>>): ApplicationFailure {
  const message = error.message.slice(0, messageMax);
  return ApplicationFailure.create({ message, type, nonRetryable: true, details: [facts], cause: error });
}

/** The same verbs, with their errors mapped. A verb that fails because it was cancelled says so. */
export function withFailures<Verbs extends object>(verbs: Verbs): Verbs {
  const mapped = Object.entries(verbs).map(([name, verb]) => [
    name,
    async (input: unknown) => {
      try {
        return await verb(input);
      } catch (error) {
        if (Context.current().cancellationSignal.aborted) throw new CancelledFailure(`${name} was cancelled`);
        throw toFailure(error);
      }
    },
  ]);
  return Object.fromEntries(mapped) as Verbs;
}

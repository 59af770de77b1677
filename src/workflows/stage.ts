/** Where a run is: one word for lists, a page for people who open it, a document for the Query `status`. */

import {
  ActivityFailure,
  ApplicationFailure,
  defineSearchAttributeKey,
  type SearchAttributePair,
} from '@temporalio/common';
import { defineQuery, setCurrentDetails, setHandler, upsertSearchAttributes } from '@temporalio/workflow';

export interface Status {
  readonly model: string;
  readonly stage: string;
  /** What a person can do next, or null. */
  readonly next: string | null;
  readonly facts: Readonly<Record<string, string | number | boolean | null>>;
}

export const statusQuery = defineQuery<Status>('status');

const modelKey = defineSearchAttributeKey('AlmanacModel', 'KEYWORD');
const versionKey = defineSearchAttributeKey('AlmanacVersion', 'KEYWORD');
const partitionKey = defineSearchAttributeKey('AlmanacPartition', 'KEYWORD');
const stateKey = defineSearchAttributeKey('AlmanacState', 'KEYWORD');
const deadlineKey = defineSearchAttributeKey('AlmanacDeadline', 'DATETIME');

export interface StageTracker {
  /** Enters a stage; facts add to the earlier ones. */
  enter(stage: string, facts?: Status['facts'], next?: string | null): void;
  /** Replaces the page below the stage. */
  show(markdown: string): void;
  deadline(time: string): void;
}

/** Registers the Query and names the run in searches. Call it before the first `await`. */
export function trackStage(of: { model: string; version?: number; partition?: string }): StageTracker {
  let status: Status = { model: of.model, stage: 'starting', next: null, facts: {} };
  let page = '';
  setHandler(statusQuery, () => status, { description: 'Stage of this run, its facts so far and what to do next' });
  const named: SearchAttributePair[] = [{ key: modelKey, value: of.model }];
  if (of.version !== undefined) named.push({ key: versionKey, value: `v${of.version}` });
  if (of.partition !== undefined) named.push({ key: partitionKey, value: of.partition });
  upsertSearchAttributes(named);

  const refresh = () => {
    const facts = Object.entries(status.facts).map(([name, value]) => `- ${name}: ${value}`);
    const next = status.next === null ? [] : ['', `**Next:** ${status.next}`];
    setCurrentDetails([`**${status.stage}**`, '', ...facts, ...next, '', page].join('\n'));
  };
  return {
    enter: (stage, facts = {}, next = null) => {
      status = { ...status, stage, next, facts: { ...status.facts, ...facts } };
      upsertSearchAttributes([{ key: stateKey, value: stage }]);
      refresh();
    },
    show: markdown => {
      page = markdown;
      refresh();
    },
    deadline: time => upsertSearchAttributes([{ key: deadlineKey, value: new Date(time) }]),
  };
}

/** A workflow that, when one of its activities fails for good, fails with the activity's reason and shows it as what to do. */
export function explained<Input extends { readonly model: string }, Result>(
  workflow: (input: Input) => Promise<Result>,
): (input: Input) => Promise<Result> {
  return async input => {
    try {
      return await workflow(input);
    } catch (error) {
      if (!(error instanceof ActivityFailure && error.cause instanceof ApplicationFailure)) throw error;
      const { message, type } = error.cause;
      trackStage({ model: input.model }).enter('failed', { activity: error.activityType }, message);
      throw ApplicationFailure.create({ message, nonRetryable: true, cause: error, ...(type == null ? {} : { type }) });
    }
  };
}

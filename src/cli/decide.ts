/** `almanac approve|reject`: answers a promotion by the Update `decide`; a broken rule is refused at once, with the rule. */
import { WorkflowUpdateFailedError } from '@temporalio/client';
import type { ApprovalClaim, ApprovalOutcome } from '../domain/approval.ts';
import { unknownName } from '../domain/nearest.ts';
import { CommandFailure, exitCode, note, print } from './output.ts';
import { openCatalog, type ProjectOptions, projectOf } from './project-context.ts';
import { withClient } from './temporal-client.ts';

export interface DecideOptions extends ProjectOptions {
  readonly comment?: string;
  /** Answer under another name; nobody checks it. */
  readonly as?: string;
}

export async function decide(
  decision: ApprovalClaim['decision'],
  model: string,
  version: string | undefined,
  options: DecideOptions,
): Promise<void> {
  const project = projectOf(options);
  const catalog = openCatalog(project);
  const promotions = await catalog.promotions(model);
  const waiting = promotions.filter(promotion => promotion.status === 'waiting');
  const wanted =
    version === undefined
      ? waiting.at(-1)
      : waiting.find(({ version: n }) => `v${n}` === `v${version.replace(/^v/, '')}`);
  if (wanted === undefined) {
    const names = waiting.map(promotion => `v${promotion.version}`);
    const what = version === undefined ? 'nothing' : unknownName('waiting version', version, names);
    throw new CommandFailure(
      `${what} waits for approval of ${model}; see: almanac promotions ${model}`,
      exitCode.usage,
    );
  }
  if (options.as !== undefined) note(`warning: --as ${options.as} is not authenticated`);
  const approver = options.as ?? project.environment.user;
  const { promotion, subjectDigest } = wanted;
  const claim: ApprovalClaim = { promotion, subjectDigest, decision, approver, comment: options.comment ?? '' };
  const outcome = await withClient(project, client =>
    client.workflow
      .getHandle(promotion)
      .executeUpdate<ApprovalOutcome, [ApprovalClaim]>('decide', { args: [claim] })
      .catch((error: unknown) => {
        if (!(error instanceof WorkflowUpdateFailedError)) throw error;
        throw new CommandFailure(`${promotion}: ${error.cause?.message ?? error.message}`, exitCode.failed);
      }),
  );
  if (options.json === true) print(JSON.stringify({ promotion, ...outcome }));
  else if (outcome.kind === 'waiting') print(`${promotion}: recorded; ${outcome.missing} more approvals are needed`);
  else print(`${promotion}: ${outcome.kind}`);
}

/** How activities record evidence: checks become a verdict and the reasons for it. */
import { checkResult } from '../checks/result.ts';
import { type CheckResult, type Evidence, foldVerdict } from '../domain/evidence.ts';
import { EngineFault, type FaultKind } from '../engine/fault.ts';
import type { Services } from './services.ts';
import type { EvidenceSummary } from './types.ts';

/** A summary travels through a workflow's history; all reasons stand in the document. */
const reasonsInSummary = 5;

export async function recordEvidence(
  { catalog }: Pick<Services, 'catalog'>,
  found: Omit<Evidence, 'schema' | 'verdict' | 'reasons'>,
): Promise<EvidenceSummary> {
  const { checks } = found;
  const evidence: Evidence = {
    schema: 'evidence/1',
    ...found,
    verdict: foldVerdict(checks),
    reasons: reasonsOf(checks),
  };
  return summaryOf(await catalog.recordEvidence(evidence), evidence);
}

export function summaryOf(digest: string, { kind, verdict, reasons }: Evidence): EvidenceSummary {
  return { digest, kind, verdict, reasons: reasons.slice(0, reasonsInSummary) };
}

/** What the data makes impossible is an answer of that check alone; anything else flies. */
export async function guarded(
  check: string,
  judge: () => Promise<readonly CheckResult[]>,
): Promise<readonly CheckResult[]> {
  try {
    return await judge();
  } catch (error) {
    if (!(error instanceof EngineFault) || !unusable.includes(error.kind)) throw error;
    return [checkResult(check, { status: 'error', reason: `${check} could not be looked at: ${error.message}` })];
  }
}

/** The rows or the SQL of the definition, not the machine. */
const unusable: readonly FaultKind[] = ['bad_input', 'bad_job', 'failed'];

/** What is wrong, the worst first. */
function reasonsOf(checks: readonly CheckResult[]): readonly string[] {
  const worst = ['fail', 'error', 'warn', 'insufficient'] as const;
  return worst.flatMap(status => checks.filter(check => check.status === status).map(({ reason }) => reason));
}

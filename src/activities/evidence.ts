/** How activities record evidence: checks become a verdict and the reasons for it. */
import { type CheckResult, type Evidence, foldVerdict } from '../domain/evidence.ts';
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

/** What is wrong, the worst first. */
function reasonsOf(checks: readonly CheckResult[]): readonly string[] {
  const worst = ['fail', 'error', 'warn', 'insufficient'] as const;
  return worst.flatMap(status => checks.filter(check => check.status === status).map(({ reason }) => reason));
}

/**
 * The probe: what a training right before the cohort would have given, which nobody serves. On a hard week it does as badly as
 * the champion; where it does better, the world has moved on and a new training would pay. A fixed minimum cannot tell the two
 * apart. The two differ in their rows alone: a model of another kind or size would be ahead also where nothing changes.
 */
import type { CheckResult } from '../domain/evidence.ts';
import type { Numbers } from '../stats/measured.ts';
import { effectiveRows } from '../stats/weighted.ts';
import { pairedDifference } from './paired-difference.ts';
import { type Finding, judgeTable, plain } from './result.ts';
import { qualityMetric } from './score-quality.ts';
import { sampleText } from './weighted-quality.ts';

export interface ProbeInput {
  readonly metric: string;
  /** The labelled rows of the cohort, none of which the probe learned from, with both scores. */
  readonly labels: Numbers;
  readonly championScores: Numbers;
  readonly probeScores: Numbers;
  /** Inverse sampling probabilities when only a sample was labelled. */
  readonly weights?: Numbers | null;
  /** What the champion may be behind. */
  readonly margin: number;
  readonly minRows: number;
  /** Whose scores these are, for people. */
  readonly champion: string;
  readonly probe: string;
  /** Rows that each of them learned from. */
  readonly learned: { readonly champion: number; readonly probe: number };
  readonly threshold: number | null;
  readonly seed: number;
}

/**
 * Of the rows that the probe learned from: a champion that learned from fewer is behind for that, too, and says nothing of
 * newer rows to its successors.
 */
const sameShare = 0.9;
/** Of the interval, two-sided. Every cohort is looked at: one in two hundred of those at the margin may be called behind it. */
const confidence = 0.99;

/**
 * `behind_probe` warns when the champion is certain to be behind by more than the margin. That it is certain to be behind at
 * all would prove no change: more rows or luckier ones put a probe ahead also in a world that stands still, and that much is
 * what the margin grants. The trigger of the same name (`domain/behind-probe.ts`) asks another question, whether a training
 * would pay, and adds up the newest cohorts.
 */
export function judgeProbe(input: ProbeInput): CheckResult[] {
  return judgeTable('behind_probe', () => judge(input));
}

function judge(input: ProbeInput): Finding {
  const metric = qualityMetric(input.metric);
  const rows = input.labels.length;
  const weights = input.weights ?? null;
  const { learned } = input;
  const base = { rows, limit: -input.margin, limitSource: 'declared' };
  if ((weights === null ? rows : effectiveRows(weights)) < input.minRows) {
    const reason = `${rows} labelled rows${sampleText(weights)} to compare the champion with a probe on; ${input.minRows} are needed`;
    return { ...base, status: 'insufficient', reason };
  }
  const pair = {
    labels: input.labels,
    challengerScores: input.probeScores,
    championScores: input.championScores,
    weights,
    clusters: null,
    threshold: input.threshold,
    seed: input.seed,
  };
  const found = pairedDifference(metric, pair, input.championScores, confidence);
  if (found.value === null) {
    return { ...base, status: 'insufficient', reason: `${metric} of champion and probe: ${found.reason}` };
  }
  const { value, low, high, champion, challenger } = found.value;
  return {
    ...base,
    // Seen from the champion: negative is behind.
    value: -value,
    interval: [-high, -low] as const,
    status: low > input.margin ? 'warn' : 'pass',
    details: {
      metric,
      champion,
      probe: challenger,
      learned,
      sameAmount: learned.champion >= sameShare * learned.probe,
    },
    reason:
      `${metric} ${plain(champion)} of ${input.champion} against ${plain(challenger)} of ${input.probe} on the same ${rows} rows: ` +
      `${value > 0 ? 'behind' : 'ahead'} by ${plain(Math.abs(value))} (${plain(-high)} to ${plain(-low)} with 99 % confidence)`,
  };
}

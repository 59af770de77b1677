/** What a backtest says, for people: verdict, figures, quality over time, and when the policy would have acted. */
import type { Backtest, ReplayedWindow } from '../backtest/index.ts';
import { tableLines, verdictText } from './output.ts';
import { bar } from './plot.ts';

export interface BacktestVerdict {
  readonly verdict: 'pass' | 'fail' | 'insufficient';
  readonly reasons: readonly string[];
}

/** On shuffled copies every alarm is false; more than this share of windows and nobody will read them. */
const falseAlarmsMax = 0.01;

/** A policy is worth having if it beats the calendar with as many retrainings, and stays quiet where nothing changes. */
export function verdictOf({ policy, calendar, shuffled }: Backtest): BacktestVerdict {
  const reasons: string[] = [];
  const allowed = Math.max(1, Math.floor(falseAlarmsMax * shuffled.windows));
  if (shuffled.alarms > allowed)
    reasons.push(
      `${shuffled.alarms} of ${shuffled.windows} windows of shuffled copies raise an alarm, ${allowed} allowed`,
    );
  const mean = meanOf(calendar.map(({ meanQuality }) => meanQuality));
  if (mean !== null && policy.meanQuality <= mean)
    reasons.push(
      `the policy gives ${text(policy.meanQuality)} with ${policy.retrainings.length} retrainings, a calendar with as many ${text(mean)}`,
    );
  if (reasons.length > 0) return { verdict: 'fail', reasons };
  if (mean === null)
    return { verdict: 'insufficient', reasons: ['the policy never retrained: there is no calendar to compare with'] };
  return { verdict: 'pass', reasons: [] };
}

export function backtestLines(result: Backtest, verdict: BacktestVerdict): readonly string[] {
  const { policy, metric, windows } = result;
  const phases = result.calendar.map(({ meanQuality }) => meanQuality);
  const chance = result.random.shareBelowPolicy;
  return [
    `${result.model}: ${verdictText(verdict.verdict)}; ${windows.length} windows from ${windows[0]?.partition} to ${windows.at(-1)?.partition}, ${result.learner}`,
    ...verdict.reasons,
    '',
    ...tableLines(
      ['retraining', 'times', `mean ${metric}`],
      [
        ['never', 0, text(result.never.meanQuality)],
        ['by the policy', policy.retrainings.length, text(policy.meanQuality)],
        [
          'by the calendar, mean of its phases',
          policy.retrainings.length,
          phases.length === 0 ? null : text(meanOf(phases) ?? Number.NaN),
        ],
        [
          'by the calendar, best phase',
          policy.retrainings.length,
          phases.length === 0 ? null : text(Math.max(...phases)),
        ],
        ['every window', result.everyWindow.retrainings.length, text(result.everyWindow.meanQuality)],
        ['best dates in hindsight', result.oracle.retrainings.length, text(result.oracle.meanQuality)],
      ],
    ),
    `best dates found by: ${result.oracle.search}`,
    chance === null
      ? 'the policy never retrained'
      : `above ${Math.round(100 * chance)} % of ${result.random.schedules} random schedules with as many dates`,
    `delays in windows: ${result.detectionDelays.join(', ') || 'none'}; trainings after which the champion stayed: ${policy.refused.length}`,
    `shuffled copies (${result.shuffled.copies}): ${result.shuffled.alarms} false alarms and ${result.shuffled.retrainings} trainings in ${result.shuffled.windows} windows`,
    '',
    ...plotLines(windows, metric),
    '',
    ...tableLines(
      ['window', metric, 'action', 'why'],
      windows
        .filter(({ action }) => action !== 'nothing')
        .map(one => [
          one.partition,
          one.quality === null ? null : text(one.quality),
          one.training?.kind === 'refused' ? 'retrain, refused' : one.action,
          shorten(one.training?.kind === 'refused' ? one.training.reason : (one.reasons.at(-1) ?? '')),
        ]),
    ),
    '',
    ...tableLines(
      ['with another threshold', 'retrainings', `mean ${metric}`, 'windows with alarms'],
      result.alternatives.map(other => [other.name, other.retrainings.length, text(other.meanQuality), other.alarms]),
    ),
  ];
}

const plotWidth = 100;

/** Quality per window as bars, a mark under each window from which a new model serves. */
function plotLines(windows: readonly ReplayedWindow[], metric: string): string[] {
  const values = windows.flatMap(({ quality }) => (quality === null ? [] : [quality]));
  const low = Math.min(...values);
  const high = Math.max(...values);
  const lines = [`${metric} per window, ${text(low)} to ${text(high)}; ▲ a new model serves`];
  for (let from = 0; from < windows.length; from += plotWidth) {
    const part = windows.slice(from, from + plotWidth);
    lines.push(part.map(({ quality }) => bar(quality, [low, high])).join(''));
    lines.push(
      part
        .map(({ window, trainedBefore }) => (window === trainedBefore && window !== windows[0]?.window ? '▲' : ' '))
        .join('')
        .trimEnd(),
    );
  }
  return lines;
}

function meanOf(values: readonly number[]): number | null {
  return values.length === 0 ? null : values.reduce((total, value) => total + value, 0) / values.length;
}

function text(value: number): string {
  return value.toFixed(4);
}

function shorten(reason: string): string {
  return reason.length > 110 ? `${reason.slice(0, 109)}…` : reason;
}

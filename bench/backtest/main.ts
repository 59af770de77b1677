/**
 * `npm run bench -- backtest --data FOLDER`: the retraining policy on Elec2 against the calendar and against chance, all
 * with the same models and the same number of retrainings.
 */
import { type Learner, runBacktest, withQualityMin } from '../../src/backtest/index.ts';
import { gbdt } from '../../src/trainers/gbdt/index.ts';
import type { BenchOptions, BenchResult, Ratio } from '../main.ts';
import { electricityPlan, readElectricity } from './elec2.ts';

const learner: Learner = {
  name: 'builtin gbdt, 150 trees of 31 leaves',
  async fit(rows) {
    const model = await gbdt.train(
      {
        rows: rows.labels.length,
        features: rows.columns.map(({ name, values }) => ({ kind: 'number', name, values })),
        labels: rows.labels,
      },
      { task: 'binary', classes: ['0', '1'], seed: 1, threads: 1 },
      { trees: 150, max_leaves: 31 },
      () => undefined,
    );
    return { score: part => model.predict(part.columns.map(({ values }) => values)) };
  },
};

export async function run(options: BenchOptions): Promise<BenchResult> {
  if (options.data === null) throw new Error('the backtest needs the folder with electricity.csv: --data FOLDER');
  const plan = electricityPlan(readElectricity(options.data));
  const alternatives = [0.7, 0.75, 0.8, 0.9].map(min => ({
    name: `quality.min ${min}`,
    definition: withQualityMin(plan.definition, min),
  }));
  const result = await runBacktest({ ...plan, learner, alternatives, log: options.log });
  const calendar = result.calendar.map(({ meanQuality }) => meanQuality);
  const bestPhase = Math.max(...calendar);
  const random = result.random.meanQuality.toSorted((left, right) => left - right);
  const chance = random[Math.floor(0.95 * (random.length - 1))] ?? Number.NaN;
  const name = `mean weekly ${result.metric} with ${result.policy.retrainings.length} retrainings`;
  return {
    bench: 'backtest',
    rounds: 1,
    ratios: [
      ratio(`${name}, against the best phase of the calendar`, result.policy.meanQuality, bestPhase),
      ratio(`${name}, against 95 % of ${result.random.schedules} random schedules`, result.policy.meanQuality, chance),
    ],
    notes: [
      `never ${show(result.never.meanQuality)}, every week ${show(result.everyWindow.meanQuality)} (${result.everyWindow.retrainings.length} retrainings)`,
      `calendar by phase ${show(Math.min(...calendar))} to ${show(bestPhase)}; best dates in hindsight ${show(result.oracle.meanQuality)} (${result.oracle.search})`,
      `above ${show(100 * (result.random.shareBelowPolicy ?? 0))} % of the random schedules; detection delays (weeks) ${result.detectionDelays.join(' ') || 'none'}`,
      `shuffled rows: ${result.shuffled.alarms} alarms and ${result.shuffled.retrainings} retrainings in ${result.shuffled.windows} weeks`,
      ...result.alternatives.map(
        other =>
          `${other.name}: ${show(other.meanQuality)} with ${other.retrainings.length} retrainings, ${other.alarms} alarms`,
      ),
    ],
  };
}

function ratio(name: string, ours: number, peer: number): Ratio {
  return { name, ours, peer, ratio: ours / peer, wanted: 1, met: ours > peer, unit: 'AUC' };
}

function show(value: number): string {
  return value.toPrecision(4);
}

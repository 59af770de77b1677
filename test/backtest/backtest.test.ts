/** The whole backtest on histories whose truth is known, with a learner that fits in no time. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect, test } from 'vitest';
import {
  type BacktestOptions,
  type BacktestProgress,
  evenWindows,
  type History,
  type Learner,
  neighbouringPolicies,
  runBacktest,
  windowsOfDays,
} from '../../src/backtest/index.ts';
import { reportStreams } from '../../src/backtest/stream-report.ts';
import { reorderHistory } from '../../src/backtest/table.ts';
import { createRandom } from '../../src/stats/random.ts';
import { builtinLearner } from '../../src/trainers/learner.ts';
import { LearnerThreads } from '../../src/trainers/learner-threads.ts';
import { contractOf, numericColumn } from '../checks/support/monitoring.ts';

const windowRows = 400;
const windows = 24;
const changedAt = 14;

/** `x` says what the label is; from `changeAt` on it says the opposite. `kind` is a category that means nothing. */
function flippingHistory(changeAt: number): History {
  const random = createRandom(3);
  const rows = windows * windowRows;
  const x = Float32Array.from({ length: rows }, () => random.normal());
  const codes = Int32Array.from({ length: rows }, () => random.below(4) - 1);
  const labels = Float32Array.from({ length: rows }, (_, row) => {
    const sign = Math.floor(row / windowRows) < changeAt ? 1 : -1;
    return random.next() < 1 / (1 + Math.exp(-2 * sign * x[row]!)) ? 1 : 0;
  });
  return {
    columns: [
      { kind: 'number', name: 'x', values: x },
      { kind: 'category', name: 'kind', codes, categories: ['a', 'b', 'c'] },
    ],
    labels,
  };
}

/** Learns which way `x` points. */
const direction: Learner = {
  name: 'direction of x',
  async fit({ columns: [x], labels }) {
    if (x?.kind !== 'number') throw new Error('x is a number');
    const slope = x.values.reduce((total, value, row) => total + value * (labels[row]! - 0.5), 0);
    return {
      score: ({ columns: [other] }) =>
        other?.kind === 'number'
          ? other.values.map(value => 1 / (1 + Math.exp(-Math.sign(slope) * value)))
          : new Float32Array(),
    };
  },
};

function options(history: History, changes: Partial<BacktestOptions> = {}): BacktestOptions {
  return {
    history,
    windows: evenWindows({ rows: history.labels.length, windowRows, windowDays: 7, start: '2026-01-05' }),
    contract: contractOf([numericColumn('x'), numericColumn('kind', { type: 'category' })]),
    definition: {
      model: 'flip',
      monitor: {
        windowDays: 7,
        drift: { metric: 'psi', warn: 0.1, alert: 0.25, persistence: { k: 1, n: 1 }, minRows: 100 },
        quality: { metric: 'auc', min: 0.7, minRows: 100 },
      },
      retrain: {
        when: [{ kind: 'quality_below' }],
        cooldownDays: 7,
        budget: { runs: 4, days: 90 },
        minNewLabels: 100,
      },
    },
    windowDays: 7,
    firstTraining: 4,
    trainingWindows: 2,
    holdoutWindows: 0,
    gate: null,
    labelLag: 0,
    seed: 5,
    learner: direction,
    randomSchedules: 50,
    ...changes,
  };
}

test('a change of the world is found, answered, and worth more than the calendar; the report says when and against what', async () => {
  const result = await runBacktest({ ...options(flippingHistory(changedAt)), changedAt });
  // The first window of the new world fails, and so does what half-learned it; then the model fits again.
  expect(result.policy.retrainings[0]).toBe(changedAt + 1);
  expect(result.detectionDelays).toEqual([1]);
  expect(result.windows.find(({ window }) => window === changedAt)).toMatchObject({
    action: 'retrain',
    trigger: 'quality_below',
    trainedBefore: 4,
    training: { kind: 'serves' },
  });
  expect(result.windows.filter(({ window, action }) => window < changedAt && action !== 'nothing')).toEqual([]);
  expect(result.policy.meanQuality).toBeGreaterThan(result.never.meanQuality + 0.2);
  expect(result.oracle.meanQuality).toBeGreaterThanOrEqual(result.policy.meanQuality);
  expect(result.oracle.retrainings).toHaveLength(result.policy.retrainings.length);
  const calendar = result.calendar.map(({ meanQuality }) => meanQuality);
  expect(result.policy.meanQuality).toBeGreaterThan(calendar.reduce((a, b) => a + b, 0) / calendar.length);
  expect(result.random.shareBelowPolicy).toBeGreaterThan(0.8);
  expect(result.shuffled).toEqual({
    copies: 5,
    windows: 5 * (windows - 4),
    alarms: expect.any(Number),
    retrainings: expect.any(Number),
  });
});

test('a sample by label is judged and learned from by its weights, and equal weights change nothing', async () => {
  const all = flippingHistory(windows);
  // Of the rows whose x misleads, three quarters have no label: unweighted, the world looks easier than it is.
  const random = createRandom(12);
  const [x] = all.columns;
  if (x?.kind !== 'number') throw new Error('x is a number');
  const misleads = (row: number) => x.values[row]! > 0 !== (all.labels[row] === 1);
  const chosen = Uint32Array.from(all.labels.keys()).filter(row => !misleads(row) || random.next() < 0.25);
  const weights = Float64Array.from(chosen, row => (misleads(row) ? 4 : 1));
  const sample = { ...reorderHistory(all, chosen), weights };
  const edges = Array.from(
    { length: windows + 1 },
    (_, window) => chosen.filter(row => row < window * windowRows).length,
  );
  const sampled = evenWindows({ rows: all.labels.length, windowRows, windowDays: 7, start: '2026-01-05' }).map(
    (one, window) => ({ ...one, from: edges[window]!, to: edges[window + 1]! }),
  );
  const learned: History[] = [];
  const learner: Learner = {
    ...direction,
    fit: rows => {
      learned.push(rows);
      return direction.fit(rows);
    },
  };
  const gate = { metric: 'auc', min: null, champion: { nonInferiorBy: 0.01, confidence: 0.95 } };
  const given = { holdoutWindows: 1, gate, shuffledCopies: 1, windows: sampled, learner };
  const truth = await runBacktest(options(all));
  const weighted = await runBacktest(options(sample, given));
  const naive = await runBacktest(options({ ...sample, weights: null }, given));
  expect(weighted.never.meanQuality).toBeCloseTo(truth.never.meanQuality, 1);
  expect(naive.never.meanQuality).toBeGreaterThan(truth.never.meanQuality + 0.05);
  expect(learned[0]?.weights).toEqual(weights.subarray(edges[2], edges[4]));
  // Shuffled copies carry the weights of their rows along.
  expect(learned.every(({ weights: w, labels }) => w == null || w.length === labels.length)).toBe(true);
  const alike = new Float64Array(sample.labels.length).fill(4);
  const equal = await runBacktest(options({ ...sample, weights: alike }, given));
  expect(equal.policy).toEqual(naive.policy);
  expect(equal.windows.map(({ quality, action }) => [quality, action])).toEqual(
    naive.windows.map(({ quality, action }) => [expect.closeTo(quality ?? -1, 12), action]),
  );
});

test('the probe answers without any minimum, and the same history twice gives the same report', async () => {
  const given = options(flippingHistory(changedAt));
  const quality = { ...given.definition.monitor.quality, min: null };
  const definition = {
    ...given.definition,
    monitor: { ...given.definition.monitor, quality },
    retrain: { ...given.definition.retrain, when: [{ kind: 'behind_probe', margin: 0.03 } as const] },
  };
  const run = () => runBacktest({ ...given, definition, alternatives: neighbouringPolicies(definition) });
  const result = await run();
  // The probe too has to see the new world before it can do better than the champion.
  expect(result.policy.retrainings[0]).toBeGreaterThan(changedAt);
  expect(result.policy.retrainings[0]).toBeLessThanOrEqual(changedAt + 3);
  expect(result.windows.find(({ action }) => action === 'retrain')?.reasons[0]).toMatch(
    /^the champion has lost 0\.\d+ to a model of newer rows, .*, 0\.030 allowed; newer rows help, by at least 0\.\d+ over/,
  );
  expect(result.alternatives.map(({ name }) => name)).toEqual([
    'retrain.when behind_probe 0.015',
    'retrain.when behind_probe 0.06',
    'retrain.cooldown 3.5d',
    'retrain.cooldown 14d',
  ]);
  expect(JSON.stringify(await run())).toBe(JSON.stringify(result));
});

test('without a change nothing fires, in order or shuffled', async () => {
  const result = await runBacktest(options(flippingHistory(windows)));
  expect(result.policy.retrainings).toEqual([]);
  expect(result.windows.filter(({ alarm }) => alarm)).toEqual([]);
  expect(result.calendar).toEqual([]);
  expect(result.random.shareBelowPolicy).toBeNull();
  expect(result.shuffled).toMatchObject({ copies: 5, windows: 100, retrainings: 0 });
  expect(result.shuffled.alarms).toBeLessThanOrEqual(1);
});

test('labels that come late delay the answer by as much', async () => {
  const result = await runBacktest({ ...options(flippingHistory(changedAt), { labelLag: 2 }), changedAt });
  expect(result.windows[0]?.window).toBe(6);
  expect(result.policy.retrainings[0]).toBe(changedAt + 3);
  // What is trained then has learned from the windows whose labels are known, the newest two windows ago.
  expect(result.detectionDelays).toEqual([3]);
});

test('a challenger that fails against the champion on held-out rows does not replace it', async () => {
  const gate = { metric: 'auc', min: 0.99, champion: { nonInferiorBy: 0.002, confidence: 0.95 } };
  const result = await runBacktest(options(flippingHistory(changedAt), { holdoutWindows: 1, gate }));
  expect(result.policy.retrainings).toEqual([]);
  expect(result.policy.refused.length).toBeGreaterThan(0);
  expect(result.windows.find(({ action }) => action === 'retrain')?.training).toMatchObject({
    kind: 'refused',
    reason: expect.stringContaining('at least 0.99 wanted'),
  });
});

test('windows of days follow the calendar over gaps', () => {
  const days = ['2026-01-01', '2026-01-02', '2026-01-09', '2026-01-30'].map(partition => ({ partition, rows: 10 }));
  expect(windowsOfDays(days, 7)).toEqual([
    { from: 0, to: 20, partition: '2026-01-01' },
    { from: 20, to: 30, partition: '2026-01-08' },
    { from: 30, to: 40, partition: '2026-01-29' },
  ]);
});

test('a history that is too short says how much is needed', async () => {
  const history = flippingHistory(windows);
  await expect(runBacktest({ ...options(history), windows: options(history).windows.slice(0, 4) })).rejects.toThrow(
    'the history has 4 windows; the first training alone needs 4',
  );
});

test('seeded streams: each change has its right name before anything acts', async () => {
  const learner = builtinLearner('logistic', {}, 1);
  const results = await reportStreams({
    seeds: 2,
    learner,
    contractOf: ({ columns }) => contractOf(columns.map(({ name }) => numericColumn(name, { onFail: 'warn' }))),
  });
  expect(results.map(({ kind, right, streams }) => `${kind} ${right}/${streams}`)).toEqual([
    'no_drift 2/2',
    'step 2/2',
    'gradual 2/2',
    'seasonal 2/2',
    'spike 2/2',
    'data_bug 2/2',
  ]);
});

test('the report is the same to the last digit for any number of threads', { timeout: 60_000 }, async () => {
  const given = options(flippingHistory(changedAt), { shuffledCopies: 2 });
  const definition = {
    ...given.definition,
    retrain: { ...given.definition.retrain, when: [{ kind: 'behind_probe', margin: 0.03 } as const] },
  };
  const parameters = { trees: 10, max_leaves: 4 };
  const run = async (threads?: LearnerThreads) =>
    await runBacktest({
      ...given,
      definition,
      learner: builtinLearner('gbdt', parameters, 1, threads),
      parallel: threads?.count ?? 1,
    });
  const alone = await run();
  expect(alone.policy.retrainings.length).toBeGreaterThan(0);
  expect(alone.shuffled.windows).toBe(2 * (windows - 4));
  const threads = new LearnerThreads(2);
  expect(JSON.stringify(await run(threads))).toBe(JSON.stringify(alone));
  await threads.close();
});

test('progress counts every stage to its end, one after the other', async () => {
  const seen: string[] = [];
  const progress = ({ stage, done, total }: BacktestProgress) => seen.push(`${stage} ${done}/${total}`);
  await runBacktest({ ...options(flippingHistory(windows), { parallel: 4 }), progress });
  const stages = [...new Set(seen.map(line => line.replace(/ \d.*/, '')))];
  expect(stages).toEqual(['models', 'policy', 'shuffled copies']);
  const models = Array.from({ length: windows - 3 }, (_, done) => `models ${done}/${windows - 4}`);
  expect(seen.slice(0, windows - 3)).toEqual(models);
  expect(seen.at(-1)).toBe('shuffled copies 5/5');
});

test('no more trainings are under way than were allowed, and every model is let go', async () => {
  let [running, most, open] = [0, 0, 0];
  const counted: Learner = {
    name: direction.name,
    async fit(rows) {
      most = Math.max(most, ++running);
      await nextTurn();
      running--;
      open++;
      return { ...(await direction.fit(rows)), close: () => void open-- };
    },
  };
  await runBacktest({ ...options(flippingHistory(changedAt)), learner: counted, parallel: 3 });
  expect({ most, open }).toEqual({ most: 3, open: 0 });
});

test('a training that fails ends the backtest with its own words, and starts nothing more', async () => {
  let started = 0;
  const failing: Learner = {
    name: 'fails',
    async fit() {
      started++;
      await nextTurn();
      throw new Error('the third window is empty');
    },
  };
  await expect(runBacktest({ ...options(flippingHistory(changedAt)), learner: failing, parallel: 2 })).rejects.toThrow(
    'the third window is empty',
  );
  expect(started).toBe(2);
});

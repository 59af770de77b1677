/** Elec2: reads the file, and states the policy that is replayed on it. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { evenWindows, type History, type ReplayPlan } from '../../src/backtest/index.ts';
import type { Contract } from '../../src/domain/contract.ts';

const features = ['period', 'nswprice', 'nswdemand', 'vicprice', 'vicdemand', 'transfer'];

/** Half-hourly rows in time order; the label is 1 where the price rises. */
export function readElectricity(folder: string): History {
  const lines = readFileSync(join(folder, 'electricity.csv'), 'utf8').trim().split(/\r?\n/).slice(1);
  const columns = features.map(name => ({ kind: 'number' as const, name, values: new Float32Array(lines.length) }));
  const labels = new Float32Array(lines.length);
  lines.forEach((line, row) => {
    const fields = line.split(',').map(Number);
    columns.forEach(({ values }, index) => {
      values[row] = fields[index] ?? Number.NaN;
    });
    labels[row] = fields[features.length] ?? Number.NaN;
  });
  return { columns, labels };
}

/** A contract that takes every column as it is: the backtest judges drift, not rules. */
export function openContract({ columns }: History): Contract {
  return {
    keys: [],
    eventTime: null,
    knownAt: null,
    columns: columns.map(({ name, kind }) => ({
      name,
      type: kind === 'number' ? 'float' : 'category',
      role: 'feature',
      min: null,
      max: null,
      nulls: { maxShare: 1, as: 'nan', default: null },
      values: null,
      unseen: 'other',
      unique: false,
      onFail: 'warn',
      pii: false,
    })),
    rules: [],
    forbidden: [],
    quarantineBudget: 0.01,
  };
}

/**
 * The default policy on weekly windows, labels known when the week ends. The margin of the probe, the spans and certainties of
 * its trigger (`domain/behind-probe.ts`) and the cooldown were chosen on weeks 1–40 and on seeded streams.
 */
export function electricityPlan(history: History, weeks?: number): ReplayPlan {
  const windows = evenWindows({
    rows: history.labels.length,
    windowRows: 336,
    windowDays: 7,
    start: '1996-05-07',
  });
  return {
    history,
    windows: windows.slice(0, weeks),
    contract: openContract(history),
    definition: {
      model: 'electricity',
      monitor: {
        windowDays: 7,
        drift: { metric: 'psi', warn: 0.1, alert: 0.25, persistence: { k: 1, n: 1 }, minRows: 100 },
        quality: { metric: 'auc', min: null, minRows: 100 },
      },
      retrain: {
        when: [{ kind: 'behind_probe', margin: 0.02 }],
        cooldownDays: 14,
        budget: { runs: 4, days: 90 },
        minNewLabels: 300,
      },
    },
    windowDays: 7,
    firstTraining: 4,
    trainingWindows: 8,
    holdoutWindows: 0,
    gate: null,
    labelLag: 0,
    seed: 20,
  };
}

/** The bank's calls in the order they were made, in windows of 1,000; the length of a call is known only after it. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { evenWindows, type History, type HistoryColumn, type ReplayPlan } from '../../src/backtest/index.ts';
import { electricityPlan, openContract } from './elec2.ts';

const numbers = ['age', 'balance', 'campaign', 'pdays', 'previous'];
const leaving = ['duration', 'day', 'month', 'y'];

export function readBank(folder: string): History {
  const [header = '', ...lines] = readFileSync(join(folder, 'bank-full.csv'), 'utf8').trim().split(/\r?\n/);
  const names = header.split(',');
  const cells = lines.map(line => line.split(','));
  const columns = names.flatMap((name, index): HistoryColumn[] => {
    if (leaving.includes(name)) return [];
    const values = cells.map(row => row[index] ?? '');
    if (numbers.includes(name)) return [{ kind: 'number', name, values: Float32Array.from(values, Number) }];
    const categories = [...new Set(values)].sort();
    const codes = new Map(categories.map((value, code) => [value, code]));
    return [{ kind: 'category', name, categories, codes: Int32Array.from(values, value => codes.get(value) ?? -1) }];
  });
  const label = names.indexOf('y');
  return { columns, labels: Float32Array.from(cells, row => (row[label] === 'yes' ? 1 : 0)) };
}

/** The policy of electricity, word for word: nothing was chosen on these rows. */
export function bankPlan(history: History): ReplayPlan {
  const plan = electricityPlan(history);
  const windows = evenWindows({
    rows: history.labels.length,
    windowRows: 1_000,
    windowDays: 7,
    start: '2008-05-05',
  });
  return { ...plan, windows, contract: openContract(history), definition: { ...plan.definition, model: 'bank' } };
}

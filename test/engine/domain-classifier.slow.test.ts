/** The classifier on the seeded streams, every window after ten of reference: how often it is wrong, and whether it is right. */
import { expect, test } from 'vitest';
import { makeStream, type StreamKind } from '../../src/backtest/streams.ts';
import { type History, sliceHistory } from '../../src/backtest/table.ts';
import { judgeSeparation, type Separation } from '../../src/checks/domain-classifier.ts';
import { tellApart } from '../../src/engine/domain-classifier.ts';
import type { Feature } from '../../src/trainers/trainer.ts';

const shape = { windows: 30, rowsPerWindow: 600, changeAt: 20 };
const referenceWindows = 10;

async function separations(kind: StreamKind, seed: number): Promise<Separation[]> {
  const history = makeStream({ kind, seed, ...shape });
  const { rowsPerWindow } = shape;
  const reference = sliceHistory(history, { from: 0, to: referenceWindows * rowsPerWindow });
  const found: Separation[] = [];
  for (let window = referenceWindows; window < shape.windows; window++) {
    const rows = sliceHistory(history, { from: window * rowsPerWindow, to: (window + 1) * rowsPerWindow });
    const sizes = { reference: referenceWindows * rowsPerWindow, current: rowsPerWindow };
    found.push(await tellApart({ features: joined(reference, rows), ...sizes, rowsMax: 5_000, seed }));
  }
  return found;
}

function joined(before: History, now: History): Feature[] {
  return before.columns.map((column, index) => {
    const other = now.columns[index];
    if (column.kind !== 'number' || other?.kind !== 'number') throw new Error('streams hold numbers');
    return { ...column, values: Float32Array.from([...column.values, ...other.values]) };
  });
}

function alarms(found: readonly Separation[], limit: number): number {
  return found.filter(one => judgeSeparation(one, { limit })[0]?.status === 'warn').length;
}

test('no drift: of 400 windows none warns; with chance as the only limit at most one in a hundred', async () => {
  const found: Separation[] = [];
  for (let seed = 1; seed <= 20; seed++) found.push(...(await separations('no_drift', seed)));
  expect(found).toHaveLength(400);
  expect(alarms(found, 0.625)).toBe(0);
  expect(alarms(found, 0.5)).toBeLessThanOrEqual(4);
}, 300_000);

test('a step: in nine of ten streams every window after it warns, and none before', async () => {
  const before = shape.changeAt - referenceWindows;
  let right = 0;
  for (let seed = 1; seed <= 10; seed++) {
    const found = await separations('step', seed);
    if (alarms(found.slice(0, before), 0.625) === 0 && alarms(found.slice(before), 0.625) === 10) right += 1;
  }
  expect(right).toBeGreaterThanOrEqual(9);
}, 300_000);

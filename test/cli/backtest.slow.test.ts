/** `almanac backtest` on a project with two months of data in which the world changes once. */
import { execFile } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { generateWorld } from '../../examples/late-payment/generate.ts';

const main = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
const loader = import.meta.resolve('tsx');
let project: string;

const definition = `model: late
task: binary
data:
  features: { path: "data/features/date={date}/*.parquet", keys: [customer_id], event_time: as_of, known_at: loaded_at }
  labels: { path: "data/labels/date={date}/*.parquet", column: late, positive: 1, horizon: 2d }
contract:
  columns:
    - { name: logins_30d, type: int, min: 0 }
    - { name: balance, type: double }
    - { name: invoice_amount, type: double }
    - { name: payment_delay_avg, type: double, nulls: { max: 0.2, as: nan } }
    - { name: channel, type: category, unseen: other }
train: { trainer: { builtin: logistic }, window: 20d, holdout: 4d, seed: 7 }
evaluate: { metric: auc, min: 0.55 }
monitor: { windows: 2d, drift: { min_rows: 200 }, quality: { min: 0.6, min_rows: 200 } }
retrain: { when: [behind_probe, drift_with_loss], cooldown: 4d }
`;

beforeAll(async () => {
  project = await mkdtemp(join(tmpdir(), 'almanac-backtest-'));
  const world = { folder: join(project, 'data'), firstDay: '2025-01-01', dayCount: 60, invoicesPerDay: 300, seed: 7 };
  await generateWorld({ ...world, shift: true });
  mkdirSync(join(project, 'models'));
  writeFileSync(join(project, 'models/late.yaml'), definition);
  writeFileSync(join(project, 'almanac.yaml'), 'people: { ana: [risk] }\n');
});
afterAll(() => rm(project, { recursive: true, force: true }));

async function almanac(...argv: string[]) {
  return await promisify(execFile)(process.execPath, ['--import', loader, main, ...argv], {
    cwd: project,
    maxBuffer: 1e8,
  });
}

test('says what the policy would have done, as a document and for people', { timeout: 600_000 }, async () => {
  const { stdout } = await almanac('backtest', 'late', '--json');
  const result = JSON.parse(stdout);
  expect(result).toMatchObject({ schema: 'backtest/1', model: 'late', metric: 'auc', verdict: { verdict: 'pass' } });
  // The change comes a little past the middle of the sixty days; nothing is trained before it.
  const dates = result.windows
    .filter(({ action }: { action: string }) => action === 'retrain')
    .map(({ partition }: { partition: string }) => partition);
  expect(dates.length).toBeGreaterThan(0);
  expect(dates[0] > '2025-02-01').toBe(true);
  expect(result.policy.meanQuality).toBeGreaterThan(result.never.meanQuality);
  expect(result.shuffled).toMatchObject({ copies: 5, windows: 95 });
  expect(result.shuffled.alarms).toBeLessThanOrEqual(1);
  expect(result.alternatives.map(({ name }: { name: string }) => name)).toContain('monitor.quality.min 0.550');

  const { stdout: text, stderr } = await almanac('backtest', 'late', '--from', '2025-01-11');
  expect(text).toContain('by the calendar, best phase');
  expect(text).toContain('▲');
  expect(stderr).toContain('reading 50 partitions, 2025-01-11 to 2025-03-01');
});

test('too little history is refused with what is needed', { timeout: 60_000 }, async () => {
  await expect(almanac('backtest', 'late', '--from', '2025-02-20')).rejects.toMatchObject({
    code: 1,
    stderr: expect.stringContaining('add history or shorten monitor.windows'),
  });
});

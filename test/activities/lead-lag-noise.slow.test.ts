/** How often T7 suspects features that know nothing: two hundred of each kind, on few rows. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Queries } from '../../src/activities/leakage-sql.ts';
import { leadLagChecks } from '../../src/activities/leakage-suspicion.ts';
import { readDefinition } from '../../src/config/model-definition.ts';
import { EnginePool } from '../../src/engine/pool.ts';
import { Bench } from '../engine/support/fixtures.ts';

let bench: Bench;
let engine: EnginePool;
const limits = { deadlineMs: 60_000, signal: new AbortController().signal };
const ask: Queries = {
  one: (sql, tables) => engine.run('query', { sql, tables }, limits),
  each: queries => engine.run('queries', { queries }, limits),
};

beforeAll(async () => {
  bench = await Bench.create();
  engine = new EnginePool({ size: 1, scratch: bench.path('pool') });
  mkdirSync(join(bench.path('project'), 'models'), { recursive: true });
});
afterAll(async () => {
  await engine.close();
  await bench.close();
});

function define(task: string, columns: readonly string[]) {
  writeFileSync(
    join(bench.path('project'), 'models', 'm.yaml'),
    `model: m
task: ${task}
data:
  features: { path: "f/date={date}/*.parquet", keys: [id] }
  labels: { path: "l/date={date}/*.parquet", column: y, horizon: 2d }
contract:
  columns:
${columns.map(text => `    - ${text}`).join('\n')}
`,
  );
  return readDefinition(bench.path('project'), 'm');
}

/** Eight days of sixty customers, whose labels are alike. */
const rows = `SELECT *, (hash(d, id, 2) % 1000 + hash(id, 77) % 1000) / 2000.0 AS luck FROM (
  SELECT strftime(DATE '2026-01-01' + CAST(d AS INTEGER), '%Y-%m-%d') AS partition, d, i AS id FROM range(8) t(d), range(60) u(i))`;

test.each<[string, string, string, string]>([
  ['numbers of two classes', 'binary', 'double', 'CAST(luck < 0.3 AS INTEGER)'],
  ['numbers of three classes', 'multiclass', 'double', 'CAST(floor(3 * luck * luck) AS INTEGER)'],
  ['numbers of a regression', 'regression', 'double', 'exp(5 * luck)'],
  ['categories of two classes', 'binary', 'category', 'CAST(luck < 0.3 AS INTEGER)'],
  ['categories of three classes', 'multiclass', 'category', 'CAST(floor(3 * luck * luck) AS INTEGER)'],
  ['categories of a regression', 'regression', 'category', 'exp(5 * luck)'],
])('of 200 %s that know nothing at most one is suspected, on few rows', async (name, task, type, y) => {
  // Labels of a customer are alike, and so are the values of half of the features.
  const value = (seed: number) => {
    const drawn = seed % 2 === 0 ? `hash(id, d, ${seed})` : `hash(id, d // 5, ${seed})`;
    return type === 'category' ? `'c' || ${drawn} % ${2 + (seed % 30)}` : `${drawn} % 1000`;
  };
  const seeds = Array.from({ length: 200 }, (_, seed) => seed + 100);
  const select = `SELECT partition, id, ${seeds.map(seed => `${value(seed)} AS f${seed}`).join(', ')}, ${y} AS y FROM (${rows})`;
  const columns = seeds.map(seed => `{ name: f${seed}, type: ${type} }`);
  const training = await bench.parquet(`${name.replaceAll(' ', '-')}.parquet`, select);
  const checks = await leadLagChecks({ definition: define(task, columns), training, ask });
  expect(checks).toHaveLength(200);
  const suspected = checks.filter(({ status }) => status === 'warn');
  expect(suspected.length, suspected.map(({ reason }) => reason).join('\n')).toBeLessThanOrEqual(1);
  expect(checks.filter(({ status }) => status === 'pass').length).toBeGreaterThan(190);
});

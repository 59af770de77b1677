/** T6–T8 over real rows in a real engine: what is planted is found, and clean rows raise no suspicion. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Queries } from '../../src/activities/leakage-sql.ts';
import { aggregationChecks, leadLagChecks, randomSplitChecks } from '../../src/activities/leakage-suspicion.ts';
import { readDefinition } from '../../src/config/model-definition.ts';
import type { ModelDefinition } from '../../src/domain/definition.ts';
import { EnginePool } from '../../src/engine/pool.ts';
import { correctedAssociation, correlationRatio } from '../../src/stats/association.ts';
import { spearman } from '../../src/stats/rank.ts';
import { Bench } from '../engine/support/fixtures.ts';

const signal = new AbortController().signal;
let bench: Bench;
let engine: EnginePool;
const limits = { deadlineMs: 60_000, signal };
const ask: Queries = {
  one: (sql, tables) => engine.run('query', { sql, tables }, limits),
  each: queries => engine.run('queries', { queries }, limits),
};

beforeAll(async () => {
  bench = await Bench.create();
  engine = new EnginePool({ size: 1, scratch: bench.path('pool') });
});
afterAll(async () => {
  await engine.close();
  await bench.close();
});

function define(
  columns: readonly string[],
  changes: { task?: string; transform?: string; horizon?: string; weight?: string } = {},
): ModelDefinition {
  const { task = 'binary', transform, horizon = '2d', weight } = changes;
  const project = bench.path('project');
  mkdirSync(join(project, 'models'), { recursive: true });
  if (transform !== undefined) writeFileSync(join(project, 'features.sql'), transform);
  writeFileSync(
    join(project, 'models', 'm.yaml'),
    `model: m
task: ${task}
data:
  features: { path: "f/date={date}/*.parquet", keys: [id], event_time: as_of }
  labels: { path: "l/date={date}/*.parquet", column: y, horizon: ${horizon}${weight === undefined ? '' : `, weight: ${weight}`} }
${transform === undefined ? '' : '  transform: features.sql\n'}contract:
  columns:
${columns.map(text => `    - ${text}`).join('\n')}
`,
  );
  return readDefinition(project, 'm');
}

/** Twenty days of 400 customers each, the same ones every day; `x` is honest and knows something. */
const days = `SELECT strftime(DATE '2026-01-01' + CAST(d AS INTEGER), '%Y-%m-%d') AS partition, d, i AS id,
  (hash(d, i, 1) % 1000) / 1000.0 AS x, (hash(d, i, 2) % 1000) / 1000.0 AS luck FROM range(20) t(d), range(400) u(i)`;
const features = ['{ name: x, type: double }', '{ name: z, type: double }'];

describe('T6', () => {
  const judge = async (name: string, definition: ModelDefinition, select: string) => {
    const training = await bench.parquet(`${name}.parquet`, select);
    const [check] = await randomSplitChecks({ engine }, { definition, training, ask }, { signal });
    return check;
  };

  test('honest rows are learned as well over time as at random', async () => {
    const select = `SELECT partition, id, x, luck AS z, CAST(luck < x AS INTEGER) AS y FROM (${days})`;
    const check = await judge('honest', define(features), select);
    expect(check?.status, check?.reason).toBe('pass');
    expect(check?.rows).toBe(1_600);
  });

  test('rows that know the others of their day look better at random than they will be', async () => {
    // Each day has a label rate of its own, and z is the day: of no use for a day that nobody has seen.
    const select = `SELECT partition, id, x, CAST(hash(d, 5) % 100000 AS DOUBLE) AS z,
      CAST((hash(d, i, 3) % 100) < (hash(d, 4) % 2) * 80 + 10 AS INTEGER) AS y FROM (SELECT *, id AS i FROM (${days}))`;
    const check = await judge('days', define(features), select);
    expect(check?.status, check?.reason).toBe('warn');
    expect(check?.value).toBeGreaterThan(0.2);
    expect(await judge('days', define(features), select)).toEqual(check);
  });

  test('a sample is judged by what its rows stand for', async () => {
    // A twentieth of the rows know their day, and stand for most of what was scored.
    const select = `SELECT partition, id, x, CAST(hash(d, 5) % 100000 AS DOUBLE) AS z, if(id < 20, 60.0, 1.0) AS w,
      CAST(if(id < 20, (hash(d, i, 3) % 100) < (hash(d, 4) % 2) * 80 + 10, luck < x) AS INTEGER) AS y
      FROM (SELECT *, id AS i FROM (${days}))`;
    const counted = await judge('counted', define(features), select);
    expect(counted?.status, counted?.reason).toBe('pass');
    const weighted = await judge('weighted', define(features, { weight: 'w' }), select);
    expect(weighted?.status, weighted?.reason).toBe('warn');
    expect(weighted?.value).toBeGreaterThan(0.2);
    const alike = define(features, { weight: 'one' });
    const same = await judge('alike', alike, `SELECT *, 1.0 AS one FROM (${select})`);
    expect(same?.value).toBeCloseTo(counted?.value ?? Number.NaN, 12);
  });

  test.each([
    [
      'one class',
      {},
      `SELECT partition, id, x, x AS z, 0 AS y FROM (${days})`,
      'insufficient',
      /T6: the splits cannot/,
    ],
    [
      'regressions',
      { task: 'regression' },
      `SELECT partition, id, x, x AS z, x AS y FROM (${days})`,
      'not_applicable',
      /binary/,
    ],
    [
      'partitions that are no dates',
      {},
      `SELECT 'part ' || d AS partition, id, x, x AS z, 1 AS y FROM (${days})`,
      'not_applicable',
      /no dates/,
    ],
    [
      'a horizon as long as the window',
      { horizon: '30d' },
      `SELECT partition, id, x, x AS z, id % 2 AS y FROM (${days})`,
      'not_applicable',
      /20 days of training rows leave none to learn from 30 days before/,
    ],
  ] as const)('%s', async (name, changes, select, status, reason) => {
    const check = await judge(name.replaceAll(' ', '-'), define(features, changes), select);
    expect(check).toMatchObject({ status, reason: expect.stringMatching(reason) });
  });
});

describe('T7', () => {
  const judge = async (name: string, select: string, definition = define(features)) =>
    await leadLagChecks({ definition, training: await bench.parquet(`lag-${name}.parquet`, select), ask });

  test('a feature that becomes the outcome of the day before is suspected, an honest one is not', async () => {
    const select = `SELECT partition, id, x, lag(y, 1, 0) OVER (PARTITION BY id ORDER BY partition) + luck / 4 AS z, y
      FROM (SELECT *, CAST((hash(d, id, 7) % 1000) / 1000.0 < x AS INTEGER) AS y FROM (${days}))`;
    const checks = await judge('follows', select);
    expect(checks.map(({ column, status }) => [column, status])).toEqual([
      ['x', 'pass'],
      ['z', 'warn'],
    ]);
    const [honest, follower] = checks.map(({ details }) => details as Record<string, number>);
    expect(honest?.['present']).toBeGreaterThan(0.75);
    expect(honest?.['future']).toBeCloseTo(0.5, 1);
    expect(follower?.['present']).toBeCloseTo(0.5, 1);
    expect(follower?.['future']).toBe(1);
    // 19 of 20 days of each of 400 customers have a next one.
    expect(follower).toMatchObject({ past: expect.closeTo(0.5, 1) });
    expect(checks[0]?.rows).toBe(19 * 400);
  });

  test('NULL and NaN have no order and are left out', async () => {
    const select = `SELECT partition, id, CASE id % 4 WHEN 0 THEN NULL WHEN 1 THEN 'nan'::DOUBLE ELSE x END AS x, luck AS z, id % 2 AS y FROM (${days})`;
    const [check] = await judge('holes', select);
    expect(check?.rows).toBe(19 * 200);
  });

  /** `y` follows `x` of its day, and a little luck; `z` follows the `y` of the day before, `n` nothing. */
  const world = (y: string, z: string, n: string) =>
    `SELECT partition, id, x, ${z} AS z, ${n} AS n, y FROM (SELECT *, lag(y, 1) OVER (PARTITION BY id ORDER BY partition) AS before
      FROM (SELECT *, ${y} AS y FROM (${days})))`;
  const numbers = [...features, '{ name: n, type: double }'];
  const categories = ['{ name: x, type: double }', '{ name: z, type: category }', '{ name: n, type: category }'];
  const threeClasses = `CASE WHEN x + luck < 0.7 THEN 'low' WHEN x + luck < 1.3 THEN 'middle' ELSE 'high' END`;
  const noise = `CASE WHEN hash(id, d, 9) % 7 = 0 THEN NULL ELSE 'k' || hash(id, d, 8) % 12 END`;
  test.each<[string, string, readonly string[], string, string]>([
    [
      'numbers of a regression',
      'regression',
      numbers,
      world('x + luck', 'before + luck / 2', 'hash(id, d, 8) % 100'),
      'rank correlation',
    ],
    [
      'numbers of several classes',
      'multiclass',
      numbers,
      world(
        threeClasses,
        `CASE before WHEN 'low' THEN 0 WHEN 'middle' THEN 1 ELSE 2 END + luck`,
        'hash(id, d, 8) % 100',
      ),
      'correlation ratio',
    ],
    [
      'categories of a regression',
      'regression',
      categories,
      world('x + luck', `'b' || round(3 * before)`, noise),
      'correlation ratio',
    ],
    [
      'categories of several classes',
      'multiclass',
      categories,
      world(threeClasses, `before || round(luck)`, noise),
      "Cramér's V",
    ],
    [
      'categories of two classes, where one is filled in late',
      'binary',
      categories,
      world('CAST(luck < x AS INTEGER)', `CASE WHEN before = 1 AND luck < 0.8 THEN NULL ELSE 'open' END`, noise),
      "Cramér's V",
    ],
  ])(
    '%s: what follows the outcome is suspected, what is honest or noise is not',
    async (name, task, columns, select, measure) => {
      const checks = await judge(`kinds-${name.replaceAll(/[ ,]/g, '-')}`, select, define(columns, { task }));
      expect(checks.map(({ column, status }) => [column, status])).toEqual([
        ['x', 'pass'],
        ['z', 'warn'],
        ['n', 'pass'],
      ]);
      const [honest, follower, luck] = checks;
      expect(follower?.details).toMatchObject({ measure });
      expect(follower?.value).toBeGreaterThan(0.3);
      // The first day has no outcome before it: NULL is no number, but a category.
      expect(follower?.rows).toBe((select.includes('before + ') ? 18 : 19) * 400);
      expect(Math.abs(luck?.value ?? 1)).toBeLessThan(0.05);
      expect(honest?.value).toBeLessThan(0);
    },
  );

  test('the squares that DuckDB counts are those of their definitions', async () => {
    const select = `SELECT partition, id, 'b' || round(3 * luck * x) AS z, round(20 * luck * x) AS n, round(9 * luck) AS y FROM (${days})`;
    const [number, category] = await judge(
      'by-hand',
      select,
      define(['{ name: n, type: double }', '{ name: z, type: category }'], { task: 'regression' }),
    );
    const last = `lead(partition) OVER (PARTITION BY id ORDER BY partition) IS NULL`;
    const rows = await bench.sql(
      `SELECT n, z, y, rank() OVER (ORDER BY y) + count(*) OVER (PARTITION BY y) / 2.0 AS r FROM (SELECT *, ${last} AS last FROM (${select})) WHERE NOT last`,
    );
    const column = (name: string) => Float64Array.from(rows, row => Number(row[name]));
    const groups = rows.map(({ z }) => String(z));
    const strength = (squared: number, degrees: number) =>
      correctedAssociation({ squared, degrees, most: 1, rows: rows.length }).value ?? -1;
    expect(number?.details['present']).toBeCloseTo(
      strength((spearman(column('n'), column('y')).value ?? 0) ** 2, 1),
      9,
    );
    const eta = correlationRatio(groups, column('r')).value ?? 0;
    expect(category?.details['present']).toBeCloseTo(strength(eta ** 2, new Set(groups).size - 1), 9);
  });

  test('keys that occur once have no later date', async () => {
    const select = `SELECT partition, 400 * d + id AS id, x, x AS z, id % 2 AS y FROM (${days})`;
    expect(await judge('once', select)).toMatchObject([
      { status: 'not_applicable', reason: expect.stringMatching(/no key occurs/) },
    ]);
  });
});

describe('T8', () => {
  const partition = async (day: string, late: number) => ({
    partition: day,
    inputs: [
      {
        path: await bench.parquet(
          `w-${day}.parquet`,
          `SELECT i AS id, DATE '${day}' AS as_of, 1.0 AS x,
            CASE WHEN i = 9 THEN NULL ELSE TIMESTAMP '${day} 20:00:00' + to_hours(CASE WHEN i < ${late} THEN 10 ELSE 0 END) END AS counted_to
            FROM range(10) t(i)`,
        ),
      },
    ],
    rows: 10,
    tables: {},
    labels: { files: [], keys: ['id'], column: 'y', positive: '1', only: null },
  });
  const judge = async (column: string, transform?: string) => {
    const definition = define([column], transform === undefined ? {} : { transform });
    return await aggregationChecks(
      definition,
      [await partition('2026-01-01', 0), await partition('2026-01-02', 3)],
      ask,
    );
  };

  test('a window that ends with the day is in time, a date stands for its whole day', async () => {
    expect(await judge('{ name: x, type: double, window: 30d }')).toMatchObject([
      {
        status: 'pass',
        column: 'x',
        rows: 20,
        reason: expect.stringMatching(/the 30 days that x is made of end at as_of, in no row/),
      },
    ]);
  });

  test('rows whose window ends after the prediction are counted, and those without an end told', async () => {
    const [check] = await judge('{ name: x, type: double, window: { length: 7d, ends: counted_to } }');
    expect(check).toMatchObject({
      status: 'fail',
      weight: 'blocking',
      rows: 18,
      value: 3 / 18,
      details: { unknown: 2, leadHours: 6 },
    });
  });

  test('the end may be a column that the transform makes, or one of the features that it leaves out', async () => {
    const made = 'SELECT id, x, as_of + INTERVAL 3 DAY AS until FROM features';
    expect(await judge('{ name: x, type: double, window: { length: 7d, ends: until } }', made)).toMatchObject([
      { status: 'fail', value: 1 },
    ]);
    expect(await judge('{ name: x, type: double, window: { length: 7d, ends: counted_to } }', made)).toMatchObject([
      { status: 'fail', value: 3 / 18 },
    ]);
  });

  test('a column that is nowhere is named, with those there are', async () => {
    expect(await judge('{ name: x, type: double, window: { length: 7d, ends: gone } }')).toMatchObject([
      {
        status: 'error',
        reason: expect.stringMatching(
          /ends at gone, which is no column of the features; they have id, as_of, x, counted_to/,
        ),
      },
    ]);
  });
});

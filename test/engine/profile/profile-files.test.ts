import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Baseline, CategoryProfile, NumericProfile, Profile, TimeProfile } from '../../../src/domain/profile.ts';
import { mergeProfile, mergeProfiles } from '../../../src/domain/profile-merge.ts';
import { DuckDbSession } from '../../../src/engine/duckdb.ts';
import { buildBaseline } from '../../../src/engine/profile/baseline.ts';
import { type ProfileFilesOptions, profileFiles } from '../../../src/engine/profile/profile-files.ts';
import { momentsOf } from '../../../src/stats/moments.ts';

let folder: string;
let session: DuckDbSession;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'almanac-profile-'));
  session = await DuckDbSession.open({ files: [], folders: [folder], limits: { scratch: folder, memoryMb: 2000 } });
});
afterAll(() => {
  session.close();
  rmSync(folder, { recursive: true });
});

let files = 0;

async function parquet(select: string): Promise<string> {
  const path = join(folder, `rows-${files++}.parquet`);
  await session.run(`COPY (${select}) TO '${path}' (FORMAT parquet, COMPRESSION zstd)`);
  return path;
}

/** Builds the baseline from the files and profiles them on it. */
async function profileOf(paths: readonly string[], more: Partial<ProfileFilesOptions> = {}): Promise<Profile> {
  const baseline = more.baseline ?? (await baselineOf(paths[0]!));
  return profileFiles(session, {
    dataset: 'test',
    kind: 'window',
    baselineDigest: 'b1',
    files: paths,
    ...more,
    baseline,
  });
}

function baselineOf(path: string, more: { sentinels?: Record<string, number[]> } = {}): Promise<Baseline> {
  const relation = `SELECT * FROM read_parquet('${path}')`;
  return buildBaseline(session, { relation, number: 1, reason: 'first', score: { kind: 'probability' }, ...more });
}

function numeric(profile: Profile, name: string): NumericProfile {
  const column = profile.columns[name];
  if (column?.kind !== 'numeric') throw new Error(`${name} is ${column?.kind}`);
  return column;
}

function category(profile: Profile, name: string): CategoryProfile {
  const column = profile.columns[name];
  if (column?.kind !== 'category') throw new Error(`${name} is ${column?.kind}`);
  return column;
}

function time(profile: Profile, name: string): TimeProfile {
  const column = profile.columns[name];
  if (column?.kind !== 'time') throw new Error(`${name} is ${column?.kind}`);
  return column;
}

const listOf = (value: unknown): number[] => (Array.isArray(value) ? value.map(Number) : []);

const sum = (counts: readonly number[]): number => counts.reduce((total, count) => total + count, 0);

/** Ten thousand rows of every kind, with NULLs, NaN, infinities, ties and heavy tails. */
const MIXED = `
  SELECT i AS id,
    CASE WHEN i % 97 = 0 THEN NULL WHEN i % 101 = 0 THEN 'nan'::FLOAT WHEN i % 103 = 0 THEN 'inf'::FLOAT
         WHEN i % 107 = 0 THEN '-inf'::FLOAT ELSE (random() + random() + random())::FLOAT END AS f,
    exp(6 * (random() - 0.5))::DOUBLE + 1e9 AS shifted,
    CASE WHEN i % 10 = 0 THEN -1 ELSE (random() * 1000)::INTEGER + 5 END AS counts,
    (random() * 5)::TINYINT AS small, i % 3 = 0 AS flag, (i * 7)::DECIMAL(12, 2) AS amount,
    ['web', 'app', 'branch', '<b>x</b>', ''][1 + (i % 5)] AS channel,
    TIMESTAMP '2026-01-01' + INTERVAL (i) MINUTE AS at, DATE '2026-01-01' + (i // 1000)::INTEGER AS day,
    (i % 2)::INTEGER AS label, random() AS score
  FROM range(10000) t(i)`;

describe('one scan', () => {
  test('counts what SQL counts', async () => {
    const path = await parquet(MIXED);
    const profile = await profileOf([path]);
    const [sql] = await session.rows(`
      SELECT count(*) AS n, count(*) - count(f) AS nulls, count(*) FILTER (isnan(f)) AS nan,
        count(*) FILTER (f = 'inf') AS pinf, count(*) FILTER (f = '-inf') AS ninf,
        min(f) FILTER (isfinite(f)) AS low, max(f) FILTER (isfinite(f)) AS high,
        avg(f::DOUBLE) FILTER (isfinite(f)) AS mean, stddev_pop(f::DOUBLE) FILTER (isfinite(f)) AS sd,
        kurtosis_pop(f::DOUBLE) FILTER (isfinite(f)) AS kurtosis
      FROM '${path}'`);
    const f = numeric(profile, 'f');
    expect(profile.rows).toBe(10_000);
    expect([f.n, f.nulls, f.nan, f.positiveInfinity, f.negativeInfinity]).toEqual(
      ['n', 'nulls', 'nan', 'pinf', 'ninf'].map(name => Number(sql?.[name])),
    );
    expect([f.min, f.max]).toEqual([sql?.['low'], sql?.['high']]);
    const finite = f.n - f.nulls - f.nan - f.positiveInfinity - f.negativeInfinity;
    expect(sum(f.histogram)).toBe(finite);
    const moments = momentsOf({ ...f, n: finite }).value;
    expect(moments?.mean).toBeCloseTo(Number(sql?.['mean']), 12);
    expect(moments?.sd).toBeCloseTo(Number(sql?.['sd']), 12);
    expect((moments?.kurtosis.value ?? 0) - 3).toBeCloseTo(Number(sql?.['kurtosis']), 8);
  });

  test.each(['f', 'shifted', 'counts', 'small', 'amount', 'id'])(
    'bins %s as DuckDB does on the same edges',
    async name => {
      const path = await parquet(MIXED);
      const baseline = await baselineOf(path);
      const profile = await profileOf([path], { baseline });
      const edges = baseline.columns[name];
      if (edges?.kind !== 'numeric') throw new Error('no edges');
      const list = edges.edges.map(edge => `'${edge}'::DOUBLE`).join(', ');
      const [row] = await session.rows(
        `SELECT map_values(histogram(${name}::DOUBLE, [${list}]) FILTER (isfinite(${name}::DOUBLE))) AS counts FROM '${path}'`,
      );
      const counts = listOf(row?.['counts']);
      // DuckDB leaves the overflow bin out when it is empty.
      while (counts.length < edges.edges.length + 1) counts.push(0);
      expect(numeric(profile, name).histogram).toEqual(counts);
    },
  );

  test('counts categories, empty texts and values outside the vocabulary', async () => {
    const reference = await parquet(MIXED);
    const baseline = await baselineOf(reference);
    const path = await parquet(
      `SELECT ['web', 'APP ', NULL, '', 'web', '<script>'][1 + (i % 6)] AS channel FROM range(60) t(i)`,
    );
    const channel = category(await profileOf([path], { baseline }), 'channel');
    const edges = baseline.columns['channel'];
    if (edges?.kind !== 'category') throw new Error('no vocabulary');
    expect(channel).toMatchObject({ n: 60, nulls: 10, empty: 10, unseen: 20 });
    expect(channel.counts[edges.vocabulary.indexOf('web')]).toBe(20);
    expect(channel.unseenTop).toEqual([
      ['<script>', 10],
      ['APP ', 10],
    ]);
    expect(channel.length).toEqual({ min: 0, max: 8, sum: 180 });
  });

  test('never shows unseen values of personal data', async () => {
    const path = await parquet(`SELECT 'ana@example.org' AS mail FROM range(3)`);
    const baseline = await baselineOf(await parquet(`SELECT 'other' AS mail`));
    const mail = category(await profileOf([path], { baseline, personal: ['mail'] }), 'mail');
    expect([mail.unseen, mail.unseenTop]).toEqual([3, []]);
  });

  test('keeps instants of mixed zones, infinite times and days apart', async () => {
    const path = await parquet(`
      SELECT moment FROM (VALUES (TIMESTAMPTZ '2026-03-01 01:00:00+02'), ('2026-03-01 12:00:00-08'), ('infinity'), (NULL)) t(moment)`);
    const profile = await profileOf([path], { eventTime: 'moment', asOf: '2026-03-01T06:00:00Z' });
    expect(time(profile, 'moment')).toMatchObject({
      n: 4,
      nulls: 1,
      infinite: 1,
      min: '2026-02-28T23:00:00.000Z',
      max: '2026-03-01T20:00:00.000Z',
      days: { '2026-02-28': 1, '2026-03-01': 1 },
    });
    expect(profile.time).toEqual({ maxEvent: '2026-03-01T20:00:00.000Z', maxKnownAt: null, futureRows: 1 });
  });

  test('keeps histograms by label that add up, with missing values at the end', async () => {
    const path = await parquet(MIXED.replace('(i % 2)::INTEGER AS label', 'nullif(i % 3, 2)::INTEGER AS label'));
    const profile = await profileOf([path], { label: 'label', score: 'score' });
    const [sql] = await session.rows(
      `SELECT count(*) FILTER (f IS NULL OR isnan(f)) AS missing, count(*) FILTER (isfinite(f)) AS finite FROM '${path}' WHERE label = 1`,
    );
    const byLabel = profile.byLabel?.['f'];
    expect(byLabel?.positives.at(-1)).toBe(Number(sql?.['missing']));
    expect(sum(byLabel?.positives.slice(0, -1) ?? [])).toBe(Number(sql?.['finite']));
    const plain = await profileOf([path]);
    // The label changes how rows are grouped, not what is counted; only the sums round in another order.
    expect(numeric(profile, 'f').histogram).toEqual(numeric(plain, 'f').histogram);
    expect(profile.columns['channel']).toEqual(plain.columns['channel']);
    expect(sum(profile.score?.positives ?? [])).toBe(3333);
    expect(sum(profile.score?.unlabelled ?? [])).toBe(3333);
  });

  test('profiles declared slices as if they were files of their own', async () => {
    const path = await parquet(MIXED);
    const baseline = await baselineOf(path);
    const profile = await profileOf([path], { baseline, slices: ['channel'] });
    const alone = await profileOf([await parquet(`SELECT * FROM '${path}' WHERE channel = 'app'`)], { baseline });
    const slice = profile.slices.find(({ slice: name }) => name === 'channel=app');
    expect(profile.slices).toHaveLength(5);
    expect(slice?.rows).toBe(alone.rows);
    expect(slice?.columns['channel']).toEqual(alone.columns['channel']);
    expect(slice?.columns['at']).toEqual(alone.columns['at']);
    expect(numeric(slice!, 'f').histogram).toEqual(numeric(alone, 'f').histogram);
  });

  test('is byte-equal when repeated', async () => {
    const path = await parquet(MIXED);
    const baseline = await baselineOf(path);
    const texts = [await profileOf([path], { baseline }), await profileOf([path], { baseline })].map(profile =>
      JSON.stringify(profile),
    );
    expect(texts[1]).toBe(texts[0]);
    expect(JSON.stringify(await baselineOf(path))).toBe(JSON.stringify(baseline));
  });
});

describe('a baseline', () => {
  test('samples the rows that a documented hash chooses, whatever the engine', async () => {
    const rows = 300_000;
    const path = await parquet(`SELECT i::DOUBLE AS x FROM range(${rows}) t(i)`);
    const limit = Math.floor((250_000 / rows) * 2 ** 32);
    const chosen = Array.from({ length: rows }, (_, i) => i).filter(i => Math.imul(i + 1, 2_654_435_769) >>> 0 < limit);
    const x = (await baselineOf(path)).columns['x'];
    if (x?.kind !== 'numeric') throw new Error('no edges');
    const at = 0.5 * (chosen.length - 1);
    expect(x.pivot).toBe((chosen[Math.floor(at)]! + chosen[Math.ceil(at)]!) / 2);
    // The extremes are those of all rows.
    expect(x.edges).toEqual(expect.arrayContaining([-5e-324, rows - 1]));
  });

  test('has finite edges that ascend, whatever the values', async () => {
    const path = await parquet(`
      SELECT unnest([0, -0.0, 1e-320, -1e308, 1e308, 'nan', 'inf', '-inf', NULL, 5])::DOUBLE AS odd,
        unnest([1e9, 1e9 + 1e-7, 1e9, 1e9, 1e9, 1e9, 1e9, 1e9, 1e9, 1e9])::DOUBLE AS close`);
    for (const edges of Object.values((await baselineOf(path)).columns)) {
      if (edges.kind !== 'numeric') throw new Error('no edges');
      expect(edges.edges.every(Number.isFinite)).toBe(true);
      expect(edges.edges.every((edge, i) => i === 0 || edge > edges.edges[i - 1]!)).toBe(true);
    }
  });

  test('of values without any finite one has no edges', async () => {
    const baseline = await baselineOf(await parquet(`SELECT unnest(['nan'::DOUBLE, 'inf', NULL]) AS x`));
    expect(baseline.columns['x']).toMatchObject({ edges: [], fences: null });
  });
});

describe('merge', () => {
  test('of two files equals the profile of both', async () => {
    const [a, b] = [await parquet(`${MIXED} WHERE i < 3777`), await parquet(`${MIXED} WHERE i >= 3777`)];
    const baseline = await baselineOf(a);
    const options = { baseline, label: 'label', slices: ['channel'], keys: { columns: ['id'], scratch: folder } };
    const merged = mergeProfile(await profileOf([a], options), await profileOf([b], options));
    const whole = await profileOf([a, b], options);
    expect(merged.keys).toEqual({ columns: ['id'], duplicates: 0, exact: false });
    expect(withoutSums(merged)).toEqual({ ...withoutSums(whole), keys: merged.keys });
    for (const [name, column] of Object.entries(whole.columns)) {
      if (column.kind !== 'numeric') continue;
      const other = numeric(merged, name);
      // Odd powers cancel about the pivot, so they are judged on the scale of their terms.
      const scale = Math.sqrt(column.s2 / column.n);
      expect(Math.abs(other.s1 - column.s1)).toBeLessThanOrEqual(1e-12 * column.n * scale);
      expect(Math.abs(other.s2 - column.s2)).toBeLessThanOrEqual(1e-12 * column.s2);
      expect(Math.abs(other.s4 - column.s4)).toBeLessThanOrEqual(1e-12 * column.s4);
    }
  });

  test('refuses profiles on other edges, and no profiles', async () => {
    const profile = await profileOf([await parquet(MIXED)]);
    expect(() => mergeProfile(profile, { ...profile, baseline: 'b2' })).toThrow(/different edges.*b1 and b2/);
    expect(() => mergeProfiles([])).toThrow(/at least one/);
  });
});

/** Everything that merges exactly. */
function withoutSums(profile: Profile): Record<string, unknown> {
  return JSON.parse(
    JSON.stringify(profile, (key, value: unknown) => (/^s[1-4]$|^logLossSum$|^brierSum$/.test(key) ? 0 : value)),
  );
}

describe('keys', () => {
  test.each([
    ['one whole number', ['i'], 'SELECT unnest([1, 2, 2, 3, 3, 3, NULL, NULL]) AS i', 4],
    [
      'texts that only differ in their cut',
      ['a', 'b'],
      `SELECT * FROM (VALUES ('a', 'bc'), ('ab', 'c'), ('1:a', NULL), (NULL, '1:a')) t(a, b)`,
      0,
    ],
    ['composite keys', ['a', 'b'], `SELECT i % 10 AS a, (i % 7)::VARCHAR AS b FROM range(100) t(i)`, 30],
  ])('counts duplicates of %s exactly', async (_, columns, select, expected) => {
    const profile = await profileOf([await parquet(select)], { keys: { columns, scratch: folder } });
    expect(profile.keys).toEqual({ columns, duplicates: expected, exact: true });
  });

  test('names a key column that is not there', async () => {
    const path = await parquet('SELECT 1 AS a');
    await expect(profileOf([path], { keys: { columns: ['id'], scratch: folder } })).rejects.toThrow(/id.*among a/);
  });
});

describe('traps of the engine that SQL profiles fall into', () => {
  test('NaN is counted as NaN and not in the first bin', async () => {
    const baseline = await baselineOf(await parquet('SELECT i::DOUBLE AS x FROM range(1000) t(i)'));
    const x = numeric(await profileOf([await parquet(`SELECT 'nan'::DOUBLE AS x FROM range(5)`)], { baseline }), 'x');
    expect([x.nan, sum(x.histogram), x.min, x.max]).toEqual([5, 0, null, null]);
  });

  test('NaN among numbers spoils neither sum nor extremes', async () => {
    const x = numeric(await profileOf([await parquet(`SELECT unnest([1.0, 'nan'::DOUBLE, 3.0]) AS x`)]), 'x');
    expect([x.nan, x.min, x.max]).toEqual([1, 1, 3]);
    expect(momentsOf({ ...x, n: 2 }).value?.mean).toBe(2);
  });

  test('values beyond the edges are counted in guard bins', async () => {
    const edges = { kind: 'numeric', edges: [10, 20], pivot: 0, fences: null, sentinels: [] } as const;
    const baseline: Baseline = { schema: 'baseline/1', columns: { x: edges }, score: null, number: 1, reason: 'r' };
    const path = await parquet('SELECT unnest([-1e30, 10, 15, 20, 21, 1e30])::DOUBLE AS x');
    expect(numeric(await profileOf([path], { baseline }), 'x').histogram).toEqual([2, 2, 2]);
  });

  test('truth values and decimals are numbers like any other', async () => {
    const path = await parquet(`SELECT i % 4 = 0 AS flag, (i / 10)::DECIMAL(9, 2) AS amount FROM range(1, 101) t(i)`);
    const profile = await profileOf([path]);
    const edges = (await baselineOf(path)).columns['flag'];
    // Two point bins, for 0 and for 1.
    expect(edges).toMatchObject({ edges: [-5e-324, 0, 1 - 2 ** -53, 1] });
    expect(numeric(profile, 'flag')).toMatchObject({ min: 0, max: 1, histogram: [0, 75, 0, 25, 0] });
    expect(numeric(profile, 'amount')).toMatchObject({ min: 0.1, max: 10 });
  });

  test('one infinity neither throws nor spoils the moments', async () => {
    const path = await parquet(`SELECT unnest([1.0, 2.0, 3.0, 'inf'::DOUBLE, '-inf'::DOUBLE]) AS x`);
    const x = numeric(await profileOf([path]), 'x');
    expect([x.positiveInfinity, x.negativeInfinity, x.min, x.max]).toEqual([1, 1, 1, 3]);
    expect(momentsOf({ ...x, n: 3 }).value?.mean).toBe(2);
  });

  test('a large offset does not turn the variance negative', async () => {
    const x = numeric(await profileOf([await parquet('SELECT 1e9 + i % 2 AS x FROM range(10000) t(i)')]), 'x');
    expect(momentsOf(x).value?.variance).toBeCloseTo(0.25, 12);
  });

  test('bins are (low, high]: an edge belongs to the bin below it, also in 32 bits', async () => {
    for (const type of ['DOUBLE', 'FLOAT']) {
      const path = await parquet(`SELECT unnest([0.5, 0.1, 0.25, 0.5, 0.75])::${type} AS x`);
      const edges = { kind: 'numeric', edges: [0.1, 0.25, 0.5], pivot: 0, fences: null, sentinels: [] } as const;
      const baseline: Baseline = { schema: 'baseline/1', columns: { x: edges }, score: null, number: 1, reason: 'r' };
      const x = numeric(await profileOf([path], { baseline }), 'x');
      // 0.1 as a 32-bit float is 0.100000001…, which lies above the edge.
      expect(x.histogram).toEqual(type === 'DOUBLE' ? [1, 1, 2, 1] : [0, 2, 2, 1]);
    }
  });

  test('a real maximum integer and a real empty text do not collide with "other"', async () => {
    const path = await parquet(`SELECT unnest([2147483647, 1, 2]) AS i, unnest(['', 'a', 'b']) AS t`);
    const profile = await profileOf([path]);
    expect(numeric(profile, 'i')).toMatchObject({ max: 2_147_483_647 });
    expect(category(profile, 't')).toMatchObject({ empty: 1, unseen: 0 });
  });

  test('NULL slots hold garbage that is never read', async () => {
    const path = await parquet(`SELECT CASE WHEN i % 2 = 0 THEN 1e30 END AS x FROM range(5000) t(i)`);
    const x = numeric(await profileOf([path]), 'x');
    expect([x.nulls, x.min, x.max, sum(x.histogram)]).toEqual([2500, 1e30, 1e30, 2500]);
  });
});

describe('bad input', () => {
  test.each([
    ['all NULL', 'SELECT NULL::DOUBLE AS x FROM range(10)', { nulls: 10, min: null, max: null, s2: 0 }],
    ['constant', 'SELECT 7.5 AS x FROM range(10)', { min: 7.5, max: 7.5, s1: 0, s2: 0 }],
    ['one row', 'SELECT 3::BIGINT AS x', { n: 1, min: 3, max: 3 }],
    ['no rows', 'SELECT 3.0 AS x WHERE false', { n: 0, min: null }],
    ['1e308', 'SELECT unnest([1e308, -1e308, 1e308])::DOUBLE AS x', { min: -1e308, max: 1e308, s2: Number.MAX_VALUE }],
    ['beyond 2^53', 'SELECT 9223372036854775807 AS x', { min: 2 ** 63, max: 2 ** 63 }],
  ])('%s', async (_, select, expected) => {
    const profile = await profileOf([await parquet(select)]);
    const x = numeric(profile, 'x');
    expect(x).toMatchObject(expected);
    // NaN and infinities would come back as null.
    expect(JSON.parse(JSON.stringify(profile))).toEqual(profile);
    expect(sum(x.histogram)).toBe(x.n - x.nulls);
  });

  test('ten thousand categories and one more', async () => {
    const path = await parquet(`SELECT 'c' || (i % 10001) AS c FROM range(20002) t(i)`);
    const profile = await profileOf([path]);
    const c = category(profile, 'c');
    expect([c.counts.length, sum(c.counts), c.unseen]).toEqual([10_000, 20_000, 2]);
  });

  test('sentinels are counted apart, learned at the ends and as declared', async () => {
    const path = await parquet(
      `SELECT CASE WHEN i % 20 = 0 THEN -1 ELSE 100 + random() * i END AS x FROM range(4000) t(i)`,
    );
    const learned = numeric(await profileOf([path]), 'x');
    expect(learned.sentinels).toEqual({ '-1': 200 });
    const declared = await baselineOf(path, { sentinels: { x: [-1, 999] } });
    expect(numeric(await profileOf([path], { baseline: declared }), 'x').sentinels).toEqual({ '-1': 200, '999': 0 });
  });

  test('a file with a corrupt page fails instead of ending early', async () => {
    const path = await parquet('SELECT (i * 7919 % 100003)::DOUBLE AS x FROM range(300000) t(i)');
    const { readFileSync, writeFileSync } = await import('node:fs');
    const bytes = readFileSync(path);
    // The header of the first page stands right after the magic number.
    bytes.fill(0xff, 4, 60);
    const broken = join(folder, 'broken.parquet');
    writeFileSync(broken, bytes);
    const baseline = await baselineOf(path);
    await expect(profileOf([broken], { baseline })).rejects.toThrow();
  });
});

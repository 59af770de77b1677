/**
 * Profiles some files on a baseline and prints what it cost, without start-up: node … profile-child.js BASELINE FILE…
 * The document is checked to be complete before the figures are printed.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Baseline, Profile } from '../../src/domain/profile.ts';
import { DuckDbSession } from '../../src/engine/duckdb.ts';
import { countDuplicateKeys, writeKeyHashes } from '../../src/engine/profile/keys.ts';
import { profileFiles } from '../../src/engine/profile/profile-files.ts';
import { readerCall } from '../../src/engine/sql.ts';

const [baselinePath, ...files] = process.argv.slice(2);
if (baselinePath === undefined || files.length === 0) throw new Error('usage: profile-child BASELINE FILE…');
const baseline: Baseline = JSON.parse(readFileSync(baselinePath, 'utf8'));
const scratch = mkdtempSync(join(tmpdir(), 'almanac-bench-'));
const session = await DuckDbSession.open({ files, folders: [dirname(files[0]!)], limits: { scratch, memoryMb: 2000 } });
const columns = Object.keys(baseline.columns);
const scan = await timed(() =>
  profileFiles(session, { dataset: 'bench', kind: 'window', baseline, baselineDigest: 'bench', files, columns }),
);
// Before the keys, whose pass sorts on disk and may take what memory the session has.
const rssMb = process.resourceUsage().maxRSS / 1024;
const problem = incomplete(scan.result);
if (problem !== null) throw new Error(`the profile is incomplete: ${problem}`);
const path = join(scratch, 'keys.parquet');
const keys = await timed(async () => {
  await writeKeyHashes(session, { relation: `SELECT * FROM ${readerCall('parquet', files)}`, keys: ['id'], path });
  return countDuplicateKeys(session, [path]);
});
session.close();
rmSync(scratch, { recursive: true });
process.stdout.write(
  `${JSON.stringify({
    cpu: scan.cpu,
    wall: scan.wall,
    rows: scan.result.rows,
    rssMb,
    keysCpu: keys.cpu,
    duplicates: keys.result,
  })}\n`,
);

async function timed<T>(work: () => Promise<T>): Promise<{ result: T; cpu: number; wall: number }> {
  const began = performance.now();
  const cpu = process.cpuUsage();
  const result = await work();
  const used = process.cpuUsage(cpu);
  return { result, cpu: (used.user + used.system) / 1e6, wall: (performance.now() - began) / 1000 };
}

/** What the document lacks, or null. */
function incomplete(profile: Profile): string | null {
  for (const [name, column] of Object.entries(profile.columns)) {
    if (column.kind !== 'numeric') return `${name} is ${column.kind}`;
    const counted = column.histogram.reduce((total, count) => total + count, 0);
    const finite = column.n - column.nulls - column.nan - column.positiveInfinity - column.negativeInfinity;
    if (counted !== finite || column.n !== profile.rows) return `${name} counts ${counted} of ${finite} rows`;
    const moments = [column.s1, column.s2, column.s3, column.s4, column.min, column.max];
    if (!moments.every(Number.isFinite)) return `${name} has no moments`;
  }
  return Object.keys(profile.columns).length === columns.length ? null : 'columns are missing';
}

/**
 * One judgement as a whole process: node … judge-child.js BASELINE CURRENT REFERENCE. Profiles the current file, judges its
 * drift against the reference, which is a ready profile (.json) or rows to profile as well (.parquet), or `-` for none, and
 * runs the 90 checks of the bench: no NULL, range and mean of every column. The profile goes to stdout where asked for.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { checkDrift } from '../../src/checks/drift.ts';
import { validateData } from '../../src/checks/validation.ts';
import type { Contract, ContractColumn } from '../../src/domain/contract.ts';
import type { CheckResult } from '../../src/domain/evidence.ts';
import type { Baseline, Profile } from '../../src/domain/profile.ts';
import { DuckDbSession } from '../../src/engine/duckdb.ts';
import { profileFiles } from '../../src/engine/profile/profile-files.ts';
import { momentsOf } from '../../src/stats/moments.ts';

const [baselinePath, current, reference, profilePath] = process.argv.slice(2);
if (baselinePath === undefined || current === undefined || reference === undefined) {
  throw new Error('usage: judge-child BASELINE CURRENT REFERENCE [PROFILE TO WRITE]');
}
const baseline: Baseline = JSON.parse(readFileSync(baselinePath, 'utf8'));
const scratch = mkdtempSync(join(tmpdir(), 'almanac-bench-'));
const names = Object.keys(baseline.columns);
const profile = await profileOf(current);
const before = reference === '-' ? null : await referenceOf(reference);
const contract = contractOf(names);
const drift =
  before === null
    ? []
    : checkDrift({
        contract,
        profile,
        reference: before,
        baseline,
        limits: { warn: 0.1, alert: 0.25, minRows: 1000 },
        importance: null,
        history: [],
      });
const checks = [
  ...validateData({ contract, profile, reference: null, baseline, history: [], asOf: '2026-01-01T00:00:00Z' }).filter(
    ({ check, column }) => column !== null && ['range', 'missing'].includes(check),
  ),
  ...names.map(name => ({ status: meanOf(profile, name) })),
];
if (profilePath !== undefined) writeFileSync(profilePath, JSON.stringify(profile));
rmSync(scratch, { recursive: true });
const { userCPUTime, systemCPUTime, maxRSS } = process.resourceUsage();
process.stdout.write(
  `${JSON.stringify({
    cpu: (userCPUTime + systemCPUTime) / 1e6,
    rssMb: maxRSS / 1024,
    rows: profile.rows,
    drifts: drift.filter(({ check, value }) => check === 'drift' && value !== null).length,
    checks: checks.length,
    passed: checks.filter(({ status }) => status === 'pass').length,
  })}\n`,
);

async function profileOf(path: string): Promise<Profile> {
  const session = await DuckDbSession.open({
    files: [path],
    folders: [dirname(path)],
    limits: { scratch, memoryMb: 2000 },
  });
  try {
    const options = { dataset: 'bench', kind: 'window', baseline, baselineDigest: 'bench', columns: names } as const;
    return await profileFiles(session, { ...options, files: [path] });
  } finally {
    session.close();
  }
}

async function referenceOf(path: string): Promise<Profile> {
  return path.endsWith('.json') ? (JSON.parse(readFileSync(path, 'utf8')) as Profile) : profileOf(path);
}

function contractOf(columns: readonly string[]): Contract {
  const column = (name: string): ContractColumn => ({
    name,
    type: 'float',
    role: 'feature',
    min: -100,
    max: 1000,
    nulls: { maxShare: 0, as: 'nan', default: null },
    values: null,
    unseen: 'other',
    unique: false,
    onFail: 'block',
    pii: false,
  });
  return {
    keys: [],
    eventTime: null,
    knownAt: null,
    columns: columns.map(column),
    rules: [],
    forbidden: [],
    quarantineBudget: 0,
  };
}

function meanOf(of: Profile, name: string): CheckResult['status'] {
  const column = of.columns[name];
  if (column?.kind !== 'numeric') return 'error';
  const n = column.n - column.nulls - column.nan - column.positiveInfinity - column.negativeInfinity;
  const mean = momentsOf({ ...column, n }).value?.mean ?? Number.NaN;
  return mean >= -1 && mean <= 10 ? 'pass' : 'fail';
}

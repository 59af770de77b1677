/** Drift of two ready profiles: the check as it runs in production, verdicts, details and reasons included. */
import { performance } from 'node:perf_hooks';
import { checkDrift } from '../../src/checks/drift.ts';
import type { Contract } from '../../src/domain/contract.ts';
import type { Baseline, Profile } from '../../src/domain/profile.ts';
import { createRandom } from '../../src/stats/random.ts';

const ROUNDS = 15;
const BINS = 104;

export interface DriftTime {
  readonly firstMs: number;
  /** Least CPU of a repeated call, in milliseconds. */
  readonly cpuMs: number;
}

/** Two profiles of so many columns of 104 bins. */
export function timeDrift(columns: number): DriftTime {
  const random = createRandom(1);
  const names = Array.from({ length: columns }, (_, i) => `f${i}`);
  const edges = Array.from({ length: BINS - 1 }, (_, i) => i / 10);
  const counts = (): number[] => Array.from({ length: BINS }, () => 9000 + Math.floor(2000 * random.next()));
  const contract: Contract = {
    keys: [],
    eventTime: null,
    knownAt: null,
    columns: names.map(name => ({
      name,
      type: 'double',
      role: 'feature',
      min: null,
      max: null,
      nulls: { maxShare: 1, as: 'nan', default: null },
      values: null,
      unseen: 'other',
      unique: false,
      onFail: 'block',
      pii: false,
    })),
    rules: [],
    forbidden: [],
    quarantineBudget: 0,
  };
  const numericEdges = { kind: 'numeric', edges, pivot: 5, fences: null, sentinels: [] } as const;
  const baseline: Baseline = {
    schema: 'baseline/1',
    columns: Object.fromEntries(names.map(name => [name, numericEdges])),
    score: null,
    number: 1,
    reason: 'bench',
  };
  const input = {
    contract,
    profile: profileOf(names, counts),
    reference: profileOf(names, counts),
    baseline,
    limits: { warn: 0.1, alert: 0.25, minRows: 1000 },
    importance: null,
    history: [],
  };
  let firstMs = 0;
  let cpuMs = Infinity;
  for (let round = 0; round < ROUNDS; round++) {
    const [began, cpu] = [performance.now(), process.cpuUsage()];
    const judged = checkDrift(input).filter(({ check, value }) => check === 'drift' && value !== null).length;
    if (judged !== columns) throw new Error(`judged ${judged} of ${columns} columns`);
    if (round === 0) firstMs = performance.now() - began;
    const used = process.cpuUsage(cpu);
    cpuMs = Math.min(cpuMs, (used.user + used.system) / 1000);
  }
  return { firstMs, cpuMs };
}

function profileOf(names: readonly string[], counts: () => number[]): Profile {
  const columns = names.map(name => {
    const histogram = counts();
    const n = histogram.reduce((total, count) => total + count, 0);
    const found = { nulls: 0, nan: 0, positiveInfinity: 0, negativeInfinity: 0, sentinels: {}, min: -1, max: 11 };
    const sums = { pivot: 5, s1: 0, s2: 9 * n, s3: 0, s4: 146 * n };
    return [name, { kind: 'numeric', type: 'DOUBLE', n, ...found, ...sums, histogram }] as const;
  });
  return {
    schema: 'profile/1',
    dataset: 'bench',
    kind: 'window',
    window: null,
    slice: null,
    engine: 'bench',
    baseline: 'bench',
    rows: columns[0]?.[1].n ?? 0,
    columns: Object.fromEntries(columns),
    keys: null,
    time: { maxEvent: null, maxKnownAt: null, futureRows: 0 },
    byLabel: null,
    score: null,
    rules: [],
    slices: [],
  };
}

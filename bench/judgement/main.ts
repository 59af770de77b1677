/**
 * `npm run bench -- judgement`: profiles, drift and checks against the tools people use, on the same files in the same
 * minutes. Figures are CPU seconds, which survive a busy machine better than wall time:
 *
 *   - the profile kernel against the best hand-written script (numba), 10M × 30 floats, two processes each, without
 *     start-up, imports and compilation on either side;
 *   - whole processes, imports included, over 1.25M × 30 rows against Evidently, whylogs, Great Expectations and pandera;
 *   - what the profile adds to scoring, drift of ready profiles, and a table of 1,000 columns.
 */
import type { BenchOptions, BenchResult, Ratio } from '../main.ts';
import { wantedParts } from '../parts.ts';
import { compileChildren, runChild } from './children.ts';
import { type Cost, median } from './cost.ts';
import { CACHE, type Data, FEATURES, FILES, prepareRows, prepareWide, ROWS_PER_FILE } from './data.ts';
import { timeDrift } from './drift.ts';
import { timeFused } from './fused.ts';
import { lastLine, type Peer, type PeerName, peerNames, preparePeer, runPeer } from './peers.ts';

const ROUNDS = 3;
/** The profile is a small part of scoring, and the difference of two jobs needs quiet moments of both. */
const FUSED_ROUNDS = 7;
const MEMORY_MB_MAX = 2048;
/** The two slow peers take two minutes each on a quiet machine, and got their time on one at a third of its speed. */
const PEER_MS_MAX = 480_000;
const PEER_MS_MAX_FULL = 3_600_000;

interface Report {
  readonly ratios: Ratio[];
  readonly notes: string[];
  peakRssMb: number;
}

type Peers = Partial<Record<PeerName, Peer>>;

export async function run(options: BenchOptions): Promise<BenchResult & { peakRssMb: number }> {
  const report: Report = { ratios: [], notes: [], peakRssMb: 0 };
  const data = await prepareRows(options.log);
  report.notes.push(`baseline of ${ROWS_PER_FILE} × ${FEATURES} rows: ${data.baselineCpu.toFixed(1)} CPU s`);
  await compileChildren();
  const peers: Peers = {};
  for (const name of peerNames) {
    const peer = await preparePeer(name, options.log);
    if ('reason' in peer) report.notes.push(`no comparison: ${peer.reason}`);
    else peers[name] = peer;
  }
  for (const part of wantedParts(Object.keys(PARTS), options)) await PARTS[part]!(data, peers, report, options);
  return { bench: 'judgement', rounds: ROUNDS, ...report };
}

type Part = (data: Data, peers: Peers, report: Report, options: BenchOptions) => Promise<void>;

const PARTS: Readonly<Record<string, Part>> = {
  kernels: compareKernels,
  processes: compareProcesses,
  alone: measureAlone,
};

/** (a) the numba script's figures, (b) the full record on frozen edges; both with the shipped code. */
async function compareKernels(data: Data, peers: Peers, report: Report, { log }: BenchOptions): Promise<void> {
  const [numba, equal, full]: [number[], number[], number[]] = [[], [], []];
  for (let round = 1; round <= ROUNDS; round++) {
    // In turn, so that a slow minute hits all three.
    if (peers.numba !== undefined) numba.push(await profileWithNumba(peers.numba, data.files));
    equal.push(cpuOf(await profileInHalves(data.equalWidth, data.files), report));
    const parts = await profileInHalves(data.frozen, data.files);
    full.push(cpuOf(parts, report));
    const keys = parts.reduce((total, part) => total + part.keysCpu, 0);
    const found = [numba.at(-1), equal.at(-1), full.at(-1)].map(cpu => cpu?.toFixed(2) ?? 'no').join(', ');
    log(`round ${round}: numba, equal bins, full record: ${found} CPU s; key duplicates ${keys.toFixed(2)} apart`);
    if (round === ROUNDS)
      report.notes.push(`key duplicates of ${FILES * ROWS_PER_FILE} rows: ${keys.toFixed(2)} CPU s`);
  }
  const cells = FILES * ROWS_PER_FILE * FEATURES;
  const perCell = (list: readonly number[]): string => `${((median(list) * 1e9) / cells).toFixed(2)} ns`;
  report.notes.push(`CPU per cell, decode included: equal bins ${perCell(equal)}, full record ${perCell(full)}`);
  if (numba.length > 0) {
    report.notes.push(`CPU per cell of numba: ${perCell(numba)}`);
    report.ratios.push(ratio('profile with 100 equal bins, numba / ours', median(equal), median(numba), 1));
  }
  report.ratios.push(
    ratio('full record on frozen unequal edges, equal bins / full record', median(full), median(equal), 0.5),
  );
}

interface PartCost extends Cost {
  readonly rows: number;
  readonly keysCpu: number;
}

/** Both halves of the files at once, each in a process of its own. */
function profileInHalves(baseline: string, files: readonly string[]): Promise<PartCost[]> {
  const half = (odd: number): readonly string[] => files.filter((_, i) => i % 2 === odd);
  return Promise.all([0, 1].map(odd => runChild<PartCost>('profile-child', [baseline, ...half(odd)])));
}

function cpuOf(parts: readonly PartCost[], report: Report): number {
  const rows = parts.reduce((total, part) => total + part.rows, 0);
  if (rows !== FILES * ROWS_PER_FILE) throw new Error(`profiled ${rows} rows, expected ${FILES * ROWS_PER_FILE}`);
  for (const { rssMb } of parts) report.peakRssMb = Math.max(report.peakRssMb, rssMb);
  return parts.reduce((total, part) => total + part.cpu, 0);
}

async function profileWithNumba(peer: Peer, files: readonly string[]): Promise<number> {
  const { parts } = (await runPeer(peer, { script: 'profile_numba.py', args: files, msMax: PEER_MS_MAX })) as Cost & {
    parts: readonly PartCost[];
  };
  const rows = parts.reduce((total, part) => total + part.rows, 0);
  if (rows !== FILES * ROWS_PER_FILE) throw new Error(`numba profiled ${rows} rows`);
  return parts.reduce((total, part) => total + part.cpu, 0);
}

/** Whole processes over one file, with and against another. */
async function compareProcesses(data: Data, peers: Peers, report: Report, { full, log }: BenchOptions): Promise<void> {
  const msMax = full ? PEER_MS_MAX_FULL : PEER_MS_MAX;
  const [reference = '', current = ''] = data.files;
  const ready = `${CACHE}/reference-profile.json`;
  await judge(data, [reference, '-', ready], report);
  const against = async (name: PeerName, script: string, args: readonly string[]): Promise<Cost | null> => {
    const peer = peers[name];
    if (peer === undefined) return null;
    log(`running ${name}`);
    try {
      const cost = await runPeer(peer, { script, args, msMax });
      log(`${name}: ${JSON.stringify(cost)}`);
      report.notes.push(
        `${name}: ${cost.wall.toFixed(1)} s, ${cost.cpu.toFixed(1)} CPU s, ${Math.round(cost.rssMb)} MB`,
      );
      return cost;
    } catch (error) {
      report.notes.push(`no comparison: ${name} is installed but gave no answer: ${lastLine(error)}`);
      return null;
    }
  };
  const add = (name: string, ours: Cost, peer: Cost | null, wanted: number): void => {
    if (peer !== null) report.ratios.push(ratio(name, ours.cpu, peer.cpu, wanted));
  };
  const pandera: (Cost | null)[] = [];
  const judged: Cost[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    pandera.push(await against('pandera', 'pandera_checks.py', [current]));
    judged.push(await judge(data, [current, ready], report));
  }
  const ours = middle(judged);
  const checks = middle(pandera.filter(cost => cost !== null));
  report.notes.push(`ours, profile, drift and 90 checks: ${ours?.wall.toFixed(2)} s, ${ours?.cpu.toFixed(2)} CPU s`);
  if (ours === undefined) return;
  add('90 checks, pandera on Polars / ours with profile and drift', ours, checks ?? null, 1);
  const expectations = await against('great-expectations', 'great_expectations_checks.py', [current]);
  add('90 checks, Great Expectations / ours with profile and drift', ours, expectations, 20);
  const evidently = await against('evidently', 'evidently_drift.py', [reference, current]);
  add('drift against a reference, Evidently with summary / ours, reference profile ready', ours, evidently, 100);
  const whylogs = await against('whylogs', 'whylogs_drift.py', [reference, current]);
  const both = await judge(data, [current, reference], report);
  add('two profiles and drift, whylogs / ours', both, whylogs, 80);
}

interface Judged extends Cost {
  readonly rows: number;
  readonly drifts: number;
  readonly checks: number;
  readonly passed: number;
}

async function judge(data: Data, args: readonly string[], report: Report): Promise<Judged> {
  const cost = await runChild<Judged>('judge-child', [data.frozen, ...args]);
  const drifts = args[1] === '-' ? 0 : FEATURES;
  if (cost.rows !== ROWS_PER_FILE || cost.drifts !== drifts || cost.checks !== 90 || cost.passed !== 90) {
    throw new Error(`the judgement is incomplete: ${JSON.stringify(cost)}`);
  }
  report.peakRssMb = Math.max(report.peakRssMb, cost.rssMb);
  return cost;
}

/** What no peer does: figures against limits. */
async function measureAlone(data: Data, _peers: Peers, report: Report, { full, log }: BenchOptions): Promise<void> {
  const drift = timeDrift(1000);
  report.notes.push(`drift of 1,000 columns: the first call of a process takes ${drift.firstMs.toFixed(0)} ms`);
  report.ratios.push(ratio('drift of two profiles of 1,000 columns, 100 ms / ours', drift.cpuMs, 100, 1, 'CPU ms'));
  const fused = await timeFused({ file: data.files[0]!, baseline: data.frozen, rounds: FUSED_ROUNDS });
  report.ratios.push(
    ratio('profile fused into scoring, 0.12 µs per row / ours', fused.profile, 0.12, 1, 'CPU µs per row'),
  );
  report.notes.push(`key duplicates of a scored chunk: ${fused.keys.toFixed(2)} CPU µs per row apart`);
  const sizes = full ? [100, 1000].map(columns => ({ columns, rows: 1_000_000 })) : WIDE_SIZES;
  const costs: (Cost & { columns: number; rows: number })[] = [];
  for (const { columns, rows } of sizes) {
    const { file, baseline } = await prepareWide({ columns, rows }, log);
    const cost = await runChild<Judged>('judge-child', [baseline, file, '-']);
    if (cost.rows !== rows || cost.checks !== 3 * columns) throw new Error(`incomplete: ${JSON.stringify(cost)}`);
    const cell = ((cost.cpu * 1e9) / columns / rows).toFixed(1);
    report.notes.push(
      `${columns} columns × ${rows} rows validated: ${cell} ns CPU per cell, ${Math.round(cost.rssMb)} MB`,
    );
    costs.push({ ...cost, columns, rows });
  }
  const widest = costs.at(-1)!;
  report.peakRssMb = Math.max(report.peakRssMb, widest.rssMb);
  const size = `${widest.columns} columns × ${widest.rows} rows`;
  report.ratios.push(ratio(`${size} validated, 2 GB / ours`, widest.rssMb, MEMORY_MB_MAX, 1, 'MB'));
}

/** Narrow, long and wide: cells cost the same, memory follows the columns and not the rows. */
const WIDE_SIZES = [
  { columns: 100, rows: 250_000 },
  { columns: 100, rows: 1_000_000 },
  { columns: 1000, rows: 250_000 },
] as const;

function ratio(name: string, ours: number, peer: number, wanted: number, unit = 'CPU s'): Ratio {
  const value = peer / ours;
  return { name, ours, peer, ratio: value, wanted, met: value >= wanted, unit };
}

function middle<T extends Cost>(costs: readonly T[]): T | undefined {
  return [...costs].sort((a, b) => a.cpu - b.cpu)[costs.length >> 1];
}

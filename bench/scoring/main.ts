/**
 * Parquet to Parquet against the best scripts its users would write. Whole runs of both sides, process starts included, in
 * turn, over the same files; a figure is the median, a ratio the median of the ratios of neighbouring runs. Slow peers get
 * fewer rows and are compared by rate.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { HEAP_FLAGS } from '../../src/engine/engine-child.ts';
import type { BenchOptions, BenchResult, Ratio } from '../main.ts';
import { wantedParts } from '../parts.ts';
import { runBucket } from './bucket.ts';
import { FILES, generateRows, repeatRows } from './data.ts';
import { denseModel, namedModel, noModel, treeModel } from './models.ts';
import { type NightlyRun, runNightly } from './nightly.ts';
import type { BoundParts, LoadParts } from './parts.ts';
import {
  buildOurs,
  preparePython,
  type Rate,
  type Run,
  runOurs,
  runPart,
  runPeer,
  runScript,
  WORK,
} from './processes.ts';

const PEERS = ['pyarrow', 'onnxruntime', 'numpy', 'numba'];
const ROUNDS = 3;
const CORES = Math.min(FILES, availableParallelism());

interface Bench {
  readonly options: BenchOptions;
  readonly python: string;
  readonly data: string;
  readonly rows: number;
  readonly models: Readonly<Record<keyof typeof MODELS, string>>;
  readonly ratios: Ratio[];
  readonly notes: string[];
}

const MODELS = {
  noModel,
  logistic: () => denseModel([30, 1], 1),
  mlp: () => denseModel([30, 256, 128, 1], 2),
  mlpShadow: () => denseModel([30, 256, 128, 1], 12),
  logisticShadow: () => denseModel([30, 1], 11),
  trees: () => treeModel(500, 63, 3),
  treesShadow: () => treeModel(500, 63, 13),
  deepTrees: () => treeModel(500, 255, 4),
  named: () => namedModel(5),
} as const;

export async function run(options: BenchOptions): Promise<BenchResult> {
  const wanted = wantedParts(Object.keys(PARTS), options, ['slow-peers']);
  await mkdir(WORK, { recursive: true });
  await buildOurs(options.log);
  const rows = options.full ? 10_000_000 : 4_000_000;
  const bench: Bench = {
    options,
    python: preparePython('venv', PEERS, options.log),
    data: await generateRows(WORK, rows, options.log),
    rows,
    models: await writeModels(),
    ratios: [],
    notes: [`${rows.toLocaleString('en')} rows × 30 float features, a text and two keys, ${FILES} files, zstd`],
  };
  for (const name of wanted) await PARTS[name]!(bench);
  return { bench: 'scoring', rounds: ROUNDS, ratios: bench.ratios, notes: bench.notes };
}

const PARTS: Readonly<Record<string, (bench: Bench) => Promise<void>>> = {
  'end-to-end': endToEnd,
  bounds,
  nights,
  naive: naiveLoop,
  loading,
  bucket,
  'slow-peers': slowPeers,
};

async function writeModels(): Promise<Bench['models']> {
  const paths: Partial<Record<keyof typeof MODELS, string>> = {};
  for (const name of Object.keys(MODELS) as (keyof typeof MODELS)[]) {
    paths[name] = join(WORK, `${name}.onnx`);
    await writeFile(paths[name], MODELS[name]());
  }
  return paths as Bench['models'];
}

async function endToEnd(bench: Bench): Promise<void> {
  const { models, data, python } = bench;
  const cases = [
    { name: 'logistic', model: models.logistic, wanted: 1, files: FILES, named: false },
    { name: 'MLP 30-256-128-1', model: models.mlp, wanted: 1, files: FILES, named: false },
    { name: 'logistic, 30 named inputs and a string', model: models.named, wanted: 1, files: FILES, named: true },
    // The peer needs minutes for all rows (500 trees cost it 25 µs a row): it gets a file for each of its processes.
    { name: 'trees 500 × 63', model: models.trees, wanted: 14, files: CORES, named: false },
  ];
  for (const { name, model, wanted, files, named } of cases) {
    const pairs = await inTurn(bench, `${name}, end to end`, {
      ours: () => runOurs(model, data, { named }),
      peer: () => runPeer(python, model, data, { files, named }),
    });
    compare(bench, `${name}, end to end`, pairs, wanted);
    // The issue asks for two children at batches of 2,048; the command's own process is part of ours.
    if (name !== 'MLP 30-256-128-1') continue;
    limit(bench, {
      name: 'peak RSS of all processes, MLP',
      ours: worst(pairs, run => run.rssMb),
      max: 550,
      unit: 'MB',
    });
  }
}

/** A pass against the sum of its parts, in one process with a child's heap, in CPU time, so that it holds on a busy machine. */
async function bounds(bench: Bench): Promise<void> {
  const { models, data, rows } = bench;
  const file = join(data, 'part-0.parquet');
  const fileRows = String(rows / FILES);
  for (const [name, model] of [
    ['logistic', models.logistic],
    ['MLP', models.mlp],
    ['trees 500 × 63', models.trees],
  ] as const) {
    bench.options.log(`parts of a pass: ${name}`);
    const parts = await runPart<BoundParts>('parts.ts', ['bound', model, models.noModel, file, fileRows], HEAP_FLAGS);
    const sum = parts.model.map((cpu, round) => cpu + parts.noop[round]!);
    judge(bench, {
      name: `${name}: bound 1/(1/R_model + 1/R_noop)`,
      ours: median(parts.endToEnd),
      peer: median(sum),
      ratio: median(sum.map((cpu, round) => cpu / parts.endToEnd[round]!)),
      wanted: 0.95,
      unit: 'CPU µs/row',
    });
    if (name !== 'logistic') continue;
    judge(bench, {
      name: 'R_noop against DuckDB alone (sum of 30 columns, COPY of keys and a float)',
      ours: median(parts.noop),
      peer: median(parts.duckdb),
      ratio: median(parts.noop.map((cpu, round) => parts.duckdb[round]! / cpu)),
      wanted: 1 / 1.3,
      unit: 'CPU µs/row',
    });
  }
}

async function nights(bench: Bench): Promise<void> {
  const { models, data, python, rows } = bench;
  const runs: NightlyRun[] = [];
  for (const { name, model, shadow, wanted, files } of [
    { name: 'logistic', model: models.logistic, shadow: models.logisticShadow, wanted: 1.3, files: FILES },
    { name: 'MLP', model: models.mlp, shadow: models.mlpShadow, wanted: 1, files: FILES },
    { name: 'trees 500 × 63', model: models.trees, shadow: models.treesShadow, wanted: 8, files: CORES },
  ]) {
    const pairs = await inTurn(bench, `${name}, nightly`, {
      ours: async () => {
        const night = await runNightly({ model, shadow, input: data, fileRows: rows / FILES });
        runs.push(night);
        return night;
      },
      peer: () => runPeer(python, model, data, { files, shadow }),
    });
    compare(bench, `${name}: rules, profile and a shadow in one pass, against numba`, pairs, wanted);
  }
  const delays = runs.map(({ loopDelay }) => loopDelay);
  const max = Math.max(...delays.map(delay => delay.max));
  const p99 = Math.max(...delays.map(delay => delay.p99));
  limit(bench, { name: 'event loop of the pool, longest delay', ours: max, max: 50, unit: 'ms' });
  limit(bench, { name: 'event loop of the pool, p99 of delays', ours: p99, max: 10, unit: 'ms' });
}

async function naiveLoop(bench: Bench): Promise<void> {
  const { models, data } = bench;
  const pairs = await inTurn(bench, 'MLP, naive row loop', {
    ours: () => runOurs(models.mlp, data),
    peer: () =>
      runPart<{ rows: number; seconds: number; cpu_s: number; rss_mb: number }>('naive.ts', [
        models.mlp,
        join(data, 'part-0.parquet'),
        join(WORK, 'naive.parquet'),
      ]).then(({ rows, seconds, cpu_s, rss_mb }) => ({
        rows,
        seconds,
        cpuUsPerRow: (cpu_s / rows) * 1e6,
        rssMb: rss_mb,
      })),
  });
  compare(bench, 'MLP, end to end, against a naive row loop', pairs, 4);
}

async function loading(bench: Bench): Promise<void> {
  const loads: { readonly registered: LoadParts; readonly compared: LoadParts }[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const load = (...how: string[]) =>
      runPart<LoadParts>('parts.ts', ['load', bench.models.deepTrees, ...how], HEAP_FLAGS);
    loads.push({ registered: await load('registered'), compared: await load() });
  }
  for (const [name, pick] of [
    ['of a registered version', ({ registered }: (typeof loads)[number]) => registered.first],
    ['compared with ONNX Runtime too', ({ compared }: (typeof loads)[number]) => compared.first],
    ['kept by another child', ({ compared }: (typeof loads)[number]) => compared.kept],
  ] as const) {
    const ms = median(loads.map(load => pick(load).ms));
    limit(bench, { name: `load of 500 × 255 leaves, ${name}`, ours: ms, max: 500, unit: 'ms' });
    const cpuMs = Math.round(median(loads.map(load => pick(load).cpuMs)));
    bench.notes.push(`load of 500 × 255 leaves, ${name}: ${cpuMs} ms of CPU time`);
  }
}

/** Inputs of a bucket on this machine, whose server takes its share of the cores. */
async function bucket(bench: Bench): Promise<void> {
  const { models, data, rows, options } = bench;
  const work = { model: models.mlp, data, fileRows: rows / FILES, work: WORK, rounds: ROUNDS };
  const measured = await runBucket(work);
  for (const { local, download, bucket: through } of measured) {
    options.log(
      `bucket: ${through.toFixed(1)} s; local ${local.toFixed(1)} s, fetching alone ${download.toFixed(1)} s`,
    );
  }
  judge(bench, {
    name: 'MLP from a bucket, against 1/(1/R_local + 1/R_download)',
    ours: rows / median(measured.map(round => round.bucket)),
    peer: rows / median(measured.map(({ local, download }) => local + download)),
    ratio: median(measured.map(round => (round.local + round.download) / round.bucket)),
    wanted: 0.85,
    unit: 'rows/s',
  });
}

/** Peers that take long or may not be there, and memory over ten times the rows. */
async function slowPeers(bench: Bench): Promise<void> {
  const { models, data, options } = bench;
  for (const { name, script, packages, wanted } of [
    { name: 'Spark local', script: 'spark_peer.py', packages: ['pyspark', ...PEERS, 'pandas'], wanted: 4 },
    { name: 'Ray Data', script: 'ray_peer.py', packages: ['ray[data]', ...PEERS, 'pandas'], wanted: 2 },
  ]) {
    try {
      const python = preparePython(script.replace('_peer.py', '-venv'), packages, options.log);
      const pairs = await inTurn(bench, `MLP, ${name}`, {
        ours: () => runOurs(models.mlp, data),
        peer: () => runScript(python, script, [models.mlp, data, join(WORK, script.replace('.py', ''))]),
      });
      compareRates(bench, `MLP, end to end, against ${name}`, pairs, wanted);
    } catch (error) {
      bench.notes.push(`${name} was not measured: ${error instanceof Error ? error.message.split('\n')[0] : error}`);
    }
  }
  const once = await runOurs(models.logistic, data);
  const tenTimes = await runOurs(models.logistic, await repeatRows(data, 10));
  judge(bench, {
    name: `peak RSS from ${once.rows.toLocaleString('en')} to ${tenTimes.rows.toLocaleString('en')} rows`,
    ours: tenTimes.rssMb,
    peer: once.rssMb,
    ratio: once.rssMb / tenTimes.rssMb,
    wanted: 1 / 1.2,
    unit: 'MB',
  });
}

interface Pair<Peer extends Rate = Run> {
  readonly ours: Run;
  readonly peer: Peer;
}

async function inTurn<Peer extends Rate>(
  bench: Bench,
  name: string,
  sides: { readonly ours: () => Promise<Run>; readonly peer: () => Promise<Peer> },
): Promise<readonly Pair<Peer>[]> {
  const pairs: Pair<Peer>[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const ours = await sides.ours();
    const peer = await sides.peer();
    bench.options.log(`${name}, round ${round + 1}: ${described(ours)} against ${described(peer)}`);
    pairs.push({ ours, peer });
  }
  return pairs;
}

function compareRates(bench: Bench, name: string, pairs: readonly Pair<Rate>[], wanted: number): void {
  const of = (pick: (pair: Pair<Rate>) => number) => median(pairs.map(pick));
  judge(bench, {
    name,
    ours: of(({ ours }) => perSecond(ours)),
    peer: of(({ peer }) => perSecond(peer)),
    ratio: of(({ ours, peer }) => perSecond(ours) / perSecond(peer)),
    wanted,
    unit: 'rows/s',
  });
}

function compare(bench: Bench, name: string, pairs: readonly Pair[], wanted: number): void {
  compareRates(bench, name, pairs, wanted);
  const of = (pick: (pair: Pair) => number) => median(pairs.map(pick));
  judge(bench, {
    name: `${name}: CPU`,
    ours: of(({ ours }) => ours.cpuUsPerRow),
    peer: of(({ peer }) => peer.cpuUsPerRow),
    ratio: of(({ ours, peer }) => peer.cpuUsPerRow / ours.cpuUsPerRow),
    wanted,
    unit: 'CPU µs/row',
  });
}

/** Something that must stay below a bound. */
function limit(bench: Bench, found: { name: string; ours: number; max: number; unit: string }): void {
  const { name, ours, max, unit } = found;
  judge(bench, { name, ours, peer: max, ratio: max / ours, wanted: 1, unit });
}

function judge(bench: Bench, ratio: Omit<Ratio, 'met'>): void {
  bench.ratios.push({ ...ratio, met: ratio.ratio >= ratio.wanted });
}

function worst(pairs: readonly Pair[], pick: (run: Run) => number): number {
  return Math.max(...pairs.map(({ ours }) => pick(ours)));
}

function perSecond({ rows, seconds }: Rate): number {
  return rows / seconds;
}

function described(run: Rate | Run): string {
  const rate = `${Math.round(perSecond(run))} rows/s`;
  return 'rssMb' in run ? `${rate}, ${run.cpuUsPerRow.toFixed(2)} CPU µs/row, ${Math.round(run.rssMb)} MB` : rate;
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!;
}

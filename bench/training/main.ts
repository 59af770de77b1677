/**
 * The `gbdt` trainer against LightGBM on the same cores: 1M × 30 float32 with 3 % missing, 100 trees × 31 leaves, 255 bins.
 * Rounds alternate; the figure is the median of the paired ratios.
 */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { seededRandom } from '../../src/trainers/random.ts';
import type { BenchOptions, BenchResult } from '../main.ts';

const call = promisify(execFile);
const here = (name: string) => fileURLToPath(new URL(name, import.meta.url));
const features = 30;

interface Measured {
  readonly seconds: number;
  /** Of all threads: what stays comparable when others use the cores too. */
  readonly cpuSeconds: number;
  readonly auc: number;
}

export async function run({ full, log }: BenchOptions): Promise<BenchResult> {
  const rows = 1_000_000;
  const rounds = full ? 7 : 3;
  const threads = availableParallelism();
  const python = await peerEnvironment(log);
  const folder = await mkdtemp(join(tmpdir(), 'almanac-bench-training-'));
  try {
    await writeData(folder, rows + rows / 10);
    const args = [folder, ...[rows, features, threads].map(String)];
    const pairs: { readonly ours: Measured; readonly peer: Measured }[] = [];
    for (let round = 1; round <= rounds; round++) {
      const peer = await measure(python, [here('peer.py'), ...args]);
      const ours = await measure(process.execPath, ['--import', import.meta.resolve('tsx'), here('ours.ts'), ...args]);
      log(`round ${round}: ours ${inWords(ours)}, LightGBM ${inWords(peer)}`);
      pairs.push({ ours, peer });
    }
    const ratio = median(pairs.map(({ ours, peer }) => peer.seconds / ours.seconds));
    const cpuRatio = median(pairs.map(({ ours, peer }) => peer.cpuSeconds / ours.cpuSeconds));
    const [first] = pairs;
    const auc = { ours: first?.ours.auc ?? 0, peer: first?.peer.auc ?? 0 };
    return {
      bench: 'training',
      rounds,
      ratios: [
        {
          name: `gbdt, 1M × 30, 100 × 31 leaves, ${threads} threads, wall time`,
          ours: median(pairs.map(({ ours }) => ours.seconds)),
          peer: median(pairs.map(({ peer }) => peer.seconds)),
          ratio,
          wanted: 0.4,
          met: ratio >= 0.4,
          unit: 's',
        },
        {
          name: 'gbdt, the same, CPU time of all threads',
          ours: median(pairs.map(({ ours }) => ours.cpuSeconds)),
          peer: median(pairs.map(({ peer }) => peer.cpuSeconds)),
          ratio: cpuRatio,
          wanted: 0.4,
          met: cpuRatio >= 0.4,
          unit: 's',
        },
        {
          name: 'gbdt, AUC on 100k unseen rows, at most 0.002 below',
          ...auc,
          ratio: auc.ours / auc.peer,
          wanted: (auc.peer - 0.002) / auc.peer,
          met: auc.ours >= auc.peer - 0.002,
        },
      ],
    };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** LightGBM in an environment under .cache, made once. */
async function peerEnvironment(log: (line: string) => void): Promise<string> {
  const folder = here('../../.cache/bench-training');
  const python = join(folder, 'bin', 'python');
  if (!existsSync(python)) {
    log('making a Python environment with LightGBM');
    await mkdir(folder, { recursive: true });
    await call('python3', ['-m', 'venv', folder]);
    await call(python, ['-m', 'pip', 'install', '--quiet', '--requirement', here('requirements.txt')]);
  }
  return python;
}

/** Columns one after the other. The label follows from six of them, with interactions and noise. */
async function writeData(folder: string, rows: number): Promise<void> {
  const random = seededRandom(1);
  const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  const columns = new Float32Array(rows * features);
  for (let feature = 0; feature < features; feature++) {
    for (let row = 0; row < rows; row++) {
      const value = normal();
      columns[feature * rows + row] = feature < 10 ? value : feature < 20 ? Math.round(3 * value) : Math.exp(value);
    }
  }
  const labels = new Float32Array(rows);
  const at = (feature: number, row: number) => columns[feature * rows + row]!;
  for (let row = 0; row < rows; row++) {
    const score =
      at(0, row) - 0.7 * at(1, row) * at(2, row) + Math.sin(3 * at(3, row)) / 2 + 0.1 * at(10, row) + 0.2 * at(20, row);
    labels[row] = random() < 1 / (1 + Math.exp(-score)) ? 1 : 0;
  }
  for (let index = 0; index < columns.length; index++) if (random() < 0.03) columns[index] = Number.NaN;
  await writeFile(join(folder, 'features.f32'), new Uint8Array(columns.buffer));
  await writeFile(join(folder, 'labels.f32'), new Uint8Array(labels.buffer));
}

async function measure(program: string, args: readonly string[]): Promise<Measured> {
  const { stdout } = await call(program, [...args], { maxBuffer: 2 ** 20 });
  const parsed: unknown = JSON.parse(stdout);
  const member = (name: string) => Number(parsed instanceof Object ? Reflect.get(parsed, name) : Number.NaN);
  return { seconds: member('seconds'), cpuSeconds: member('cpu_seconds'), auc: member('auc') };
}

function inWords({ seconds, cpuSeconds, auc }: Measured): string {
  return `${seconds.toFixed(1)} s (CPU ${cpuSeconds.toFixed(1)} s, AUC ${auc.toFixed(4)})`;
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

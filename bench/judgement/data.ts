/** The files and baselines of the bench, made once under `.cache/`. */
import { existsSync, mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Baseline, NumericEdges } from '../../src/domain/profile.ts';
import { DuckDbSession } from '../../src/engine/duckdb.ts';
import { buildBaseline } from '../../src/engine/profile/baseline.ts';

export const FEATURES = 30;
export const FILES = 8;
export const ROWS_PER_FILE = 1_250_000;
export const CACHE = fileURLToPath(new URL('../../.cache/bench-judgement', import.meta.url));

export interface Data {
  readonly files: readonly string[];
  /** 100 equal bins, as the hand-written scripts count them. */
  readonly equalWidth: string;
  /** Edges frozen from the first file. */
  readonly frozen: string;
  /** CPU seconds that freezing took. */
  readonly baselineCpu: number;
}

/** A third each of continuous, rounded and counted features, as tables have them. */
export async function prepareRows(log: (line: string) => void): Promise<Data> {
  mkdirSync(CACHE, { recursive: true });
  const files = Array.from({ length: FILES }, (_, i) => `${CACHE}/part-${i}.parquet`);
  const session = await DuckDbSession.open({ files: [], folders: [CACHE], limits: { scratch: CACHE, memoryMb: 8000 } });
  try {
    const normal = 'sqrt(-2 * ln(1 - random())) * cos(6.283185307179586 * random())';
    const kinds = [normal, `round(${normal}, 2)`, 'floor(-5 * ln(1 - random()))'];
    const names = Array.from({ length: FEATURES }, (_, i) => `f${i}`);
    const features = names.map((name, i) => `(${kinds[i % 3]})::FLOAT AS ${name}`).join(', ');
    for (const [i, path] of files.entries()) {
      const rows = `range(${i * ROWS_PER_FILE}, ${(i + 1) * ROWS_PER_FILE}) t(id)`;
      await writeOnce(session, path, `SELECT id, ${features} FROM ${rows}`, log);
    }
    const cpu = process.cpuUsage();
    const relation = `SELECT * FROM read_parquet('${files[0]}')`;
    const frozen = await buildBaseline(session, { relation, columns: names, number: 1, reason: 'bench' });
    const used = process.cpuUsage(cpu);
    return {
      files,
      equalWidth: writeBaseline('equal-width', equalBins(names, -6, 6)),
      frozen: writeBaseline('frozen', frozen),
      baselineCpu: (used.user + used.system) / 1e6,
    };
  } finally {
    session.close();
  }
}

/** A table of `columns` floats with 1,009 values each; its values cost little to make and nothing is constant. */
export async function prepareWide(
  { columns, rows }: { readonly columns: number; readonly rows: number },
  log: (line: string) => void,
): Promise<{ readonly file: string; readonly baseline: string }> {
  mkdirSync(CACHE, { recursive: true });
  const file = `${CACHE}/wide-${columns}x${rows}.parquet`;
  const names = Array.from({ length: columns }, (_, i) => `f${i}`);
  const session = await DuckDbSession.open({
    files: [],
    folders: [CACHE],
    limits: { scratch: CACHE, memoryMb: 12000 },
  });
  try {
    const features = names.map((name, i) => `((id * ${2 * i + 7}) % 1009)::FLOAT AS ${name}`).join(', ');
    await writeOnce(session, file, `SELECT id, ${features} FROM range(${rows}) t(id)`, log);
  } finally {
    session.close();
  }
  return { file, baseline: writeBaseline(`wide-${columns}`, equalBins(names, 0, 1009)) };
}

async function writeOnce(session: DuckDbSession, path: string, select: string, log: (line: string) => void) {
  if (existsSync(path)) return;
  log(`writing ${path}`);
  await session.run(`COPY (${select}) TO '${path}.part' (FORMAT parquet, COMPRESSION zstd)`);
  renameSync(`${path}.part`, path);
}

function equalBins(names: readonly string[], low: number, high: number): Baseline {
  const edges: NumericEdges = {
    kind: 'numeric',
    edges: Array.from({ length: 99 }, (_, i) => low + ((high - low) * (i + 1)) / 100),
    pivot: (low + high) / 2,
    fences: null,
    sentinels: [],
  };
  const columns = Object.fromEntries(names.map(name => [name, edges]));
  return { schema: 'baseline/1', columns, score: null, number: 1, reason: 'bench' };
}

function writeBaseline(name: string, baseline: Baseline): string {
  const path = `${CACHE}/baseline-${name}.json`;
  writeFileSync(path, JSON.stringify(baseline));
  return path;
}

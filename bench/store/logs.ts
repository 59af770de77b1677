/** Reading logs: the fold of 100,000 entries from verified segments, and a search through ten thousand runs. */

import type { Run } from '../../src/domain/run.ts';
import { Catalog } from '../../src/storage/catalog.ts';
import { joinSegment, segmentLength } from '../../src/storage/chain.ts';
import { canonicalJson, sha256 } from '../../src/storage/digest.ts';
import { keys } from '../../src/storage/keys.ts';
import type { ObjectStore } from '../../src/storage/object-store.ts';
import { openStore } from '../../src/storage/open.ts';
import { systemPorts } from '../../src/storage/ports.ts';
import type { Ratio } from '../main.ts';

const model = 'bench';
/** What the issue of the store promises, in seconds. */
const secondsMax = 1;

/**
 * Seconds for the first read of a process; the peer is the promise, so a ratio above one keeps it. How fast the machine is at
 * all says one `JSON.parse` per entry of the same bytes, with nothing read, verified or folded: the least a reader in
 * JavaScript can do.
 */
export async function readLogs(
  folder: string,
  rounds: number,
): Promise<{ readonly ratios: readonly Ratio[]; readonly notes: readonly string[] }> {
  const jobs = openStore(`${folder}/jobs`);
  const texts = await writeLog(jobs, 'jobs', 100_000, number => ({
    kind: 'ended',
    partition: `p${number}`,
    generation: 1,
    outcome: 'committed',
    plan: sha256(`plan ${number}`),
    tableVersion: number,
    rows: 1_000_000,
    modelVersions: [1],
    profiles: [sha256(`profile ${number}`)],
    reason: '1000000 rows, 0 in quarantine',
  }));
  const runs = openStore(`${folder}/runs`);
  await writeLog(runs, 'runs', 10_000, runOf);
  const parse = await measured(rounds, async () => {
    if (texts.map(text => JSON.parse(text) as unknown).length !== 100_000) throw new Error('entries are missing');
  });
  const fold = await measured(rounds, async () => {
    const found = await new Catalog(systemPorts(jobs)).jobs(model);
    if (found.length !== 100_000) throw new Error(`${found.length} jobs`);
  });
  const search = await measured(rounds, async () => {
    const catalog = new Catalog(systemPorts(runs));
    const listed = await catalog.runs(model);
    const found = await catalog.searchRuns({ model, text: 'rate-7', metrics: { auc: { min: 0.75 } } });
    if (listed.length !== 10_000 || found.length === 0) throw new Error(`${listed.length}, ${found.length} runs`);
  });
  return {
    ratios: [
      kept('local: fold of a log of 100,000 entries', fold),
      kept('local: list and search of 10,000 runs', search),
    ],
    notes: [
      `fold of 100,000 entries: ${told(fold)}; JSON.parse of the same entries alone: ${told(parse)}; ` +
        `${(fold.seconds / parse.seconds).toFixed(2)} times as long, ${(fold.cpuSeconds / parse.cpuSeconds).toFixed(2)} times the processor time`,
    ],
  };
}

function told({ seconds, cpuSeconds }: Measured): string {
  return `${seconds.toFixed(2)} s, ${cpuSeconds.toFixed(2)} CPU s`;
}

function kept(name: string, { seconds }: Measured): Ratio {
  const ratio = secondsMax / seconds;
  return { name, ours: seconds, peer: secondsMax, ratio, wanted: 1, met: ratio >= 1, unit: 's' };
}

/** The log as appends would have left it (its texts are returned), without the single entries that no reader opens while their segment is there. */
async function writeLog(
  store: ObjectStore,
  log: 'jobs' | 'runs',
  count: number,
  body: (number: number) => object,
): Promise<readonly string[]> {
  const all: string[] = [];
  const prefix = keys.modelLog(model, log);
  let prevHash: string | null = null;
  let texts: string[] = [];
  const put = async (key: string, text: string) => {
    const answer = await store.putIfAbsent(key, new TextEncoder().encode(text));
    if (answer.kind !== 'applied') throw new Error(JSON.stringify(answer));
  };
  for (let number = 0; number < count; number += 1) {
    const head: object = { schema: `${log}/1`, number, prevHash, commit: sha256(String(number)).slice(0, 16) };
    const text = `${canonicalJson({ ...head, at: '2026-01-01T00:00:00.000Z', body: body(number) })}\n`;
    prevHash = sha256(text);
    texts.push(text);
    all.push(text);
    const isTail = number >= count - (count % segmentLength);
    if (isTail || texts.length === segmentLength) await put(keys.logEntry(prefix, number), text);
    if (texts.length < segmentLength) continue;
    await put(keys.logSegment(prefix, number + 1 - segmentLength), joinSegment(texts));
    texts = [];
  }
  return all;
}

function runOf(number: number): Run {
  const digest = sha256(`run ${number}`);
  return {
    schema: 'run/1',
    id: `train/${model}/${number}`,
    model,
    asOf: '2026-01-01',
    status: 'succeeded',
    trigger: 'schedule',
    startedAt: new Date(1.7e12 + number * 1000).toISOString(),
    endedAt: new Date(1.7e12 + number * 1000 + 500).toISOString(),
    code: { commit: digest.slice(0, 40), dirty: false },
    definition: digest,
    snapshots: { features: digest, labels: digest },
    trainer: 'builtin:gbdt',
    parameters: { [`rate-${number % 10}`]: 0.1, trees: 200, depth: 6 },
    seed: 7,
    environment: { node: '20', almanac: '0.1.0' },
    rows: { train: 1_000_000, holdout: 200_000 },
    metrics: { auc: 0.7 + (number % 100) / 1000, log_loss: 0.4 },
    artifacts: {},
    log: null,
    failure: null,
  };
}

interface Measured {
  readonly seconds: number;
  /** User and system time of all threads, garbage collection included. */
  readonly cpuSeconds: number;
}

/** Medians. */
async function measured(rounds: number, read: () => Promise<void>): Promise<Measured> {
  const seconds: number[] = [];
  const cpuSeconds: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const cpu = process.cpuUsage();
    const started = performance.now();
    await read();
    seconds.push((performance.now() - started) / 1000);
    const { user, system } = process.cpuUsage(cpu);
    cpuSeconds.push((user + system) / 1e6);
  }
  return { seconds: median(seconds), cpuSeconds: median(cpuSeconds) };
}

function median(values: readonly number[]): number {
  return values.toSorted((left, right) => left - right)[values.length >> 1] ?? Number.NaN;
}

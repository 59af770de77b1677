/**
 * The store: commits per second and their latency for 1, 8 and 64 concurrent jobs, and transfers beside the plain SDK.
 *
 * A commit is whole: manifest, check of the part file, and the create-if-absent of the next log entry, with all that losing
 * races costs. Its peer is the bare store creating keys one after the other, the most that any log can do on it.
 */
import { createHash, randomBytes } from 'node:crypto';
import { createReadStream, createWriteStream, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { copyFile, open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { GetObjectCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { sha256 } from '../../src/storage/digest.ts';
import { LocalStore } from '../../src/storage/local.ts';
import type { ObjectStore } from '../../src/storage/object-store.ts';
import { systemPorts } from '../../src/storage/ports.ts';
import { S3Store } from '../../src/storage/s3.ts';
import { PredictionsTable } from '../../src/storage/table/predictions-table.ts';
import { startS3Server } from '../../test/support/s3-server.ts';
import type { BenchOptions, BenchResult, Ratio } from '../main.ts';
import { readLogs } from './logs.ts';

const concurrencies = [1, 8, 64] as const;

export async function run(options: BenchOptions): Promise<BenchResult> {
  const folder = mkdtempSync(join(tmpdir(), 'almanac-bench-store-'));
  const server = await startS3Server();
  const { bucket, ...s3Options } = server;
  const s3 = new S3Store({ bucket, prefix: 'bench' }, s3Options);
  // As the SDK comes: it computes a CRC-32 of what it sends, and verifies what it reads where the server keeps one.
  const plain = new S3Client({ ...s3Options, forcePathStyle: true });
  const local = new LocalStore(folder);
  const rounds = options.full ? 9 : 5;
  const sizeBytes = (options.full ? 1024 : 256) * 2 ** 20;
  const notes: string[] = [];
  try {
    const ratios: Ratio[] = [];
    for (const [place, store] of [
      ['local', local],
      ['s3', s3],
    ] as const) {
      const ceiling = await createsPerSecond(store, options.full ? 500 : 100);
      notes.push(`${place}: ${ceiling.toFixed(0)} creates/s, one after the other`);
      for (const jobs of concurrencies) {
        const { perSecond, latenciesMs } = await commits(store, jobs, options.full ? 512 : 128);
        const [p50, p99] = [quantile(latenciesMs, 0.5), quantile(latenciesMs, 0.99)];
        notes.push(
          `${place}, ${jobs} jobs: ${perSecond.toFixed(1)} commits/s, p50 ${p50.toFixed(0)} ms, p99 ${p99.toFixed(0)} ms`,
        );
        options.log(notes.at(-1)!);
        const row = { ours: perSecond, peer: ceiling, ratio: perSecond / ceiling, wanted: 0.2, unit: 'per second' };
        ratios.push({
          name: `${place}: commits of ${jobs} jobs to bare creates`,
          ...row,
          met: row.ratio >= row.wanted,
        });
      }
    }
    const logs = await readLogs(folder, rounds);
    notes.push(...logs.notes);
    for (const note of logs.notes) options.log(note);
    for (const ratio of logs.ratios) {
      options.log(`${ratio.name}: ${ratio.ours.toFixed(2)} s, at most ${ratio.peer} s wanted`);
      ratios.push(ratio);
    }
    const source = join(folder, '.source');
    writeFileSync(source, randomBytes(sizeBytes));
    for (const pair of transfers({ local, s3, plain, folder, source })) {
      const measured = await sideBySide(pair, rounds);
      const [ours, peer] = [measured.ours, measured.peer].map(ms => sizeBytes / 1e6 / (ms / 1000));
      options.log(`${pair.name}: ${ours!.toFixed(0)} against ${peer!.toFixed(0)} MB/s`);
      const ratio = ours! / peer!;
      ratios.push({
        name: pair.name,
        ours: ours!,
        peer: peer!,
        ratio,
        wanted: pair.wanted,
        met: ratio >= pair.wanted,
        unit: 'MB/s',
      });
    }
    return { bench: 'store', rounds, ratios, notes };
  } finally {
    s3.close();
    plain.destroy();
    await server.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function createsPerSecond(store: ObjectStore, count: number): Promise<number> {
  const body = randomBytes(1500);
  const started = performance.now();
  for (let index = 0; index < count; index += 1)
    await store.putIfAbsent(`creates/${String(index).padStart(20, '0')}`, body);
  return count / ((performance.now() - started) / 1000);
}

/** Jobs of other partitions race for the same log; each reads what the winner wrote and tries the next slot. */
async function commits(store: ObjectStore, jobs: number, total: number) {
  const root = `tables/of-${jobs}`;
  const perJob = Math.max(1, Math.floor(total / jobs));
  const latenciesMs: number[] = [];
  const ready = await Promise.all(
    Array.from({ length: jobs }, async (_, job) => {
      const table = new PredictionsTable(systemPorts(store), root);
      const requests = [];
      for (let index = 0; index < perJob; index += 1) requests.push(await scored(store, table, `p${job}-${index}`));
      return { table, requests };
    }),
  );
  const started = performance.now();
  await Promise.all(
    ready.map(async ({ table, requests }) => {
      for (const request of requests) {
        const begun = performance.now();
        const outcome = await table.commit(request);
        if (outcome.kind !== 'committed') throw new Error(`${request.partition}: ${outcome.kind}`);
        latenciesMs.push(performance.now() - begun);
      }
    }),
  );
  return { perSecond: (perJob * jobs) / ((performance.now() - started) / 1000), latenciesMs };
}

async function scored(store: ObjectStore, table: PredictionsTable, partition: string) {
  const body = randomBytes(100);
  const { path, key } = table.newPartFile({ partition, generation: 1, chunk: 0, attempt: 1 });
  await store.put(key, body);
  return {
    partition,
    generation: 1,
    planDigest: sha256('plan'),
    columns: [{ name: 'score', type: 'float' as const }],
    files: [{ path, bytes: body.length, rows: 3, sha256: sha256(body) }],
    asOf: '2026-01-01T00:00:00Z',
    workflowId: `score/bench/${partition}/g1`,
    runId: 'bench',
    attempt: 1,
  };
}

interface Pair {
  readonly name: string;
  readonly wanted: number;
  readonly ours: (round: number) => Promise<unknown>;
  readonly peer: (round: number) => Promise<unknown>;
}

function transfers(places: {
  local: LocalStore;
  s3: S3Store;
  plain: S3Client;
  folder: string;
  source: string;
}): readonly Pair[] {
  const { local, s3, plain, folder, source } = places;
  const target = join(folder, '.target');
  const plainUpload = async (round: number) => {
    const Body = createReadStream(source, { highWaterMark: 1 << 20 });
    await plain.send(new PutObjectCommand({ Bucket: s3.bucket, Key: `plain/${round}`, Body }));
  };
  const plainBody = async () => {
    const { Body } = await plain.send(
      new GetObjectCommand({ Bucket: s3.bucket, Key: 'plain/0', ChecksumMode: 'ENABLED' }),
    );
    if (!(Body instanceof Readable)) throw new Error('no body');
    return Body;
  };
  const plainDownload = async () => pipeline(await plainBody(), createWriteStream(target));
  const plainDownloadHashed = async () => {
    const hash = createHash('sha256');
    const body = await plainBody();
    body.on('data', (chunk: Buffer) => hash.update(chunk));
    await pipeline(body, createWriteStream(target));
    return hash.digest('hex');
  };
  const copyAndHash = async () => {
    await copyFile(local.pathOf('ours/0'), target);
    const hash = createHash('sha256');
    await pipeline(createReadStream(target, { highWaterMark: 1 << 20 }), hash);
    return hash.digest('hex');
  };
  const copyAndSync = async (round: number) => {
    const path = join(folder, `.plain-${round}`);
    await copyFile(source, path);
    const file = await open(path, 'r');
    await file.sync();
    await file.close();
  };
  return [
    {
      name: 's3: upload to plain SDK',
      wanted: 0.9,
      ours: async round => ok(await s3.upload(`ours/${round}`, source)),
      peer: plainUpload,
    },
    {
      name: 's3: download to plain SDK, no digest on either side',
      wanted: 0.9,
      ours: async () => ok(await s3.download('ours/0', target, { digest: 'none' })),
      peer: plainDownload,
    },
    {
      name: 's3: download with SHA-256 to plain SDK with SHA-256',
      wanted: 0.9,
      ours: async () => ok(await s3.download('ours/0', target)),
      peer: plainDownloadHashed,
    },
    {
      // Needs a core for the hash that neither this process nor the server wants.
      name: 's3: download with SHA-256 to plain SDK without',
      wanted: 0.9,
      ours: async () => ok(await s3.download('ours/0', target)),
      peer: plainDownload,
    },
    {
      name: 'local: upload to copy and fsync',
      wanted: 0.9,
      ours: async round => ok(await local.upload(`ours/${round}`, source)),
      peer: copyAndSync,
    },
    {
      name: 'local: download with SHA-256 to copy and SHA-256',
      wanted: 0.9,
      ours: async () => ok(await local.download('ours/0', target)),
      peer: copyAndHash,
    },
  ];
}

/** Alternates, so that both meet the same moods of the machine; medians. */
async function sideBySide(pair: Pair, rounds: number): Promise<{ ours: number; peer: number }> {
  const times = { ours: [] as number[], peer: [] as number[] };
  for (let round = 0; round < rounds; round += 1) {
    for (const side of round % 2 === 0 ? (['ours', 'peer'] as const) : (['peer', 'ours'] as const)) {
      const started = performance.now();
      await pair[side](round);
      times[side].push(performance.now() - started);
    }
  }
  return { ours: quantile(times.ours, 0.5), peer: quantile(times.peer, 0.5) };
}

function ok(result: { readonly kind: string }): void {
  if (result.kind !== 'applied' && result.kind !== 'found') throw new Error(JSON.stringify(result));
}

function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;
}

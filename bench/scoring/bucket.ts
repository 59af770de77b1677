/**
 * Scoring files of a bucket, as a job does it: the next chunk's columns are fetched while this one is scored. Against the same
 * files on this machine, and against fetching alone, in one process and in turn.
 */
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { ChunkInputs, type ReadByScoring } from '../../src/activities/chunk-inputs.ts';
import { pinOf } from '../../src/activities/inputs.ts';
import type { InputRange } from '../../src/engine/job.ts';
import { EnginePool } from '../../src/engine/pool.ts';
import { InputTables } from '../../src/inputs/input-tables.ts';
import { S3Store } from '../../src/storage/s3.ts';
import { startS3Server } from '../../test/support/s3-server.ts';
import { FILES } from './data.ts';
import { chunkJob, contract } from './jobs.ts';

export interface BucketRound {
  /** Seconds for all rows. */
  readonly local: number;
  readonly download: number;
  readonly bucket: number;
}

const lanes = 2;
const deadlineMs = 30 * 60_000;

export async function runBucket(options: {
  readonly model: string;
  /** Folder of the bench's files. */
  readonly data: string;
  readonly fileRows: number;
  readonly work: string;
  readonly rounds: number;
}): Promise<readonly BucketRound[]> {
  const { model, data, fileRows, work, rounds } = options;
  const server = await startS3Server();
  process.env['AWS_ACCESS_KEY_ID'] = server.credentials.accessKeyId;
  process.env['AWS_SECRET_ACCESS_KEY'] = server.credentials.secretAccessKey;
  const s3 = { endpoint: server.endpoint, region: server.region };
  const store = new S3Store({ bucket: server.bucket, prefix: '' }, s3);
  const engine = new EnginePool({ size: lanes, scratch: join(work, 'bucket-engine') });
  try {
    for (let file = 0; file < FILES; file++) {
      const uploaded = await store.upload(`rows/part-${file}.parquet`, join(data, `part-${file}.parquet`));
      if (uploaded.kind !== 'applied') throw new Error(`the bucket refused part ${file}: ${JSON.stringify(uploaded)}`);
    }
    const tables = new InputTables({ folder: data, s3, engine });
    const definition: ReadByScoring = {
      data: { features: { format: 'parquet', path: '' }, transform: null },
      contract: contract('warn'),
      evaluate: { slices: [] },
      score: { passThrough: ['ts'] },
    };
    const fetchRepair = () => Promise.reject(new Error('nothing was repaired'));
    const { signal } = new AbortController();
    const score = async (inputs: readonly InputRange[], name: string) => {
      const outputFolder = join(work, `bucket-${name}`);
      await mkdir(outputFolder, { recursive: true });
      const job = chunkJob({ models: [model], input: '', rows: fileRows, outputFolder });
      await engine.run('score-chunk', { ...job, inputs }, { deadlineMs });
      await rm(outputFolder, { recursive: true, force: true });
    };
    const inLanes = async (of: (inputs: ChunkInputs, chunk: number) => Promise<void>, path: string) => {
      const files = await tables.files({ format: 'parquet', path }, ['']);
      const plan = {
        inputs: files.map(file => ({ ...pinOf(file), partition: '', sha256: null, rows: fileRows })),
        chunks: files.map(file => ({ inputs: [{ path: file.path }], rows: fileRows })),
      };
      const started = performance.now();
      await Promise.all(
        Array.from({ length: lanes }, async (_, lane) => {
          const [from, to] = [(lane * FILES) / lanes, ((lane + 1) * FILES) / lanes];
          const folder = join(work, `bucket-lane-${lane}`);
          const inputs = new ChunkInputs({ tables, fetchRepair, plan, definition, to, folder, signal });
          for (let chunk = from; chunk < to; chunk++) {
            await of(inputs, chunk);
            await inputs.drop(chunk);
          }
        }),
      );
      return (performance.now() - started) / 1_000;
    };
    const measured: BucketRound[] = [];
    const scoring = async (inputs: ChunkInputs, chunk: number) => score(await inputs.take(chunk), String(chunk));
    const fetching = async (inputs: ChunkInputs, chunk: number) => void (await inputs.take(chunk));
    const remote = `s3://${server.bucket}/rows/*.parquet`;
    for (let round = 0; round < rounds; round++) {
      measured.push({
        local: await inLanes(scoring, '*.parquet'),
        download: await inLanes(fetching, remote),
        bucket: await inLanes(scoring, remote),
      });
    }
    return measured;
  } finally {
    await engine.close();
    store.close();
    await server.stop();
  }
}

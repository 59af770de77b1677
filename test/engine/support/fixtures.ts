/** Small real inputs for engine tests: contracts, ONNX models, Parquet files made by DuckDB. */
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DuckDBInstance } from '@duckdb/node-api';
import type { Contract, ContractColumn } from '../../../src/domain/contract.ts';
import type { Signature } from '../../../src/domain/signature.ts';
import type { ModelToScore, ScoreChunkJob } from '../../../src/engine/job.ts';
import { gemmBlock, joinBlocks, sigmoidBlock, softmaxBlock } from '../../../src/onnx/blocks.ts';
import { buildModel, buildValue } from '../../../src/onnx/build.ts';

export function column(name: string, overrides: Partial<ContractColumn> = {}): ContractColumn {
  return {
    name,
    type: 'float',
    role: 'feature',
    min: null,
    max: null,
    nulls: { maxShare: 1, as: 'nan', default: null },
    values: null,
    unseen: 'other',
    unique: false,
    onFail: 'quarantine',
    pii: false,
    ...overrides,
  };
}

export function contractOf(columns: readonly ContractColumn[], overrides: Partial<Contract> = {}): Contract {
  return {
    keys: ['id'],
    eventTime: null,
    knownAt: null,
    columns,
    rules: [],
    forbidden: [],
    quarantineBudget: 0.1,
    ...overrides,
  };
}

export function binarySignature(columns: readonly string[]): Signature {
  return {
    schema: 'signature/1',
    task: 'binary',
    inputs: [
      {
        name: 'x',
        type: 'float32',
        rank: 2,
        columns: columns.map(name => ({ kind: 'number', column: name }) as const),
      },
    ],
    outputs: [{ name: 'p', type: 'float32', width: 1, meaning: 'positive' }],
    classes: ['no', 'yes'],
    targets: [],
    threshold: 0.5,
  };
}

/** sigmoid(weights · x + bias). */
export function logisticModel(weights: readonly number[], bias: number): Uint8Array {
  const blocks = joinBlocks([
    gemmBlock({ input: 'x', output: 'z', weights, bias: [bias] }),
    sigmoidBlock({ input: 'z', output: 'p' }),
  ]);
  return buildModel({
    ...blocks,
    inputs: [buildValue('x', 'float32', ['N', weights.length])],
    outputs: [buildValue('p', 'float32', ['N', 1])],
  });
}

/** softmax of `classes` linear scores; weights row by row, one row per input. */
export function softmaxModel(inputs: number, weights: readonly number[], bias: readonly number[]): Uint8Array {
  const blocks = joinBlocks([
    gemmBlock({ input: 'x', output: 'z', weights, bias }),
    softmaxBlock({ input: 'z', output: 'p' }),
  ]);
  return buildModel({
    ...blocks,
    inputs: [buildValue('x', 'float32', ['N', inputs])],
    outputs: [buildValue('p', 'float32', ['N', bias.length])],
  });
}

export const sigmoid = (z: number) => 1 / (1 + Math.exp(-z));

export class Bench {
  readonly folder: string;
  readonly #instance: DuckDBInstance;

  private constructor(folder: string, instance: DuckDBInstance) {
    this.folder = folder;
    this.#instance = instance;
  }

  static async create(): Promise<Bench> {
    const folder = await mkdtemp(join(tmpdir(), 'almanac-engine-'));
    return new Bench(folder, await DuckDBInstance.create(':memory:'));
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  async sql(sql: string): Promise<Record<string, unknown>[]> {
    const connection = await this.#instance.connect();
    try {
      return (await connection.runAndReadAll(sql)).getRowObjectsJS();
    } finally {
      connection.closeSync();
    }
  }

  /** Writes the rows of a SELECT as Parquet and gives the path. */
  async parquet(name: string, select: string, options = ''): Promise<string> {
    await this.sql(`COPY (${select}) TO '${this.path(name)}' (FORMAT parquet${options})`);
    return this.path(name);
  }

  read(path: string): Promise<Record<string, unknown>[]> {
    return this.sql(`SELECT * FROM read_parquet('${path}')`);
  }

  async model(name: string, bytes: Uint8Array): Promise<string> {
    await writeFile(this.path(name), bytes);
    return this.path(name);
  }

  close(): void {
    this.#instance.closeSync();
  }
}

export function champion(onnx: string, signature: Signature, version = 1): ModelToScore {
  return { version, onnx, signature, scorer: 'auto', part: { kind: 'champion' } };
}

export function scoreJob(
  parts: Pick<ScoreChunkJob, 'inputs' | 'rows' | 'contract' | 'models' | 'outputFolder'> & Partial<ScoreChunkJob>,
): ScoreChunkJob {
  return {
    tables: {},
    transform: null,
    outputColumns: ['id'],
    scoredAt: '2026-01-31T00:00:00Z',
    baseline: null,
    sliceColumns: [],
    batchRows: 2048,
    device: 'off',
    ...parts,
  };
}

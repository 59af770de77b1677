/** Documents of the bench: the signature and contract of its models, and a chunk's job. */
import type { Contract } from '../../src/domain/contract.ts';
import type { Signature } from '../../src/domain/signature.ts';
import type { ScoreChunkJob } from '../../src/engine/job.ts';
import { FEATURES } from './data.ts';

export const LOW = -10;
export const HIGH = 20;

export function signature(): Signature {
  return {
    schema: 'signature/1',
    task: 'binary',
    inputs: [
      {
        name: 'x',
        type: 'float32',
        rank: 2,
        columns: FEATURES.map(column => ({ kind: 'number', column }) as const),
      },
    ],
    outputs: [{ name: 'p', type: 'float32', width: 1, meaning: 'positive' }],
    classes: ['0', '1'],
    targets: [],
    threshold: 0.5,
  };
}

/** `quarantine` has bounds that every row keeps; `warn` has none. */
export function contract(onFail: 'warn' | 'quarantine'): Contract {
  return {
    keys: ['id'],
    eventTime: null,
    knownAt: null,
    columns: FEATURES.map(name => ({
      name,
      type: 'float',
      role: 'feature',
      min: onFail === 'quarantine' ? LOW : null,
      max: onFail === 'quarantine' ? HIGH : null,
      nulls: { maxShare: 1, as: 'nan', default: null },
      values: null,
      unseen: 'other',
      unique: false,
      onFail,
      pii: false,
    })),
    rules: [],
    forbidden: [],
    quarantineBudget: 0.1,
  };
}

/** The champion first, then shadows. With a baseline: rules and profile too. */
export function chunkJob(parts: {
  readonly models: readonly string[];
  readonly input: string;
  readonly rows: number;
  readonly outputFolder: string;
  readonly baseline?: string;
}): ScoreChunkJob {
  return {
    inputs: [{ path: parts.input }],
    rows: parts.rows,
    tables: {},
    transform: null,
    contract: contract(parts.baseline === undefined ? 'warn' : 'quarantine'),
    outputColumns: ['id', 'ts'],
    models: parts.models.map((onnx, index) => ({
      version: index + 1,
      onnx,
      signature: signature(),
      scorer: 'auto',
      part: { kind: index === 0 ? 'champion' : 'shadow' },
    })),
    scoredAt: '2026-01-01T00:00:00Z',
    outputForm: 'predictions',
    baseline: parts.baseline ?? null,
    sliceColumns: [],
    outputFolder: parts.outputFolder,
    batchRows: 2_048,
    device: 'off',
  };
}

/** Reads the arrays of an evaluation back; the only reader of their layout. */
import { readFile } from 'node:fs/promises';
import { EngineFault } from './fault.ts';
import type { Evaluation } from './job.ts';

export interface EvaluationRows {
  readonly rows: number;
  readonly labels: Float64Array;
  /** Of sampled labels; null when all rows count alike. */
  readonly weights: Float64Array | null;
  /** Index of the job's partition, per row. */
  readonly partitions: Int32Array;
  /** `width` numbers per row. */
  readonly scores: readonly { readonly version: number; readonly width: number; readonly values: Float64Array }[];
  /** Code per row into `values`; -1 is NULL. */
  readonly slices: readonly {
    readonly column: string;
    readonly values: readonly string[];
    readonly codes: Int32Array;
  }[];
}

export async function readEvaluation(evaluation: Evaluation): Promise<EvaluationRows> {
  const { rows } = evaluation;
  const floats = async (path: string, length: number) => new Float64Array(await readBytes(path, length * 8));
  const codes = async (path: string) => new Int32Array(await readBytes(path, rows * 4));
  const scores: EvaluationRows['scores'][number][] = [];
  for (const { version, width, path } of evaluation.scores) {
    scores.push({ version, width, values: await floats(path, rows * width) });
  }
  const slices: EvaluationRows['slices'][number][] = [];
  for (const { column, values, path } of evaluation.slices) slices.push({ column, values, codes: await codes(path) });
  return {
    rows,
    labels: await floats(evaluation.labels, rows),
    weights: evaluation.weights === null ? null : await floats(evaluation.weights, rows),
    partitions: await codes(evaluation.partitions),
    scores,
    slices,
  };
}

async function readBytes(path: string, bytes: number): Promise<ArrayBuffer> {
  const found = await readFile(path);
  if (found.byteLength !== bytes) {
    throw new EngineFault(
      'bad_input',
      `${path}: ${found.byteLength} bytes, expected ${bytes}; run the evaluation again`,
      { path },
    );
  }
  // A copy at offset 0: typed arrays need aligned memory, and a Buffer may sit anywhere in a pool.
  const copy = new ArrayBuffer(bytes);
  new Uint8Array(copy).set(found);
  return copy;
}

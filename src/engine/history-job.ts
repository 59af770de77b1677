/** Reading a labelled history into memory for a backtest. See `job.ts`. */
import { readFile } from 'node:fs/promises';
import type { ContractColumn } from '../domain/contract.ts';
import type { LabelColumns } from './job.ts';

export interface HistoryJob {
  /** `training.parquet` of `materialise`. */
  readonly file: string;
  readonly label: LabelColumns;
  readonly features: readonly ContractColumn[];
  readonly outputFolder: string;
}

/** Numbers and labels are float32, codes of categories int32, weights float64; little-endian, the same rows in the same order. */
export interface HistoryFiles {
  readonly rows: number;
  readonly columns: readonly HistoryColumnFile[];
  readonly labels: string;
  /** Null when all rows count alike. */
  readonly weights: string | null;
  /** In the order of the rows. */
  readonly partitions: readonly { readonly partition: string; readonly rows: number }[];
}

export type HistoryColumnFile =
  | { readonly kind: 'number'; readonly name: string; readonly path: string }
  | { readonly kind: 'category'; readonly name: string; readonly path: string; readonly categories: readonly string[] };

export async function readHistoryArrays(files: HistoryFiles) {
  const columns = [];
  for (const column of files.columns) {
    const bytes = await readBytes(column.path);
    columns.push(
      column.kind === 'number'
        ? ({ kind: 'number', name: column.name, values: new Float32Array(bytes) } as const)
        : ({
            kind: 'category',
            name: column.name,
            categories: column.categories,
            codes: new Int32Array(bytes),
          } as const),
    );
  }
  return {
    columns,
    labels: new Float32Array(await readBytes(files.labels)),
    weights: files.weights === null ? null : new Float64Array(await readBytes(files.weights)),
  };
}

async function readBytes(path: string): Promise<ArrayBuffer> {
  const found = await readFile(path);
  // A copy at offset 0: typed arrays need aligned memory, and a Buffer may sit anywhere in a pool.
  const copy = new ArrayBuffer(found.byteLength);
  new Uint8Array(copy).set(found);
  return copy;
}

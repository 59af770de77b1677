/** The committed exports of real models, with what Python's onnxruntime answers for a few rows. */
import { readdirSync, readFileSync } from 'node:fs';
import * as ort from 'onnxruntime-node';

const folder = new URL('fixtures/', import.meta.url);

export interface CorpusModel {
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly inputs: Readonly<Record<string, CorpusTensor>>;
  readonly outputs: Readonly<Record<string, CorpusTensor>>;
}

export interface CorpusTensor {
  readonly dims: readonly number[];
  readonly values: readonly (number | string)[];
}

export const corpusNames: readonly string[] = readdirSync(folder)
  .filter(file => file.endsWith('.onnx'))
  .map(file => file.slice(0, -5));

export function readCorpus(name: string): CorpusModel {
  const document: Pick<CorpusModel, 'inputs' | 'outputs'> = JSON.parse(
    readFileSync(new URL(`${name}.json`, folder), 'utf8'),
  );
  return { name, bytes: readFileSync(new URL(`${name}.onnx`, folder)), ...document };
}

export function floatsOf(tensor: CorpusTensor): Float32Array {
  return Float32Array.from(tensor.values, Number);
}

/** Rows to columns: `[rows, width]` → feature f of row r at `f * rows + r`. */
export function transpose(values: Float32Array, rows: number, width: number): Float32Array {
  const columns = new Float32Array(values.length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < width; column++) columns[column * rows + row] = values[row * width + column] ?? 0;
  }
  return columns;
}

/** A function that runs column-major rows through ONNX Runtime with one thread and gives one output. */
export async function onnxRunner(bytes: Uint8Array, output: string) {
  const session = await ort.InferenceSession.create(bytes, { intraOpNumThreads: 1, logSeverityLevel: 3 });
  const input = session.inputNames[0] ?? '';
  return async ({ columns, rows }: { columns: Float32Array; rows: number }): Promise<Float32Array> => {
    const width = columns.length / rows;
    const feeds = { [input]: new ort.Tensor('float32', transpose(columns, width, rows), [rows, width]) };
    const result = await session.run(feeds, [output]);
    const data = result[output]?.data;
    if (!(data instanceof Float32Array)) throw new Error(`output ${output} is no float32 tensor`);
    return data;
  };
}

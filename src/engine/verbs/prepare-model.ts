/** Reads a model file for the first time. A hostile file hurts a child at worst. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { checkModel } from '../../onnx/check.ts';
import { type OnnxModel, readModel, summarizeModel } from '../../onnx/read.ts';
import { inferSignature, SignatureMismatch } from '../../onnx/signature.ts';
import { stripZipMap } from '../../onnx/zipmap.ts';
import { EngineFault } from '../fault.ts';
import type { PreparedModel, PrepareModelJob } from '../job.ts';
import type { VerbContext } from '../verbs.ts';

export async function run(job: PrepareModelJob, context: VerbContext): Promise<PreparedModel> {
  const bytes = await readFile(job.onnx).catch((error: unknown) => {
    throw new EngineFault(
      'bad_model',
      `${job.onnx} cannot be read: ${String(error)}`,
      { path: job.onnx },
      { cause: error },
    );
  });
  const model = refusing(job.onnx, () => stripZipMap(readModel(bytes)));
  const problems = checkModel(model);
  if (problems.length > 0)
    throw new EngineFault('bad_model', `${job.onnx}: ${problems.join('; ')}`, { path: job.onnx, problems });
  const signature = refusing(job.onnx, () => inferSignature(model, { columns: job.columns }));
  const onnx = await fileOf(model, bytes, job);
  const prepared = { onnx, signature, summary: summarizeModel(model) };
  if (context.kernels !== undefined && model.trees.size > 0) {
    // Imported here: other models need neither compiler nor ONNX Runtime yet.
    const { compileAhead } = await import('../loaded-model.ts');
    await compileAhead({ onnx, model, signature }, context);
  }
  return prepared;
}

async function fileOf(model: OnnxModel, bytes: Uint8Array, job: PrepareModelJob): Promise<string> {
  if (model.bytes === bytes) return job.onnx;
  const path = join(job.outputFolder, 'model.onnx');
  await writeFile(path, model.bytes);
  return path;
}

/** What the readers throw is about the model, and permanent. */
function refusing<T>(path: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    const kind = error instanceof SignatureMismatch ? 'bad_job' : 'bad_model';
    throw new EngineFault(kind, `${path}: ${message}`, { path }, { cause: error });
  }
}

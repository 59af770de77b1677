/** The output of a model that predictions are read from, and how many numbers of it belong to a row. */
import type { OutputTensor, Signature } from '../domain/signature.ts';
import { EngineFault } from './fault.ts';
import type { OnnxTensor } from './onnx-session.ts';

export type Numbers = Float32Array | Float64Array;

/** The output the predictions are read from: probabilities before labels. */
export function predictionOutput(signature: Signature, label: string): OutputTensor {
  const wanted: readonly OutputTensor['meaning'][] =
    signature.task === 'regression' ? ['value'] : ['positive', 'probabilities'];
  for (const meaning of wanted) {
    const found = signature.outputs.find(output => output.meaning === meaning);
    if (found !== undefined) return found;
  }
  throw new EngineFault(
    'bad_model',
    `${label}: a ${signature.task} model needs an output that means ${wanted.join(' or ')}; ` +
      `its signature has ${signature.outputs.map(output => `${output.name} (${output.meaning})`).join(', ') || 'none'}`,
    { label },
  );
}

export function predictionWidth(signature: Signature): number {
  switch (signature.task) {
    case 'binary':
      return 1;
    case 'multiclass':
      return signature.classes.length;
    case 'regression':
      return signature.targets.length;
  }
}

/** Checks the length and cuts out what counts; a NaN is left to the caller, who knows the row. */
export function predictionsOf(
  tensor: OnnxTensor,
  output: OutputTensor,
  signature: Signature,
  rows: number,
  label: string,
): Numbers {
  const { data } = tensor;
  if (!(data instanceof Float32Array || data instanceof Float64Array)) {
    throw new EngineFault('bad_model', `${label}: output ${output.name} is not float32 or float64`, { label });
  }
  const width = predictionWidth(signature);
  const perRow = output.meaning === 'probabilities' && signature.task === 'binary' ? 2 : width;
  if (data.length !== rows * perRow) {
    throw new EngineFault(
      'bad_model',
      `${label}: output ${output.name} has ${data.length} values for ${rows} rows (shape ${tensor.dims.join(' × ')}), expected ${perRow} a row`,
      { label, output: output.name, values: data.length, rows },
    );
  }
  if (perRow === width) return data;
  const positive = data instanceof Float32Array ? new Float32Array(rows) : new Float64Array(rows);
  for (let row = 0; row < rows; row++) positive[row] = data[2 * row + 1]!;
  return positive;
}

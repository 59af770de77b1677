/** What a graph does to the scores after the trees, repeated step by step in float32. */
const { fround } = Math;

export type ScoreStep =
  | { readonly kind: 'scale'; readonly by: 'Mul' | 'Div' | 'Add' | 'Sub'; readonly constant: number }
  | { readonly kind: 'sigmoid' }
  | { readonly kind: 'softmax' };

/** Applies a step in place to `rows` rows of `width` values. */
export function applyStep(step: ScoreStep, values: Float32Array, rows: number, width: number): void {
  const count = rows * width;
  switch (step.kind) {
    case 'scale': {
      const change = arithmetic[step.by];
      for (let i = 0; i < count; i++) values[i] = change(values[i]!, step.constant);
      return;
    }
    case 'sigmoid':
      for (let i = 0; i < count; i++) values[i] = 1 / (1 + Math.exp(-values[i]!));
      return;
    case 'softmax':
      for (let row = 0; row < rows; row++) softmaxRow(values, row * width, width);
  }
}

const arithmetic = {
  Mul: (a: number, b: number) => fround(a * b),
  Div: (a: number, b: number) => fround(a / b),
  Add: (a: number, b: number) => fround(a + b),
  Sub: (a: number, b: number) => fround(a - b),
} as const;

function softmaxRow(values: Float32Array, at: number, width: number): void {
  let max = Number.NEGATIVE_INFINITY;
  for (let i = at; i < at + width; i++) max = Math.max(max, values[i]!);
  let sum = 0;
  for (let i = at; i < at + width; i++) {
    values[i] = Math.exp(values[i]! - max);
    sum += values[i]!;
  }
  for (let i = at; i < at + width; i++) values[i] = values[i]! / sum;
}

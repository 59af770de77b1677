/** Limited-memory BFGS with a backtracking line search: Nocedal & Wright, Numerical Optimization (2006), algorithm 7.5. */

const HISTORY = 10;
const ARMIJO = 1e-4;
const HALVINGS_MAX = 40;

export interface Minimum {
  readonly point: Float64Array;
  readonly value: number;
  readonly iterations: number;
  /** False when the iterations ran out before the gradient became small. */
  readonly converged: boolean;
}

/** Value of the function at a point; writes its gradient. */
export type Objective = (point: Float64Array, gradient: Float64Array) => number;

/** Minimises from `start` until the largest gradient component is at most `tolerance`. Calls `report` after each iteration. */
export async function minimise(
  objective: Objective,
  start: Float64Array,
  options: { readonly iterations: number; readonly tolerance: number },
  report: (iteration: number, value: number) => Promise<void>,
): Promise<Minimum> {
  let point = start;
  let gradient = new Float64Array(start.length);
  let value = objective(point, gradient);
  const steps: { readonly step: Float64Array; readonly change: Float64Array; readonly inverse: number }[] = [];
  for (let iteration = 0; ; iteration++) {
    if (largest(gradient) <= options.tolerance) return { point, value, iterations: iteration, converged: true };
    if (iteration === options.iterations) return { point, value, iterations: iteration, converged: false };
    const direction = descend(gradient, steps);
    const slope = dot(direction, gradient);
    const next = new Float64Array(point.length);
    const nextGradient = new Float64Array(point.length);
    // The first step has no curvature to go by: its length is that of one unit.
    let length = steps.length === 0 ? 1 / Math.max(1, Math.sqrt(dot(gradient, gradient))) : 1;
    let nextValue = Infinity;
    for (let halving = 0; halving < HALVINGS_MAX; halving++, length /= 2) {
      for (let index = 0; index < point.length; index++) next[index] = point[index]! + length * direction[index]!;
      nextValue = objective(next, nextGradient);
      if (nextValue <= value + ARMIJO * length * slope) break;
    }
    // No step improves: the value is flat to the last digit, which is as good as it gets.
    if (!(nextValue < value)) return { point, value, iterations: iteration, converged: true };
    const step = next.map((coordinate, index) => coordinate - point[index]!);
    const change = nextGradient.map((slopeAt, index) => slopeAt - gradient[index]!);
    const curvature = dot(step, change);
    if (curvature > 1e-12 * dot(change, change)) {
      steps.push({ step, change, inverse: 1 / curvature });
      if (steps.length > HISTORY) steps.shift();
    }
    [point, gradient, value] = [next, nextGradient, nextValue];
    await report(iteration + 1, value);
  }
}

/** The two-loop recursion (algorithm 7.4): minus the inverse Hessian's estimate times the gradient. */
function descend(
  gradient: Float64Array,
  steps: readonly { readonly step: Float64Array; readonly change: Float64Array; readonly inverse: number }[],
): Float64Array<ArrayBuffer> {
  const direction = gradient.map(slope => -slope);
  const projections = new Float64Array(steps.length);
  for (let index = steps.length - 1; index >= 0; index--) {
    const { step, change, inverse } = steps[index]!;
    projections[index] = inverse * dot(step, direction);
    addScaled(direction, change, -projections[index]!);
  }
  const last = steps.at(-1);
  if (last !== undefined) {
    const scale = 1 / (last.inverse * dot(last.change, last.change));
    for (let index = 0; index < direction.length; index++) direction[index]! *= scale;
  }
  steps.forEach(({ step, change, inverse }, index) => {
    addScaled(direction, step, projections[index]! - inverse * dot(change, direction));
  });
  return direction;
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let index = 0; index < a.length; index++) sum += a[index]! * b[index]!;
  return sum;
}

function addScaled(target: Float64Array, other: Float64Array, scale: number): void {
  for (let index = 0; index < target.length; index++) target[index]! += scale * other[index]!;
}

function largest(values: Float64Array): number {
  let found = 0;
  for (const value of values) found = Math.max(found, Math.abs(value));
  return found;
}

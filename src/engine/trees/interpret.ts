/** The meaning of an ensemble, written down as plainly as possible: what the kernels are tested against. */
import { branchModes, type TreeEnsemble } from './ensemble.ts';
import { createFinish, planFinish, startValue } from './finish.ts';

/** Column-major features in, row-major results out; throws where `planFinish` refuses. */
export function interpretTrees(
  ensemble: TreeEnsemble,
  columns: Float32Array,
  stride: number,
  rows: number,
): Float32Array {
  const facts = planFinish(ensemble);
  if ('refused' in facts) throw new Error(facts.refused);
  const finish = createFinish(facts);
  const sums = new Float32Array(ensemble.targets * rows).fill(startValue(ensemble));
  for (const root of ensemble.roots) {
    for (let row = 0; row < rows; row++) {
      const leaf = descend(ensemble, root, feature => columns[feature * stride + row]!);
      for (let i = ensemble.weightStart[leaf]!; i < ensemble.weightStart[leaf + 1]!; i++) {
        const at = ensemble.weightTarget[i]! * rows + row;
        sums[at] = combine(ensemble, sums[at]!, ensemble.weights[i]!);
      }
    }
  }
  const out = new Float32Array(rows * finish.width);
  finish.apply(sums, rows, rows, out, 0);
  return out;
}

function combine({ aggregate }: TreeEnsemble, sum: number, weight: number): number {
  if (aggregate === 'MIN') return Math.min(sum, weight);
  return aggregate === 'MAX' ? Math.max(sum, weight) : sum + weight;
}

function descend(ensemble: TreeEnsemble, root: number, read: (feature: number) => number): number {
  let node = root;
  while (branchModes[ensemble.modes[node]!] !== 'LEAF') {
    const holds = branchHolds(ensemble, node, read(ensemble.featureIds[node]!));
    node = holds ? ensemble.onTrue[node]! : ensemble.onFalse[node]!;
  }
  return node;
}

function branchHolds(ensemble: TreeEnsemble, node: number, value: number): boolean {
  if (Number.isNaN(value) && ensemble.missingTrue[node] === 1) return true;
  const threshold = ensemble.thresholds[node]!;
  switch (branchModes[ensemble.modes[node]!]) {
    case 'BRANCH_LEQ':
      return value <= threshold;
    case 'BRANCH_LT':
      return value < threshold;
    case 'BRANCH_GTE':
      return value >= threshold;
    case 'BRANCH_GT':
      return value > threshold;
    case 'BRANCH_EQ':
      return value === threshold;
    case 'BRANCH_NEQ':
      return value !== threshold;
    case 'BRANCH_MEMBER':
      return ensemble.sets[threshold]?.some(member => member === value) ?? false;
    default:
      throw new Error(`node ${node} has no branch mode`);
  }
}

/**
 * The parity gate: compiled trees may score only what they score like the runtime they replace, on the rows where a mistake
 * would show: on thresholds and one float beside them, NaN, infinities, both zeros, subnormals, and ordinary values.
 */
import type { TreeEnsemble } from './ensemble.ts';
import { floatBelow } from './normalize.ts';

/** Column-major feature rows: feature f of row r at `columns[f * rows + r]`. */
export interface FeatureRows {
  readonly name: string;
  readonly columns: Float32Array;
  readonly rows: number;
}

export interface ParityReport {
  readonly verdict: 'equal' | 'different';
  readonly rows: number;
  /** Rows whose values are not the same bits. */
  readonly rowsNotIdentical: number;
  readonly largestDifference: number;
  /** 1e-6 × max(1, largest |output| of the reference). */
  readonly tolerance: number;
  /** Where the largest difference was. */
  readonly worst: {
    readonly sample: string;
    readonly row: number;
    readonly ours: number;
    readonly reference: number;
  } | null;
}

export interface ParityParts {
  /** Values per row. */
  readonly width: number;
  readonly samples: readonly FeatureRows[];
  readonly score: (columns: Float32Array, stride: number, rows: number, out: Float32Array) => void;
  /** The same rows by the reference runtime: `rows * width` values, row-major. */
  readonly reference: (sample: FeatureRows) => ArrayLike<number> | Promise<ArrayLike<number>>;
}

export async function checkParity(parts: ParityParts): Promise<ParityReport> {
  const { width } = parts;
  let rows = 0;
  let rowsNotIdentical = 0;
  let largestOutput = 0;
  let largestDifference = 0;
  let worst: ParityReport['worst'] = null;
  for (const sample of parts.samples) {
    const ours = new Float32Array(sample.rows * width);
    parts.score(sample.columns, sample.rows, sample.rows, ours);
    const reference = await parts.reference(sample);
    if (reference.length !== ours.length) {
      throw new Error(`${sample.name}: the reference gave ${reference.length} values, expected ${ours.length}`);
    }
    rows += sample.rows;
    for (let row = 0; row < sample.rows; row++) {
      let identical = true;
      for (let i = row * width; i < (row + 1) * width; i++) {
        const theirs = reference[i]!;
        if (Number.isFinite(theirs)) largestOutput = Math.max(largestOutput, Math.abs(theirs));
        if (Object.is(ours[i], theirs) || ours[i] === theirs) continue;
        identical = false;
        const difference = Math.abs(ours[i]! - theirs);
        // NaN against a number, or different infinities, is as different as can be.
        const size = Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference;
        if (size <= largestDifference) continue;
        largestDifference = size;
        worst = { sample: sample.name, row, ours: ours[i]!, reference: theirs };
      }
      if (!identical) rowsNotIdentical++;
    }
  }
  const tolerance = 1e-6 * Math.max(1, largestOutput);
  const verdict = largestDifference <= tolerance ? 'equal' : 'different';
  return { verdict, rows, rowsNotIdentical, largestDifference, tolerance, worst };
}

/** The samples every gate uses: edge rows and random rows of a model; golden rows come from its trainer. */
export function paritySamples(ensemble: TreeEnsemble, rows = 2048): readonly FeatureRows[] {
  const thresholds = thresholdsByFeature(ensemble);
  const random = uniformNumbers();
  return [
    { name: 'edge', rows, columns: fillColumns(thresholds, rows, values => edgeValue(values, random)) },
    { name: 'random', rows, columns: fillColumns(thresholds, rows, values => ordinaryValue(values, random)) },
  ];
}

function thresholdsByFeature(ensemble: TreeEnsemble): readonly (readonly number[])[] {
  const byFeature = Array.from({ length: ensemble.features }, () => new Set<number>());
  ensemble.modes.forEach((mode, node) => {
    if (mode === 0) return;
    const values = byFeature[ensemble.featureIds[node]!]!;
    if (mode === 7) for (const member of ensemble.sets[ensemble.thresholds[node]!] ?? []) values.add(member);
    else values.add(ensemble.thresholds[node]!);
  });
  return byFeature.map(values => [...values]);
}

function fillColumns(
  thresholds: readonly (readonly number[])[],
  rows: number,
  value: (thresholds: readonly number[]) => number,
): Float32Array {
  const columns = new Float32Array(thresholds.length * rows);
  thresholds.forEach((values, feature) => {
    for (let row = 0; row < rows; row++) columns[feature * rows + row] = value(values);
  });
  return columns;
}

const special = [Number.NaN, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0, -0, 1e-45, -1e-45];

function edgeValue(thresholds: readonly number[], random: () => number): number {
  const threshold = thresholds[Math.floor(random() * thresholds.length)];
  if (threshold === undefined || random() < 0.25) return special[Math.floor(random() * special.length)]!;
  const side = random();
  if (side < 0.4) return threshold;
  return side < 0.7 ? floatBelow(threshold) : -floatBelow(-threshold);
}

/** Between and around the thresholds, some missing. */
function ordinaryValue(thresholds: readonly number[], random: () => number): number {
  if (random() < 0.03) return Number.NaN;
  const a = thresholds[Math.floor(random() * thresholds.length)] ?? random();
  const b = thresholds[Math.floor(random() * thresholds.length)] ?? random();
  if (!Number.isFinite(a) || !Number.isFinite(b)) return random() * 4 - 2;
  return a + (b - a) * (random() * 1.5 - 0.25);
}

/** The same rows every time: a model that passed passes again. */
function uniformNumbers(): () => number {
  let state = 12_345;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

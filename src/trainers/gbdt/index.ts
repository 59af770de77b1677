/**
 * `builtin: gbdt`: histogram gradient boosting with second-order gains, leaf-wise growth, learned directions for missing
 * values and ordered categories. Seeded; the model does not depend on the number of threads.
 */
import { unknownName } from '../../domain/nearest.ts';
import { finishScores } from '../activation.ts';
import { describeParameters, ParameterError, parseParameters, rowWeights } from '../parameters.ts';
import { seededRandom } from '../random.ts';
import {
  builtinSignature,
  checkTable,
  encodeFeatures,
  type Table,
  type TrainedModel,
  type Trainer,
  type TrainingTask,
} from '../trainer.ts';
import { type Binning, findCuts } from './bins.ts';
import { type Boosted, boost } from './boost.ts';
import { type OrderedCategories, orderCategories } from './categories.ts';
import { exportTrees } from './export.ts';
import { type GbdtParameters, gbdtParameters } from './parameters.ts';
import { flatten, sumTrees, type Tree } from './tree.ts';

const name = 'gbdt';

export const gbdt: Trainer = {
  name,
  tasks: ['binary', 'multiclass', 'regression'],
  parameters: describeParameters(gbdtParameters),
  check: parameters => void parseParameters(name, gbdtParameters, parameters),
  async train(table, task, given, report) {
    const parameters = parseParameters(name, gbdtParameters, given);
    checkTable(table, task);
    checkMonotone(table, task, parameters);
    const ordered = table.features.map(feature =>
      feature.kind === 'category' ? orderCategories(feature, table, task, parameters.min_category_rows) : null,
    );
    const signature = builtinSignature(
      task,
      table.features,
      ordered.map(categories => categories?.vocabulary ?? null),
    );
    const columns = encodeFeatures(table.features, signature);
    const binnings = planBins(columns, ordered, parameters, task);
    const outputs = task.task === 'multiclass' ? task.classes.length : 1;
    const boosted = await boost(
      {
        task: task.task,
        outputs,
        columns,
        labels: table.labels,
        weights: Float32Array.from(rowWeights(name, parameters.class_weights, table, task)),
        binnings,
        monotone: binnings.map(({ feature }) => parameters.monotone[table.features[feature]!.name] ?? 0),
        seed: task.seed,
        threads: task.threads,
        parameters,
      },
      report,
    );
    return trainedModel(boosted, {
      signature,
      outputs,
      features: table.features.length,
      notes: notesOf(table, boosted, binnings),
    });
  },
};

function trainedModel(
  { trees, rounds }: Boosted,
  given: Pick<TrainedModel, 'signature' | 'notes'> & { readonly outputs: number; readonly features: number },
): TrainedModel {
  const { signature, outputs } = given;
  const flat = trees.map(flatten);
  return {
    signature,
    predict: columns => finishScores(signature.task, sumTrees(flat, columns, outputs), outputs),
    toOnnx: metadata => exportTrees(trees, outputs, signature, metadata),
    importance: { kind: 'gain', values: gainShares(trees, given.features) },
    rounds,
    notes: given.notes,
  };
}

function checkMonotone(table: Table, task: TrainingTask, { monotone }: GbdtParameters): void {
  const numbers = table.features.filter(feature => feature.kind === 'number').map(feature => feature.name);
  const names = Object.keys(monotone);
  if (names.length > 0 && task.task === 'multiclass') {
    throw new ParameterError('trainer gbdt: parameter "monotone" has no meaning for a multiclass model; remove it');
  }
  const unknown = names.find(feature => !numbers.includes(feature));
  if (unknown !== undefined) {
    throw new ParameterError(`trainer gbdt: monotone: ${unknownName('numeric feature', unknown, numbers)}`);
  }
}

/** Bins of every feature that varies: two values, or a value and missing. */
function planBins(
  columns: readonly Float32Array[],
  ordered: readonly (OrderedCategories | null)[],
  parameters: GbdtParameters,
  task: TrainingTask,
): Binning[] {
  return columns.flatMap((column, feature) => {
    const categories = ordered[feature] ?? null;
    // Rare categories have codes of their own but not bins of their own.
    const values = categories === null ? column : column.map(code => Math.min(code, categories.frequent));
    // Bins follow the rows, whatever these weigh: where the rows lie, splits can be told apart.
    const cuts = findCuts(values, parameters.max_bins, seededRandom(task.seed, 1_000 + feature));
    const missing = column.some(Number.isNaN);
    return cuts.length > 0 || (missing && !column.every(Number.isNaN)) ? [{ feature, cuts }] : [];
  });
}

function gainShares(trees: readonly Tree[], features: number): number[] {
  const gains = new Array<number>(features).fill(0);
  for (const tree of trees) for (const node of tree.nodes) gains[node.feature]! += node.gain;
  const total = gains.reduce((sum, gain) => sum + gain, 0);
  return gains.map(gain => (total > 0 ? gain / total : 0));
}

function notesOf(table: Table, boosted: Boosted, binnings: readonly Binning[]): string[] {
  const notes: string[] = [];
  if (table.labels.every(label => label === table.labels[0])) {
    notes.push(`the label is ${table.labels[0]} in all ${table.rows} rows: the model predicts a constant`);
  }
  const used = new Set(binnings.map(({ feature }) => feature));
  const constant = table.features.filter((_, index) => !used.has(index)).map(feature => feature.name);
  if (constant.length > 0) notes.push(`features without any variation were left out: ${constant.join(', ')}`);
  if (boosted.stoppedAfter !== null) {
    notes.push(`stopped early after ${boosted.stoppedAfter} rounds; the best round is kept`);
  }
  return notes;
}

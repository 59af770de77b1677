/** Gradient boosting: rounds of trees, each fitted to the gradients the trees before it have left. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { type Random, sampleIndices, seededRandom } from '../random.ts';
import type { Report, TrainingProgress } from '../trainer.ts';
import { type Binning, fillBins } from './bins.ts';
import { type GrownTree, type GrowRules, growTree } from './grow.ts';
import { giveBackMemory, openWorkspace, planLayout, takeMemory, type Workspace } from './layout.ts';
import { baseScores, gradientScales, meanLoss, type Task } from './loss.ts';
import type { GbdtParameters } from './parameters.ts';
import { putGradients, ROWS_PER_TASK, step } from './steps.ts';
import { Team } from './team.ts';
import { columnsOfNodes, flatten, leafOf, type Tree } from './tree.ts';

/** The training loss of a round is taken from this many rows; it is for people and for nothing else. */
const LOSS_ROWS = 16_384;
/** Fewer values than this are trained in less time than a thread takes to start. */
const PARALLEL_VALUES = 2_000_000;

export interface BoostInput {
  readonly task: Task;
  /** Trees per round. */
  readonly outputs: number;
  readonly columns: readonly Float32Array[];
  readonly labels: Float32Array;
  /** One weight per row. */
  readonly weights: Float32Array;
  readonly binnings: readonly Binning[];
  /** -1, 0 or 1 per binning. */
  readonly monotone: readonly number[];
  readonly seed: number;
  readonly threads: number;
  readonly parameters: GbdtParameters;
}

export interface Boosted {
  readonly trees: readonly Tree[];
  /** Empty when nobody asked for them. */
  readonly rounds: readonly TrainingProgress[];
  /** The round after which it stopped early; null when it did not. */
  readonly stoppedAfter: number | null;
}

export async function boost(input: BoostInput, report: Report | null): Promise<Boosted> {
  const { parameters, binnings } = input;
  const rows = input.labels.length;
  const threads = rows * binnings.length >= PARALLEL_VALUES ? input.threads : 1;
  const layout = planLayout({
    rows,
    features: binnings.length,
    outputs: input.outputs,
    leaves: parameters.max_leaves,
    threads,
  });
  const memory = takeMemory(layout);
  const workspace = openWorkspace(memory, layout, 0);
  const team = new Team(memory, workspace);
  try {
    fillBins(workspace, input.columns, binnings);
    workspace.labels.set(input.labels);
    workspace.weights.set(input.weights);
    workspace.valueBins.set(binnings.map(({ cuts }) => cuts.length + 1));
    workspace.monotone.set(input.monotone);
    return await new Boosting(input, workspace, team).run(report);
  } finally {
    await team.close();
    giveBackMemory(memory);
  }
}

class Boosting {
  readonly #input: BoostInput;
  readonly #workspace: Workspace;
  readonly #team: Team;
  readonly #random: Random;
  /** Rows trees learn from, and rows set aside to decide when to stop. */
  readonly #training: Uint32Array;
  readonly #validation: Uint32Array;
  readonly #lossRows: Uint32Array;
  readonly #weightMax: number;

  constructor(input: BoostInput, workspace: Workspace, team: Team) {
    this.#input = input;
    this.#workspace = workspace;
    this.#team = team;
    this.#random = seededRandom(input.seed, 1);
    const rows = input.labels.length;
    const { early_stopping_rounds, validation_share } = input.parameters;
    const held = early_stopping_rounds > 0 ? Math.min(rows - 1, Math.round(rows * validation_share)) : 0;
    this.#validation = sampleIndices(this.#random, rows, held);
    this.#training = complement(this.#validation, rows);
    const sampled = sampleIndices(this.#random, this.#training.length, LOSS_ROWS);
    this.#weightMax = input.weights.reduce((largest, weight) => Math.max(largest, weight), 0);
    this.#lossRows = sampled.map(position => this.#training[position]!);
  }

  async run(report: Report | null): Promise<Boosted> {
    const { task, parameters, outputs } = this.#input;
    const base = baseScores(task, this.#workspace, this.#training);
    for (let output = 0; output < outputs; output++) this.#startScores(output, base[output]!);
    const trees: Tree[] = [];
    const rounds: TrainingProgress[] = [];
    let best = { round: 0, loss: Infinity };
    let stoppedAfter: number | null = null;
    for (let round = 1; round <= parameters.trees && stoppedAfter === null; round++) {
      for (let output = 0; output < outputs; output++) {
        trees.push(this.#addTree(output, round === 1 ? base[output]! : 0));
      }
      const validationLoss = this.#validation.length > 0 ? meanLoss(task, this.#workspace, this.#validation) : null;
      if (report !== null) {
        const loss = meanLoss(task, this.#workspace, this.#lossRows);
        const progress = { round, rounds: parameters.trees, loss, validationLoss };
        rounds.push(progress);
        report(progress);
      }
      if (validationLoss !== null) {
        if (validationLoss < best.loss) best = { round, loss: validationLoss };
        if (round - best.round >= parameters.early_stopping_rounds) stoppedAfter = round;
      }
      // Nothing left to learn: the gradients of every leaf are zero or no split is allowed.
      if (round > 1 && trees.slice(-outputs).every(tree => tree.nodes.length === 0)) break;
      // Lets messages of this process out between rounds.
      await nextTurn();
    }
    const kept = this.#validation.length > 0 ? trees.slice(0, best.round * outputs) : trees;
    return { trees: kept, rounds, stoppedAfter };
  }

  #addTree(output: number, base: number): Tree {
    const { task, parameters, binnings } = this.#input;
    const workspace = this.#workspace;
    const sample = this.#sampleRows();
    workspace.order.set(sample);
    this.#sampleFeatures();
    const scales = gradientScales(task, workspace, this.#training, this.#weightMax);
    const tasks = Math.ceil(workspace.layout.rows / ROWS_PER_TASK);
    // All outputs of a round start from the same probabilities.
    if (task === 'multiclass' && output === 0) this.#team.run(step.probabilities, tasks);
    const salt = Math.floor(this.#random() * 2 ** 31);
    putGradients(workspace, { task, output, gradientScale: scales.gradient, hessianScale: scales.hessian, salt });
    this.#team.run(step.gradients, tasks);

    const rules: GrowRules = {
      gradientUnit: 1 / scales.gradient,
      hessianUnit: 1 / scales.hessian,
      l2: parameters.l2,
      minLeafRows: parameters.min_leaf_rows,
      minLeafHessian: parameters.min_leaf_hessian,
      minGain: parameters.min_gain,
      maxLeaves: parameters.max_leaves,
      maxDepth: parameters.max_depth === 0 ? Infinity : parameters.max_depth,
      learningRate: parameters.learning_rate,
      offset: base,
    };
    const grown = growTree(workspace, this.#team, binnings, { rows: sample.length, output, rules });
    this.#updateScores(grown, output, base, sample);
    return grown.tree;
  }

  #startScores(output: number, base: number): void {
    const { scores, layout } = this.#workspace;
    for (let at = output; at < scores.length; at += layout.outputs) scores[at] = base;
  }

  /** The leaves know their rows; rows outside the sample walk down the tree. */
  #updateScores({ tree, ranges }: GrownTree, output: number, base: number, sample: Uint32Array): void {
    const { scores, order, layout } = this.#workspace;
    const { outputs } = layout;
    ranges.forEach(({ begin, end }, leaf) => {
      const value = tree.leaves[leaf]! - base;
      for (let position = begin; position < end; position++) {
        const at = order[position]! * outputs + output;
        scores[at] = scores[at]! + value;
      }
    });
    if (sample.length === layout.rows) return;
    const flat = flatten(tree);
    const columns = columnsOfNodes(flat, this.#input.columns);
    for (const row of complement(sample, layout.rows)) {
      const at = row * outputs + output;
      scores[at] = scores[at]! + leafOf(flat, columns, row) - base;
    }
  }

  #sampleRows(): Uint32Array {
    const share = this.#input.parameters.row_share;
    if (share >= 1) return this.#training;
    const wanted = Math.max(1, Math.round(this.#training.length * share));
    return sampleIndices(this.#random, this.#training.length, wanted).map(position => this.#training[position]!);
  }

  #sampleFeatures(): void {
    const { enabled, layout } = this.#workspace;
    const share = this.#input.parameters.column_share;
    if (share >= 1) {
      enabled.fill(1);
      return;
    }
    enabled.fill(0);
    const wanted = Math.max(1, Math.round(layout.features * share));
    for (const feature of sampleIndices(this.#random, layout.features, wanted)) enabled[feature] = 1;
  }
}

/** Row numbers below `rows` that are not among `chosen`, which ascends. */
function complement(chosen: Uint32Array, rows: number): Uint32Array {
  const rest = new Uint32Array(rows - chosen.length);
  for (let row = 0, taken = 0, next = 0; row < rows; row++) {
    if (chosen[next] === row) next++;
    else rest[taken++] = row;
  }
  return rest;
}

/** Parameters of the `gbdt` trainer, as they stand in a model definition. */
import * as z from 'zod';
import { classWeights } from '../parameters.ts';

export const gbdtParameters = z.object({
  trees: z
    .int()
    .min(1)
    .max(10_000)
    .default(100)
    .describe('boosting rounds; a multiclass model has one tree per class in each'),
  learning_rate: z.number().positive().max(1).default(0.1).describe('shrinkage of each tree'),
  max_leaves: z.int().min(2).max(4_096).default(31).describe('leaves of a tree'),
  max_depth: z.int().min(0).max(64).default(0).describe('0 is unlimited'),
  max_bins: z.int().min(2).max(255).default(255).describe('bins of a feature, without the one for missing values'),
  min_leaf_rows: z.int().min(1).default(20).describe('rows a leaf needs (estimated from the hessian)'),
  min_leaf_hessian: z.number().min(0).default(1e-3).describe('sum of second derivatives a leaf needs'),
  min_gain: z.number().min(0).default(0).describe('loss a split has to remove'),
  l2: z.number().min(0).default(1).describe('L2 penalty on leaf values'),
  row_share: z.number().positive().max(1).default(1).describe('share of rows drawn for each tree'),
  column_share: z.number().positive().max(1).default(1).describe('share of features drawn for each tree'),
  early_stopping_rounds: z
    .int()
    .min(0)
    .default(0)
    .describe('stop after so many rounds without a better validation loss and keep the best; 0 trains all rounds'),
  validation_share: z
    .number()
    .positive()
    .max(0.5)
    .default(0.1)
    .describe('share of training rows, drawn by the seed, set aside for early stopping'),
  class_weights: classWeights.describe('none, balanced, or a weight per class name'),
  monotone: z
    .record(z.string(), z.union([z.literal(-1), z.literal(1)]))
    .default({})
    .describe('numeric feature → 1 (prediction never falls as it grows) or -1; not for multiclass'),
  min_category_rows: z
    .int()
    .min(1)
    .default(10)
    .describe('rarer categories share one bin with values that were never seen'),
});
export type GbdtParameters = z.infer<typeof gbdtParameters>;

/** Trainer parameters come from a model definition: unknown names and values out of range are refused by name. */
import * as z from 'zod';
import { unknownName } from '../domain/nearest.ts';
import { type ParameterDoc, relativeWeights, type Table, TrainingDataError, type TrainingTask } from './trainer.ts';

export class ParameterError extends Error {
  override readonly name = 'ParameterError';
}

/** Parsed parameters with every default filled in; throws ParameterError that names the trainer, the parameter and the fix. */
export function parseParameters<Shape extends z.ZodRawShape>(
  trainer: string,
  schema: z.ZodObject<Shape>,
  parameters: Readonly<Record<string, unknown>>,
): z.infer<z.ZodObject<Shape>> {
  const known = Object.keys(schema.shape);
  const unknown = Object.keys(parameters).find(name => !known.includes(name));
  if (unknown !== undefined) {
    throw new ParameterError(`trainer ${trainer}: ${unknownName('parameter', unknown, known)}`);
  }
  const parsed = schema.safeParse(parameters);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const name = issue?.path.join('.') ?? '';
  const found = JSON.stringify(issue?.path.reduce<unknown>((value, key) => member(value, key), parameters));
  throw new ParameterError(`trainer ${trainer}: parameter "${name}" is ${found}: ${issue?.message ?? 'not valid'}`);
}

/** Name, default and description of each parameter, from the schema itself. */
export function describeParameters(schema: z.ZodObject): ParameterDoc[] {
  const defaults: Record<string, unknown> = schema.parse({});
  return Object.entries(schema.shape).map(([name, type]) => ({
    name,
    default: defaults[name],
    about: (type instanceof z.ZodType ? type.description : undefined) ?? '',
  }));
}

/** `none`, `balanced` (each class counts the same in total) or a weight per class name. */
export const classWeights = z
  .union([z.enum(['none', 'balanced']), z.record(z.string(), z.number().positive())])
  .default('none');
export type ClassWeights = z.infer<typeof classWeights>;

/** The weight of each row: its own, with a mean of 1, times that of its class; regressions have no classes. */
export function rowWeights(trainer: string, choice: ClassWeights, table: Table, task: TrainingTask): Float64Array {
  const own = relativeWeights(table);
  if (task.task === 'regression') {
    if (choice !== 'none') {
      throw new ParameterError(
        `trainer ${trainer}: parameter "class_weights" has no meaning for a regression; remove it`,
      );
    }
    return own ?? new Float64Array(table.rows).fill(1);
  }
  if (task.classes.length < 2) {
    throw new TrainingDataError(`a ${task.task} model needs at least 2 classes, found ${task.classes.length}`);
  }
  const ofClass = weightsOfClasses(trainer, choice, task.classes, { labels: table.labels, weights: own });
  return Float64Array.from(table.labels, (label, row) => ofClass[label]! * (own?.[row] ?? 1));
}

/** One weight per class; balanced weights are n / (classes · n_class), so that they average 1 over the rows. */
function weightsOfClasses(
  trainer: string,
  choice: ClassWeights,
  classes: readonly string[],
  { labels, weights }: { readonly labels: Float32Array; readonly weights: Float64Array | null },
): Float64Array {
  if (choice === 'none') return new Float64Array(classes.length).fill(1);
  if (choice === 'balanced') {
    const counts = new Float64Array(classes.length);
    labels.forEach((label, row) => {
      counts[label]! += weights?.[row] ?? 1;
    });
    const present = counts.reduce((sum, count) => sum + (count > 0 ? 1 : 0), 0);
    return counts.map(count => (count === 0 ? 1 : labels.length / (present * count)));
  }
  const unknown = Object.keys(choice).find(name => !classes.includes(name));
  if (unknown !== undefined) {
    throw new ParameterError(`trainer ${trainer}: class_weights: ${unknownName('class', unknown, classes)}`);
  }
  return Float64Array.from(classes, name => choice[name] ?? 1);
}

function member(value: unknown, key: PropertyKey): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, key) : undefined;
}

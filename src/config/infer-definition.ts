/** Writes a first model definition from what an imported table looks like; every guess carries its reason as a comment. */

/** What one column of an imported table looks like. */
export interface ColumnFacts {
  readonly name: string;
  /** DuckDB's type name. */
  readonly type: string;
  readonly rows: number;
  readonly nulls: number;
  readonly distinct: number;
  /** Of numbers; null otherwise. */
  readonly min: number | null;
  /** Most frequent values first, as text, at most 20. */
  readonly values: readonly { readonly value: string; readonly rows: number }[];
}

export interface InferenceInput {
  readonly model: string;
  /** The file the user gave, for the comment at the top. */
  readonly source: string;
  /** Glob of the imported partitions, with `{date}`. */
  readonly path: string;
  readonly days: number;
  readonly columns: readonly ColumnFacts[];
  readonly keys: readonly string[];
  readonly label: string;
  readonly timeColumn: string | null;
}

export interface InferredDefinition {
  readonly task: 'binary' | 'multiclass' | 'regression';
  readonly text: string;
}

const numberTypes =
  /^(TINYINT|SMALLINT|INTEGER|BIGINT|HUGEINT|UTINYINT|USMALLINT|UINTEGER|UBIGINT|FLOAT|DOUBLE|DECIMAL.*)$/;
const wholeTypes = /INT/;
const timeTypes = /^(DATE|TIMESTAMP.*)$/;
const labelNames = ['label', 'target', 'y', 'class', 'outcome', 'churn', 'default', 'late', 'fraud'];
const positiveTexts = ['1', 'true', 'yes', 'y', 'up', 'positive', 't'];
/** Above this many different values a text column is free text, not a category. */
const categoryValuesMax = 1_000;

export function isTime(type: string): boolean {
  return timeTypes.test(type);
}

/** The column most likely to be the label, or null: a usual name first, else the last column with few values. */
export function guessLabel(columns: readonly ColumnFacts[]): string | null {
  const named = labelNames.flatMap(name => columns.filter(column => column.name.toLowerCase() === name));
  const few = columns.filter(column => column.distinct >= 2 && column.distinct <= 20 && !isTime(column.type));
  return (named[0] ?? few.at(-1))?.name ?? null;
}

/** A column that names the row: unique, never NULL, called like a key; null when there is none. */
export function guessKey(columns: readonly ColumnFacts[]): string | null {
  const unique = columns.filter(
    column => column.nulls === 0 && column.distinct === column.rows && !isTime(column.type),
  );
  return unique.find(column => /(^|[^a-z])(id|key|uuid|number|no)$/i.test(column.name))?.name ?? null;
}

export function inferDefinition(input: InferenceInput): InferredDefinition {
  const label = input.columns.find(column => column.name === input.label);
  if (label === undefined) throw new Error(`label column ${input.label} is not among the columns`);
  const task = taskOf(label);
  const apart = new Set([...input.keys, input.label, ...(input.timeColumn === null ? [] : [input.timeColumn])]);
  const columns = input.columns.filter(column => !apart.has(column.name)).map(columnLine);
  const positive = task === 'binary' ? positiveOf(label) : null;
  // Days are held out when there are enough of them; otherwise rows, by a hash of their keys.
  const holdout = input.days >= 10 ? `${Math.max(1, Math.round(input.days * 0.2))}d` : '20%';
  const metric = task === 'binary' ? 'auc' : task === 'multiclass' ? 'log_loss' : 'rmse';
  const text = `# Inferred from ${oneLine(input.source)}; change what you know better. Check with: almanac validate ${input.model}
model: ${input.model}
task: ${task}                  # ${oneLine(label.name)} has ${label.distinct} different values

data:
  features:
    path: ${yamlText(input.path)}
    keys: [${input.keys.map(yamlText).join(', ')}]
    event_time: ${input.timeColumn === null ? 'null' : yamlText(input.timeColumn)}
  labels:
    path: ${yamlText(input.path)}
    column: ${yamlText(label.name)}
${positive === null ? '' : `    positive: ${yamlText(positive)}\n`}    horizon: 0d                  # days until a label is known; raise it if labels come later than the rows

contract:                        # each rule warns, quarantines the row or blocks the partition (on_fail)
  columns:
${columns.join('\n')}
  forbidden: []                  # columns known only after the prediction: they never reach a model
  quarantine_budget: 0.01        # above this share of quarantined rows the whole partition is blocked

train:
  trainer: { builtin: gbdt, trees: 100 }   # or logistic, or { command: [python, train.py] }
  window: ${Math.max(1, input.days)}d
  holdout: ${holdout}
  seed: 7

evaluate:
  metric: ${metric}
  min: ${task === 'binary' ? '0.55' : 'null'}                      # a version below this is not promoted

promote:
  approvals: 1
  expires: 7d
  rollout: [direct]              # or [{ shadow: 3 }, { canary: 0.1, partitions: 2 }]

monitor:
  windows: 7d
  drift: { metric: psi, warn: 0.1, alert: 0.25, persistence: 3 of 5 }
  quality: { metric: ${metric}, min: null }

retrain:
  # also behind_probe, drift, age: 90d; \`almanac backtest\` shows what a policy would have done
  when: [quality_below, drift_with_loss]
  cooldown: 7d
  budget: 4 per 30d
`;
  return { task, text };
}

function taskOf(label: ColumnFacts): InferredDefinition['task'] {
  if (label.distinct <= 2) return 'binary';
  return numberTypes.test(label.type) && label.distinct > 20 ? 'regression' : 'multiclass';
}

/** The usual words for yes, else the rarer of the two values. */
function positiveOf(label: ColumnFacts): string {
  const usual = label.values.find(({ value }) => positiveTexts.includes(value.toLowerCase()));
  return (usual ?? label.values.at(-1))?.value ?? '1';
}

function columnLine(column: ColumnFacts): string {
  const fields = [`name: ${yamlText(column.name)}`];
  const nullShare = column.rows === 0 ? 0 : column.nulls / column.rows;
  const nulls = `nulls: { max: ${nullLimit(nullShare)} }`;
  let why = '';
  if (column.nulls === column.rows) {
    fields.push('type: text', 'role: ignore');
    why = 'always empty';
  } else if (column.type === 'BOOLEAN') {
    fields.push('type: bool', nulls);
  } else if (numberTypes.test(column.type)) {
    fields.push(`type: ${wholeTypes.test(column.type) ? 'int' : 'double'}`);
    if (column.min !== null && column.min >= 0) fields.push('min: 0');
    fields.push(nulls);
  } else if (isTime(column.type)) {
    fields.push(`type: ${column.type === 'DATE' ? 'date' : 'timestamp'}`, 'role: ignore');
    why = 'a time is not a feature by itself';
  } else if (column.distinct <= categoryValuesMax && column.distinct < column.rows / 2) {
    fields.push('type: category', 'unseen: other', nulls);
    why = `${column.distinct} values`;
  } else {
    fields.push('type: text', 'role: ignore');
    why = `free text, ${column.distinct} different values`;
  }
  return `    - { ${fields.join(', ')} }${why === '' ? '' : `   # ${why}`}`;
}

/** Twice what was seen and a little more, in hundredths: the gate is for accidents, not for noise. */
function nullLimit(share: number): string {
  return String(Math.min(1, Math.ceil((2 * share + 0.01) * 100) / 100));
}

/** A YAML scalar that reads back as the same text, whatever a column is called. */
function yamlText(text: string): string {
  return /^[A-Za-z_][A-Za-z0-9_./-]*$/.test(text) && !/^(true|false|null|yes|no|on|off|y|n)$/i.test(text)
    ? text
    : JSON.stringify(text);
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, ' ');
}

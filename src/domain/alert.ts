/** Alert specifications: what is normal and says who, when to warn, when it is over, whose it is and what to do. */

export type AlertAutomation = 'none' | 'hold_promotion' | 'block_training' | 'open_retraining' | 'rollback';

export interface AlertSpecification {
  readonly id: string;
  readonly scope: 'dataset' | 'model' | 'feature' | 'slice';
  readonly metric: string;
  readonly windowDays: number;
  readonly minRows: number;
  readonly normal: { readonly low: number; readonly high: number; readonly source: string };
  readonly warn: number;
  readonly critical: number;
  /** Whether a value above or below the limits is bad. */
  readonly direction: 'above' | 'below';
  readonly persistence: { readonly k: number; readonly n: number };
  readonly exit: number;
  readonly cooldownWindows: number;
  readonly owner: string;
  readonly action: { readonly runbook: string; readonly automation: AlertAutomation };
}

export type ParsedAlert =
  | { readonly kind: 'valid'; readonly alert: AlertSpecification }
  | { readonly kind: 'invalid'; readonly problems: readonly string[] };

type Fields = Readonly<Record<string, unknown>>;
const scopes = ['dataset', 'model', 'feature', 'slice'] as const;
const directions = ['above', 'below'] as const;
const automations = ['none', 'hold_promotion', 'block_training', 'open_retraining', 'rollback'] as const;

/**
 * Reads one specification. Every field is required: an alert without an owner or an action is noise with a schedule. All
 * problems are named at once, each with the field and what belongs there.
 */
export function parseAlert(document: unknown): ParsedAlert {
  const problems: string[] = [];
  const root = fieldsOf(document);
  if (root === null) return { kind: 'invalid', problems: ['an alert is a mapping of fields'] };
  const id = typeof root['id'] === 'string' && root['id'] !== '' ? root['id'] : '?';
  const read = reader(id, problems);
  const alert: AlertSpecification = {
    id: read.text(root, 'id', ''),
    scope: read.choice(root, 'scope', '', scopes),
    metric: read.text(root, 'metric', ''),
    windowDays: read.number(root, 'windowDays', ''),
    minRows: read.number(root, 'minRows', ''),
    normal: read.nested(root, 'normal', normal => ({
      low: read.number(normal, 'low', 'normal.'),
      high: read.number(normal, 'high', 'normal.'),
      source: read.text(normal, 'source', 'normal.'),
    })),
    warn: read.number(root, 'warn', ''),
    critical: read.number(root, 'critical', ''),
    direction: read.choice(root, 'direction', '', directions),
    persistence: read.nested(root, 'persistence', persistence => ({
      k: read.number(persistence, 'k', 'persistence.'),
      n: read.number(persistence, 'n', 'persistence.'),
    })),
    exit: read.number(root, 'exit', ''),
    cooldownWindows: read.number(root, 'cooldownWindows', ''),
    owner: read.text(root, 'owner', ''),
    action: read.nested(root, 'action', action => ({
      runbook: read.text(action, 'runbook', 'action.'),
      automation: read.choice(action, 'automation', 'action.', automations),
    })),
  };
  if (problems.length === 0) problems.push(...contradictions(alert));
  return problems.length === 0 ? { kind: 'valid', alert } : { kind: 'invalid', problems };
}

function contradictions(alert: AlertSpecification): string[] {
  const sign = alert.direction === 'above' ? 1 : -1;
  const problems: string[] = [];
  const say = (text: string) => problems.push(`alert ${alert.id}: ${text}`);
  if (alert.normal.low > alert.normal.high)
    say(`normal.low ${alert.normal.low} lies above normal.high ${alert.normal.high}`);
  if (sign * (alert.critical - alert.warn) < 0) say(`critical ${alert.critical} is milder than warn ${alert.warn}`);
  if (sign * (alert.warn - alert.exit) < 0)
    say(`exit ${alert.exit} lies beyond warn ${alert.warn}: it would close at once`);
  if (alert.persistence.k < 1 || alert.persistence.k > alert.persistence.n)
    say(`persistence ${alert.persistence.k} of ${alert.persistence.n} cannot be met`);
  return problems;
}

function reader(id: string, problems: string[]) {
  const missing = (field: string, wanted: string, found: unknown) => {
    problems.push(
      `alert ${id}: ${field} ${found === undefined ? 'is missing' : `is ${JSON.stringify(found)}`}; ${wanted} belongs there`,
    );
  };
  return {
    text(from: Fields, field: string, prefix: string): string {
      const value = from[field];
      if (typeof value === 'string' && value.trim() !== '') return value;
      missing(prefix + field, 'a text', value);
      return '';
    },
    number(from: Fields, field: string, prefix: string): number {
      const value = from[field];
      if (typeof value === 'number' && Number.isFinite(value)) return value;
      missing(prefix + field, 'a number', value);
      return 0;
    },
    choice<Choice extends string>(
      from: Fields,
      field: string,
      prefix: string,
      choices: readonly [Choice, ...Choice[]],
    ): Choice {
      const value = choices.find(choice => choice === from[field]);
      if (value === undefined) missing(prefix + field, `one of ${choices.join(', ')}`, from[field]);
      return value ?? choices[0];
    },
    nested<Part>(from: Fields, field: string, part: (fields: Fields) => Part): Part {
      const fields = fieldsOf(from[field]);
      if (fields === null && from[field] !== undefined) missing(field, 'a mapping', from[field]);
      return part(fields ?? {});
    },
  };
}

function fieldsOf(value: unknown): Fields | null {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : null;
}

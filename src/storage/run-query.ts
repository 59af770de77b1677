/** Which runs a search is about. Runs are searched in memory: the log of ten thousand folds in a fraction of a second. */
import type { Run } from '../domain/run.ts';

export interface RunQuery {
  /** One model; all when left out. */
  readonly model?: string;
  readonly status?: Run['status'];
  /** Every word must occur somewhere in id, trainer, trigger, failure, parameters or metrics names; case is ignored. */
  readonly text?: string;
  /** Bounds on a metric; a run without it does not match. */
  readonly metrics?: Readonly<Record<string, { readonly min?: number; readonly max?: number }>>;
  /** ISO times over `startedAt`: [since, until). */
  readonly since?: string;
  readonly until?: string;
  /** Largest number of runs returned. */
  readonly limit?: number;
}

export function matchesRun(run: Run, query: RunQuery): boolean {
  if (query.status !== undefined && run.status !== query.status) return false;
  if (query.since !== undefined && run.startedAt < query.since) return false;
  if (query.until !== undefined && run.startedAt >= query.until) return false;
  for (const [name, bounds] of Object.entries(query.metrics ?? {})) {
    const value = run.metrics[name] ?? null;
    if (value === null || value < (bounds.min ?? -Infinity) || value > (bounds.max ?? Infinity)) return false;
  }
  if (query.text === undefined) return true;
  const text = searchText(run);
  return query.text
    .toLowerCase()
    .split(/\s+/)
    .every(word => text.includes(word));
}

function searchText(run: Run): string {
  const { id, model, trainer, trigger, failure, parameters, metrics, code } = run;
  const said = [id, model, trainer, trigger, failure ?? '', code.commit ?? '', JSON.stringify(parameters)];
  return [...said, ...Object.keys(metrics)].join(' ').toLowerCase();
}

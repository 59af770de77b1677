/**
 * Incidents: a change that persists, and what kind of change it is.
 *
 *   window   1  2  3  4  5  6  7  8  9        ─ limit, ┄ exit = 0.7 × limit
 *   severity ▁  ▁  ▆  ▇  ▇  ▇  ▁  ▁  ▁        k of n breaches open an incident (here 3 of 5, in window 5);
 *                     opened     closed       three windows below the exit close it; a cooldown follows.
 *
 * Until the class of a change is known the answer to "shall we retrain?" is hold: a retrained model has learned the bug, the
 * spike or the season by heart. Everything here is recomputed from recorded evidence; there is no state to lose.
 */
export type ChangeClass =
  | 'none'
  | 'noise'
  | 'data_bug'
  | 'event_spike'
  | 'seasonal'
  | 'step_change'
  | 'gradual'
  | 'unknown';

export type CauseSignature =
  | 'unit_change'
  | 'offset'
  | 'default_fill'
  | 'null_jump'
  | 'constant'
  | 'clipping'
  | 'truncation'
  | 'category_variants'
  | 'mix_shift';

/** What the two histograms suggest happened. */
export interface Cause {
  readonly signature: CauseSignature;
  /** True when only a fault of the pipeline looks like this; a plain shift of the mean may be an offset bug or the world. */
  readonly bug: boolean;
  readonly text: string;
}

/** One subject (a column, the predictions) in one window, as the drift evidence recorded it. */
export interface Observation {
  /** Start of the window, ISO; windows sort by it. */
  readonly window: string;
  /** PSI equivalents; null when the window had too few rows to say. */
  readonly severity: number | null;
  /** Limit above which the window breaches. */
  readonly limit: number;
  /** Material, significant and enough rows: what the check concluded, not merely severity ≥ limit. */
  readonly breach: boolean;
  readonly rows: number;
  /** Shares of the window's rows in the groups of the drift check; null when it had none. */
  readonly shares: readonly number[] | null;
  readonly cause: Cause | null;
  /** Share of the severity that one bin, category or slice contributed, 0..1. */
  readonly concentration: number;
  /** A declared event (`Black Friday`) the window falls on. */
  readonly calendar: string | null;
}

export interface Persistence {
  readonly k: number;
  readonly n: number;
  /** Fraction of the limit below which a window counts as recovered. Default 0.7. */
  readonly exit: number;
  /** Recovered windows in a row that close an incident. Default 3. */
  readonly exitWindows: number;
  /** Windows after closing in which nothing but a data bug opens again. Default 7. */
  readonly cooldown: number;
  /** Season lengths in windows, such as 7 for daily windows. Default [7]. */
  readonly seasons: readonly number[];
}

export const defaultPersistence: Persistence = { k: 3, n: 5, exit: 0.7, exitWindows: 3, cooldown: 7, seasons: [7] };

/** Seasons of windows of so many days, in windows: the week for daily windows, the year for weekly ones. */
export function seasonsOf(windowDays: number): readonly number[] {
  if (windowDays === 1) return [7];
  return windowDays === 7 ? [52] : [];
}

export interface Incident {
  readonly subject: string;
  readonly state: 'open' | 'closed';
  readonly class: ChangeClass;
  readonly cause: Cause | null;
  /** Where the new level began, once the test for a change of level has found it; else the first breaching window. */
  readonly since: string;
  readonly opened: string;
  readonly closed: string | null;
  readonly peak: number;
  readonly breaches: number;
  readonly reason: string;
}

export interface SubjectState {
  readonly subject: string;
  readonly class: ChangeClass;
  readonly cause: Cause | null;
  readonly reason: string;
  readonly open: Incident | null;
  /** Windows that breached for a data bug or a passing event: no training may contain them. */
  readonly badWindows: readonly string[];
  readonly incidents: readonly Incident[];
}

export interface Classification {
  readonly class: ChangeClass;
  readonly cause: Cause | null;
  /** Window in which the new level began (Page–Hinkley); null when no lasting change of level was found. */
  readonly since: string | null;
  readonly reason: string;
}

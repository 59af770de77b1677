/** Replays a subject's windows: what breaches persistently, and of which class the change is. The nouns are in domain/incident. */
import {
  type Cause,
  type Classification,
  defaultPersistence,
  type Incident,
  type Observation,
  type Persistence,
  type SubjectState,
} from '../domain/incident.ts';
import { psi } from '../stats/divergence.ts';
import { spearman } from '../stats/rank.ts';
import { levelShifts } from '../stats/sequential.ts';

/**
 * Replays the windows of one subject in time order and answers what is open now, of which class, and what was open before.
 * Windows that had too few rows are skipped: they neither open nor close anything.
 */
export function followSubject(
  subject: string,
  observations: readonly Observation[],
  persistence: Persistence = defaultPersistence,
): SubjectState {
  const windows = observations
    .filter(observation => observation.severity !== null)
    .toSorted((left, right) => (left.window < right.window ? -1 : left.window > right.window ? 1 : 0));
  const incidents: Incident[] = [];
  let open: Incident | null = null;
  let quietUntil = 0;
  windows.forEach((window, index) => {
    const past = windows.slice(0, index + 1);
    if (open === null) {
      open = index < quietUntil && window.cause?.bug !== true ? null : openIncident(subject, past, persistence);
      return;
    }
    open = extendIncident(open, window, past, persistence);
    if (!recovered(past, persistence)) return;
    incidents.push({ ...open, state: 'closed', closed: window.window });
    open = null;
    quietUntil = index + 1 + persistence.cooldown;
  });
  const current = classifyChange(windows, persistence);
  const known: Incident | null = open;
  return {
    subject,
    class: current.class,
    cause: current.cause,
    reason: current.reason,
    open: known,
    badWindows: badWindowsOf(windows, current, known === null ? incidents : [...incidents, known]),
    incidents: known === null ? incidents : [...incidents, known],
  };
}

/** What must not be learned: windows with a bug signature, and the breaches of incidents and excursions that passed. */
function badWindowsOf(
  windows: readonly Observation[],
  current: Classification,
  incidents: readonly Incident[],
): readonly string[] {
  const passing = incidents.filter(incident => incident.class === 'event_spike' || incident.class === 'data_bug');
  const inside = (window: string) =>
    passing.some(({ since, closed }) => window >= since && (closed === null || window <= closed));
  const recent = new Set(windows.slice(-5).map(({ window }) => window));
  return windows
    .filter(
      ({ breach, cause, window }) =>
        breach && (cause?.bug === true || inside(window) || (current.class === 'event_spike' && recent.has(window))),
    )
    .map(({ window }) => window);
}

/** The class of the change at the newest of the given windows (oldest first, all with a severity). */
export function classifyChange(windows: readonly Observation[], persistence: Persistence): Classification {
  return { since: null, ...nameChange(windows, persistence) };
}

/** `since` is left out where no lasting change of level is meant. */
type Named = Omit<Classification, 'since'> & Partial<Pick<Classification, 'since'>>;

function nameChange(windows: readonly Observation[], persistence: Persistence): Named {
  const recent = windows.slice(-persistence.n);
  const breaches = recent.filter(window => window.breach);
  const now = windows.at(-1);
  if (now === undefined || breaches.length === 0)
    return { class: 'none', cause: null, reason: 'no window breaches its limit' };

  const bug = breaches.map(window => window.cause).findLast(cause => cause?.bug === true) ?? null;
  if (bug !== null && now.breach) return { class: 'data_bug', cause: bug, reason: bug.text };
  const cause = breaches.at(-1)?.cause ?? null;

  const season = seasonOf(windows, persistence);
  if (season !== null) {
    return {
      class: 'seasonal',
      cause,
      reason: `the window looks like the one ${season} windows earlier, which breached as well`,
    };
  }
  if (!now.breach) return classifyReturned(breaches, cause, bug);

  const run = trailingRun(windows);
  if (run.length < persistence.k && breaches.length < persistence.k) {
    const calendar = now.calendar === null ? '' : `; the calendar says ${now.calendar}`;
    return {
      class: now.calendar === null ? 'unknown' : 'event_spike',
      cause,
      reason: `${breaches.length} of the last ${recent.length} windows breach, ${persistence.k} are needed to know${calendar}`,
    };
  }
  return classifyPersistent(windows, run, cause);
}

/**
 * The Page–Hinkley test on the severities, in limits: what it tolerates a window, and the sum of deviations that is a change
 * of level. Two limits are one window at three times the limit, or four windows half a limit above the average; the noise of
 * windows without a change stays below one. Chosen on the seeded streams.
 */
const pageHinkleyOptions = { instancesMin: 3, delta: 0.005, threshold: 2, alpha: 1 };

/**
 * Index of the window in which the level of this run of breaches began; null when the mean has not moved. A noisy new level
 * has shifts of its own, so only those count that began before the run and were noticed in it.
 */
function onsetOf(windows: readonly Observation[], run: readonly Observation[]): number | null {
  const limits = windows.map(({ severity, limit }) => (limit > 0 ? (severity ?? 0) / limit : 0));
  const start = windows.findIndex(({ window }) => window === run[0]?.window);
  const led = levelShifts(limits, pageHinkleyOptions).filter(
    ({ direction, onset, alarm }) => direction === 'up' && onset <= start && alarm >= start,
  );
  return led.at(-1)?.onset ?? null;
}

/** Breached and came back: a concentrated or tall excursion was an event, a low one was noise. */
function classifyReturned(breaches: readonly Observation[], cause: Cause | null, bug: Cause | null): Named {
  if (bug !== null)
    return { class: 'data_bug', cause: bug, reason: `${bug.text}; the newest window is back to normal` };
  const tall = breaches.some(window => (window.severity ?? 0) >= 2 * window.limit);
  const concentrated = breaches.some(window => window.concentration >= 0.8 || window.calendar !== null);
  const count = `${breaches.length} ${breaches.length === 1 ? 'window' : 'windows'} breached and the newest is back`;
  if (breaches.length <= 2) {
    return tall || concentrated
      ? {
          class: 'event_spike',
          cause,
          reason: `${count}: a short excursion of more than twice the limit, or of one part only`,
        }
      : { class: 'noise', cause, reason: `${count}: a small excursion` };
  }
  return { class: 'unknown', cause, reason: `${count}; it has not settled` };
}

/** Enough breaches: did it jump once and stay, or climb? */
function classifyPersistent(windows: readonly Observation[], run: readonly Observation[], cause: Cause | null): Named {
  const onset = onsetOf(windows, run);
  const since = onset === null ? null : windows[onset]!.window;
  const trendWindows = windows.slice(-10);
  const severities = trendWindows.map(window => window.severity ?? 0);
  const trend =
    severities.length >= 5
      ? (spearman(
          severities.map((_, index) => index),
          severities,
        ).value ?? 0)
      : 0;
  const rise = Math.max(...severities) - Math.min(...severities);
  const largestStep = Math.max(0, ...severities.slice(1).map((value, index) => value - severities[index]!));
  if (trend > 0.8 && largestStep < 0.5 * rise) {
    return {
      class: 'gradual',
      cause,
      since,
      reason: `the severity climbed over ${severities.length} windows (rank correlation ${trend.toFixed(2)})`,
    };
  }
  const settled = settledAfterJump(windows, run, onset);
  if (settled !== null) return { class: 'step_change', cause, since, reason: settled };
  if (trend > 0.8) {
    const reason = `the severity still climbs (rank correlation ${trend.toFixed(2)})`;
    return { class: 'gradual', cause, since, reason };
  }
  return {
    class: 'unknown',
    cause,
    since,
    reason: `${run.length} windows in a row breach and they still differ from each other`,
  };
}

/**
 * The windows since the jump resemble each other more than they resemble the time before: the new level is a level. That
 * there was a jump is for the Page–Hinkley test to say; only breaches from the first window on have nothing to jump from.
 */
function settledAfterJump(
  windows: readonly Observation[],
  run: readonly Observation[],
  onset: number | null,
): string | null {
  const before = windows.at(-run.length - 1);
  if (run.length < 2 || (onset === null && before !== undefined)) return null;
  const levels = run.map(window => window.severity ?? 0);
  const typical = levels.toSorted((left, right) => left - right)[levels.length >> 1]!;
  const moves = run.slice(1).map((window, index) => distance(run[index]!, window));
  if (moves.some(move => move === null)) {
    const spread = Math.max(...levels) - Math.min(...levels);
    return spread <= 0.5 * typical ? `it stays at a level of ${typical.toFixed(2)} since ${run[0]!.window}` : null;
  }
  if (moves.filter(move => (move ?? 0) <= 0.5 * typical).length < 0.75 * moves.length) return null;
  // A slow climb moves the mean as well; only a jump covers a good part of the way in its first window.
  if (before !== undefined && (distance(before, run[0]!) ?? typical) < 0.25 * typical) return null;
  const found = onset === null ? '' : ` (Page–Hinkley: the new level began in ${windows[onset]!.window})`;
  return `it jumped in ${run[0]!.window} and has stayed there for ${run.length} windows${found}`;
}

/**
 * A season: the newest breach looks like the window one season earlier, which stood out as well, while a window in between
 * did not breach. A step would breach in every window since.
 */
function seasonOf(windows: readonly Observation[], persistence: Persistence): number | null {
  const now = windows.length - 1;
  for (const season of persistence.seasons) {
    const here = windows.slice(-persistence.n).findLastIndex(window => window.breach);
    const index = Math.max(0, windows.length - persistence.n) + here;
    const earlier = windows[index - season];
    if (here < 0 || earlier === undefined || !earlier.breach || index > now) continue;
    const between = windows.slice(index - season + 1, index);
    const calm = between.filter(window => !window.breach).length;
    if (calm < Math.max(1, Math.floor(season / 4))) continue;
    const apart = distance(earlier, windows[index]!);
    if (apart === null || apart <= 0.5 * windows[index]!.limit) return season;
  }
  return null;
}

function openIncident(subject: string, past: readonly Observation[], persistence: Persistence): Incident | null {
  const now = past.at(-1)!;
  const recent = past.slice(-persistence.n);
  const breaches = recent.filter(window => window.breach);
  // A fault of the pipeline is not statistics: one window is enough.
  const bug = now.breach && now.cause?.bug === true;
  if (!bug && (breaches.length < persistence.k || !now.breach)) return null;
  const classified = classifyChange(past, persistence);
  const first = bug && breaches.length < persistence.k ? now : breaches[0]!;
  return {
    subject,
    state: 'open',
    class: classified.class,
    cause: classified.cause,
    since: classified.since ?? first.window,
    opened: now.window,
    closed: null,
    peak: Math.max(...breaches.map(window => window.severity ?? 0)),
    breaches: breaches.length,
    reason: classified.reason,
  };
}

function extendIncident(
  open: Incident,
  window: Observation,
  past: readonly Observation[],
  persistence: Persistence,
): Incident {
  const classified = classifyChange(past, persistence);
  // A class once known holds until the evidence names another; "none" and "unknown" after it add nothing.
  const keeps = !window.breach || classified.class === 'unknown' || classified.class === 'none';
  return {
    ...open,
    ...(keeps ? {} : { class: classified.class, cause: classified.cause ?? open.cause, reason: classified.reason }),
    since: keeps ? open.since : (classified.since ?? open.since),
    peak: Math.max(open.peak, window.severity ?? 0),
    breaches: open.breaches + (window.breach ? 1 : 0),
  };
}

function recovered(past: readonly Observation[], persistence: Persistence): boolean {
  const last = past.slice(-persistence.exitWindows);
  const below = (window: Observation) => (window.severity ?? 0) < persistence.exit * window.limit;
  return last.length === persistence.exitWindows && last.every(below);
}

/** The unbroken breaches that end in the newest window; one calm window inside a longer run is forgiven. */
function trailingRun(windows: readonly Observation[]): readonly Observation[] {
  let start = windows.length;
  while (start > 0 && (windows[start - 1]!.breach || (windows[start - 2]?.breach === true && start < windows.length)))
    start--;
  return windows.slice(start).filter(window => window.breach);
}

/** PSI between two windows of one subject; null when either kept no shares or they are of different groups. */
function distance(left: Observation, right: Observation): number | null {
  if (left.shares === null || right.shares === null || left.shares.length !== right.shares.length) return null;
  const counts = (window: Observation) => (window.shares ?? []).map(share => Math.round(share * window.rows));
  return psi(counts(left), counts(right)).value?.psi ?? null;
}

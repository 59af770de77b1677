/** The policy on the seeded streams: is each change given its right name before anything acts on it? */
import type { Contract } from '../domain/contract.ts';
import { inParallel } from '../domain/in-parallel.ts';
import type { ChangeClass } from '../domain/incident.ts';
import { type Learner, Models } from './models.ts';
import type { Policy, Replay } from './replay.ts';
import { makeStream, type StreamKind, streamKinds } from './streams.ts';
import type { History } from './table.ts';
import { evenWindows } from './windows.ts';

export interface StreamResult {
  readonly kind: StreamKind;
  readonly streams: number;
  /** Named right, and nothing acted on it before. Without a change: nothing acted. */
  readonly right: number;
  /** Windows with an alarm among those before the change. */
  readonly falseAlarms: number;
  readonly calmWindows: number;
  /** First names given, to see what a wrong one was. */
  readonly named: readonly (ChangeClass | null)[];
}

export interface StreamReportOptions {
  readonly seeds: number;
  readonly learner: Learner;
  readonly contractOf: (history: History) => Contract;
  /** Streams that may be replayed at a time; 1 by default. */
  readonly parallel?: number;
}

const shape = { windows: 45, rowsPerWindow: 600, changeAt: 20 };
const trainingWindows = 10;
const expected: Readonly<Record<StreamKind, ChangeClass | null>> = {
  no_drift: null,
  step: 'step_change',
  gradual: 'gradual',
  seasonal: 'seasonal',
  spike: 'event_spike',
  data_bug: 'data_bug',
};
const settled: readonly ChangeClass[] = ['data_bug', 'event_spike', 'seasonal', 'step_change', 'gradual'];

/** The most eager policy there is, so that it is the names that hold it back and nothing else. */
const policy: Policy = {
  model: 'stream',
  monitor: {
    windowDays: 1,
    drift: { metric: 'psi', warn: 0.1, alert: 0.25, persistence: { k: 3, n: 5 }, minRows: 100 },
    quality: { metric: 'auc', min: null, minRows: 100 },
  },
  retrain: { when: [{ kind: 'drift' }], cooldownDays: 0, budget: { runs: 100, days: 1 }, minNewLabels: 0 },
};

export async function reportStreams(options: StreamReportOptions): Promise<readonly StreamResult[]> {
  const { seeds, parallel = 1 } = options;
  const streams = streamKinds.flatMap(kind => Array.from({ length: seeds }, (_, index) => ({ kind, seed: index + 1 })));
  const all = await inParallel(streams, parallel, stream => replayStream(stream, options));
  return streamKinds.map((kind, index) => {
    const replays = all.slice(index * seeds, (index + 1) * seeds);
    const calm = replays.flatMap(({ windows }) =>
      windows.filter(({ window }) => kind === 'no_drift' || window < shape.changeAt),
    );
    const named = replays.map(firstName);
    return {
      kind,
      streams: replays.length,
      right: replays.filter(replay => isRight(kind, replay)).length,
      falseAlarms: calm.filter(({ alarm }) => alarm).length,
      calmWindows: calm.length,
      named,
    };
  });
}

async function replayStream(
  { kind, seed }: { readonly kind: StreamKind; readonly seed: number },
  options: StreamReportOptions,
): Promise<Replay> {
  const history = makeStream({ kind, seed, ...shape });
  const { windows, rowsPerWindow } = shape;
  const plan = {
    history,
    windows: evenWindows({
      rows: windows * rowsPerWindow,
      windowRows: rowsPerWindow,
      windowDays: 1,
      start: '2026-01-01',
    }),
    contract: options.contractOf(history),
    definition: policy,
    windowDays: 1,
    firstTraining: trainingWindows,
    trainingWindows,
    holdoutWindows: 0,
    gate: null,
    labelLag: 0,
    seed,
  };
  const models = new Models(plan, { learner: options.learner });
  try {
    return await models.replay(plan);
  } finally {
    await models.close();
  }
}

/** The first settled name that a change got; a name of an open incident counts before that of an excursion. */
function firstName({ windows }: Replay): ChangeClass | null {
  const names = windows.flatMap(({ changes }) => changes).filter(change => settled.includes(change.class));
  return (names.find(({ open }) => open) ?? names[0])?.class ?? null;
}

function isRight(kind: StreamKind, replay: Replay): boolean {
  const acted = replay.windows.find(({ action }) => action === 'retrain');
  const wanted = expected[kind];
  if (wanted === null) return acted === undefined;
  const names = replay.windows.flatMap(({ changes }) => changes).map(change => change.class);
  // A season's first high days look like an event; only their return tells.
  const isNamed =
    kind === 'seasonal' ? names.includes(wanted) && !names.includes('step_change') : firstName(replay) === wanted;
  if (!isNamed) return false;
  if (acted === undefined) return true;
  const known = replay.windows.find(({ changes }) => changes.some(change => change.class === wanted));
  // A step and a trend may be learned, once they are known as such; the others never.
  return ['step_change', 'gradual'].includes(wanted) && known !== undefined && known.window <= acted.window;
}

import { describe, expect, test } from 'vitest';
import { dataBugOf, makeStream, type StreamKind } from '../../src/backtest/streams.ts';
import { reorderHistory } from '../../src/backtest/table.ts';
import type { ChangeClass } from '../../src/domain/incident.ts';
import { createRandom, type Random } from '../../src/stats/random.ts';
import { dayOf, monitor } from './support/monitoring.ts';

const shape = { windows: 45, rowsPerWindow: 600, changeAt: 20 };
const referenceWindows = 10;
const settled: readonly ChangeClass[] = ['data_bug', 'event_spike', 'seasonal', 'step_change', 'gradual'];
const expected: Record<Exclude<StreamKind, 'no_drift'>, ChangeClass> = {
  step: 'step_change',
  gradual: 'gradual',
  seasonal: 'seasonal',
  spike: 'event_spike',
  data_bug: 'data_bug',
};
const seeds = Array.from({ length: 10 }, (_, index) => index + 1);

interface Named {
  readonly open: readonly ChangeClass[];
  readonly any: readonly ChangeClass[];
  readonly bug: string | null;
  /** Where the step that is open at the end began. */
  readonly since: string | null;
}

/** Classes of `level` and `amount` in every window in which an open incident, or an excursion that passed, has a class. */
function classesOf(kind: StreamKind, seed: number): Named {
  const monitored = monitor(makeStream({ kind, seed, ...shape }), referenceWindows, shape.rowsPerWindow);
  const states = monitored.flatMap(window => window.states);
  return {
    since: states.findLast(state => state.open?.class === 'step_change')?.open?.since ?? null,
    open: states.flatMap(state =>
      state.open !== null && settled.includes(state.open.class) ? [state.open.class] : [],
    ),
    any: states.map(state => state.class).filter(name => settled.includes(name)),
    bug: states.find(state => state.cause?.bug === true)?.cause?.signature ?? null,
  };
}

describe('the class of a change, before anything acts on it', () => {
  test.each(['step', 'gradual', 'data_bug'] as const)(
    '%s: at least nine of ten first classes of the incident are right',
    kind => {
      const named = seeds.map(seed => classesOf(kind, seed));
      const first = named.map(({ open }) => open[0]);
      expect(first.filter(name => name === expected[kind]).length, JSON.stringify(first)).toBeGreaterThanOrEqual(9);
      if (kind !== 'step') return;
      const since = named.map(one => one.since);
      expect(since.filter(window => window === dayOf(shape.changeAt)).length, since.join(' ')).toBeGreaterThanOrEqual(
        9,
      );
    },
  );

  test('a spike is called a spike and never opens an incident', () => {
    const found = seeds.map(seed => classesOf('spike', seed));
    expect(found.filter(({ any }) => any[0] === 'event_spike').length).toBeGreaterThanOrEqual(9);
    expect(found.flatMap(({ open }) => open)).toEqual([]);
  });

  test('a season is called one from its second return on and never opens an incident', () => {
    const found = seeds.map(seed => classesOf('seasonal', seed));
    expect(
      found.filter(({ any }) => any.includes('seasonal') && !any.includes('step_change')).length,
    ).toBeGreaterThanOrEqual(9);
    expect(found.flatMap(({ open }) => open).filter(name => name !== 'seasonal')).toEqual([]);
  });

  test('the signature of a data bug names the bug', () => {
    const found = seeds.map(seed => [classesOf('data_bug', seed).bug, dataBugOf(seed)]);
    expect(found.filter(([named, made]) => named === made).length, JSON.stringify(found)).toBeGreaterThanOrEqual(9);
  });
});

describe('an eighth of the rows at the end of the range', () => {
  /** Ten windows as usual, then four in which so many rows are of the other kind. */
  const signatures = (seed: number, other: (random: Random) => number) => {
    const random = createRandom(seed);
    const values = Float32Array.from({ length: 14 * 336 }, (_, row) =>
      row >= 10 * 336 && random.next() < 0.125 ? other(random) : 10 + random.normal(),
    );
    const history = {
      columns: [{ kind: 'number' as const, name: 'level', values }],
      labels: new Float32Array(values.length),
    };
    const states = monitor(history, 10, 336).flatMap(window => window.states);
    return states.flatMap(({ cause }) => (cause?.bug === true ? [cause.signature] : []));
  };

  test('is a default where all of them are one value', () => {
    for (const seed of seeds)
      expect(new Set(signatures(seed, () => 13)), `seed ${seed}`).toEqual(new Set(['default_fill']));
  });

  test('is the world where the region fills up', () => {
    const hot = (random: Random) => 12 + 0.7 * Math.abs(random.normal());
    expect(seeds.flatMap(seed => signatures(seed, hot))).toEqual([]);
  });
});

describe('false alarms', () => {
  test('without drift nothing opens and at most one window in a hundred warns', () => {
    const monitored = seeds.flatMap(seed =>
      monitor(makeStream({ kind: 'no_drift', seed, ...shape }), referenceWindows, shape.rowsPerWindow),
    );
    const alarms = monitored.filter(({ evidence }) => evidence.verdict === 'warn' || evidence.verdict === 'fail');
    expect(alarms.length).toBeLessThanOrEqual(0.01 * monitored.length);
    expect(monitored.flatMap(({ states }) => states).filter(({ open }) => open !== null)).toEqual([]);
  });

  test('a shuffled copy of a drifting stream raises at most one alarm in a hundred windows', () => {
    const monitored = seeds.flatMap(seed => {
      const history = makeStream({ kind: 'step', seed, ...shape });
      return monitor(
        reorderHistory(history, shuffled(history.labels.length, seed)),
        referenceWindows,
        shape.rowsPerWindow,
      );
    });
    const alarms = monitored.filter(({ evidence }) => evidence.verdict === 'warn' || evidence.verdict === 'fail');
    expect(alarms.length).toBeLessThanOrEqual(0.01 * monitored.length);
  });
});

function shuffled(rows: number, seed: number): Uint32Array {
  const random = createRandom(seed);
  const order = Uint32Array.from({ length: rows }, (_, row) => row);
  for (let row = rows - 1; row > 0; row--) {
    const other = random.below(row + 1);
    [order[row], order[other]] = [order[other]!, order[row]!];
  }
  return order;
}

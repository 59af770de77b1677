/** Monitors a stream as production does: drift evidence per window, incidents from it, and what each window concluded. */
import { freezeBaseline, profileRows } from '../../../src/backtest/profile-rows.ts';
import { type History, sliceHistory } from '../../../src/backtest/table.ts';
import { checkDrift, followIncidents } from '../../../src/checks/index.ts';
import type { Contract, ContractColumn } from '../../../src/domain/contract.ts';
import { type Evidence, foldVerdict } from '../../../src/domain/evidence.ts';
import type { SubjectState } from '../../../src/domain/incident.ts';

export function numericColumn(name: string, changes: Partial<ContractColumn> = {}): ContractColumn {
  return {
    name,
    type: 'float',
    role: 'feature',
    min: null,
    max: null,
    nulls: { maxShare: 1, as: 'nan', default: null },
    values: null,
    unseen: 'other',
    unique: false,
    onFail: 'block',
    pii: false,
    ...changes,
  };
}

export function contractOf(columns: readonly ContractColumn[], changes: Partial<Contract> = {}): Contract {
  return {
    keys: [],
    eventTime: null,
    knownAt: null,
    columns,
    rules: [],
    forbidden: [],
    quarantineBudget: 0.01,
    ...changes,
  };
}

export function dayOf(window: number): string {
  return new Date(Date.UTC(2026, 0, 1 + window)).toISOString().slice(0, 10);
}

export interface MonitoredWindow {
  readonly window: number;
  readonly evidence: Evidence;
  readonly states: readonly SubjectState[];
}

export function monitor(history: History, referenceWindows: number, rowsPerWindow: number): MonitoredWindow[] {
  const reference = sliceHistory(history, { from: 0, to: referenceWindows * rowsPerWindow });
  const baseline = freezeBaseline(reference, 'test');
  const contract = contractOf(history.columns.map(({ name }) => numericColumn(name)));
  const profileOf = (part: History) => profileRows(part, { baseline, kind: 'window', window: null, scores: null });
  const referenceProfile = profileOf(reference);
  const windows = Math.floor(history.labels.length / rowsPerWindow);
  const recorded: Evidence[] = [];
  const monitored: MonitoredWindow[] = [];
  for (let window = referenceWindows; window < windows; window++) {
    const rows = sliceHistory(history, { from: window * rowsPerWindow, to: (window + 1) * rowsPerWindow });
    const checks = checkDrift({
      contract,
      profile: profileOf(rows),
      reference: referenceProfile,
      baseline,
      limits: { warn: 0.1, alert: 0.25, minRows: 100 },
      importance: null,
      history: [],
    });
    const evidence: Evidence = {
      schema: 'evidence/1',
      kind: 'drift',
      model: 'stream',
      subject: { partition: dayOf(window) },
      baseline: 'b1',
      asOf: `${dayOf(window)}T12:00:00Z`,
      checks,
      verdict: foldVerdict(checks),
      reasons: [],
    };
    recorded.push(evidence);
    monitored.push({ window, evidence, states: followIncidents(recorded) });
  }
  return monitored;
}

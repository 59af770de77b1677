import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { readDefinition } from '../../src/config/model-definition.ts';
import { openProject } from '../../src/config/project.ts';

const minimal = `model: churn
task: binary
data:
  features: { path: "data/date={date}/*.parquet", keys: [id] }
  labels: { path: "labels/date={date}/*.parquet", column: left, horizon: 30d }
contract:
  columns:
    - { name: age, type: float }
    - { name: plan, type: category }
`;

function project(definition: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'almanac-config-'));
  mkdirSync(join(folder, 'models'));
  writeFileSync(join(folder, 'almanac.yaml'), 'people: { ana: [risk] }\n');
  writeFileSync(join(folder, 'models', 'churn.yaml'), definition);
  return folder;
}

test('fills in every default of a minimal definition', () => {
  const definition = readDefinition(project(minimal), 'churn');
  expect(definition.evaluate.metric).toBe('auc');
  expect(definition.train).toMatchObject({ windowDays: 90, holdoutDays: 14, holdoutShare: null, seed: 7 });
  expect(definition.monitor.drift.persistence).toEqual({ k: 3, n: 5 });
  expect(definition.retrain.budget).toEqual({ runs: 4, days: 30 });
  expect(definition.data.labels).toMatchObject({ keys: ['id'], column: 'left', horizonDays: 30 });
  expect(definition.data.labels).not.toHaveProperty('knownAt');
  expect(definition.promote.rollout).toEqual([{ kind: 'direct' }]);
});

test('labels may say when they became known and what they stand for', () => {
  const text = minimal.replace('horizon: 30d', 'horizon: 30d, known_at: reported_at, weight: stands_for');
  expect(readDefinition(project(text), 'churn').data.labels).toMatchObject({
    knownAt: 'reported_at',
    weight: 'stands_for',
  });
});

test('a share of labels that is enough needs their times', () => {
  const labels = (text: string) => () =>
    readDefinition(project(minimal.replace('horizon: 30d', `horizon: 30d, ${text}`)), 'churn').data.labels;
  expect(labels('known_at: at, mature_share: 0.9')()).toMatchObject({ knownAt: 'at', matureShare: 0.9 });
  expect(labels('mature_share: 0.9')).toThrow(/data\.labels\.mature_share needs data\.labels\.known_at/);
  expect(labels('known_at: at, mature_share: 1.2')).toThrow(/mature_share/);
});

test('weights of labels have a column of their own', () => {
  const refused = (weight: string) => () =>
    readDefinition(project(minimal.replace('horizon: 30d', `horizon: 30d, weight: ${weight}`)), 'churn');
  expect(refused('left')).toThrow(/data\.labels\.weight: "left" is the label; weights need a column of their own/);
  expect(refused('age')).toThrow(/data\.labels\.weight: "age" is a key or a column of the contract/);
});

test('an aggregate may say which days it is made of, and where they end', () => {
  const windowOf = (window: string, features = 'keys: [id], event_time: at') => {
    const text = minimal.replace('keys: [id]', features).replace('type: float }', `type: float, window: ${window} }`);
    return readDefinition(project(text), 'churn').contract.columns[0]?.window;
  };
  expect(windowOf('30d')).toEqual({ days: 30, ends: 'at' });
  expect(windowOf('{ length: 7d, ends: counted_to }', 'keys: [id]')).toEqual({ days: 7, ends: 'counted_to' });
  expect(() => windowOf('30d', 'keys: [id]')).toThrow(
    /"age" has a window, but when does it end\? declare data\.features\.event_time/,
  );
  expect(() => windowOf('30 days')).toThrow(/contract\.columns/);
  expect(readDefinition(project(minimal), 'churn').contract.columns[0]).not.toHaveProperty('window');
});

const alert = {
  id: 'late-scores',
  scope: 'model',
  metric: 'quality',
  min_rows: 500,
  normal: { low: 0.75, high: 0.9, source: '20 accepted weeks' },
  warn: 0.7,
  critical: 0.65,
  direction: 'below',
  persistence: '2 of 3',
  exit: 0.72,
  cooldown: 2,
  owner: 'group:risk',
  action: { runbook: 'check the bureau feed', automation: 'block_training' },
};
const withAlert = (of: object) => project(`${minimal}monitor: { alerts: [${JSON.stringify(of)}] }\n`);

test('reads an alert with every field', () => {
  const { persistence, min_rows: minRows, cooldown: cooldownWindows, ...same } = alert;
  const [read] = readDefinition(withAlert(alert), 'churn').monitor.alerts ?? [];
  expect(read).toEqual({ ...same, minRows, cooldownWindows, persistence: { k: 2, n: 3 } });
});

test.each(Object.keys(alert))('an alert without %s is a mistake of the definition, and the field is named', field => {
  const { [field]: _, ...rest } = alert as Record<string, unknown>;
  expect(() => readDefinition(withAlert(rest), 'churn')).toThrow(new RegExp(`monitor\\.alerts.*${field}`));
});

test('an alert that contradicts itself is told', () => {
  expect(() => readDefinition(withAlert({ ...alert, critical: 0.8 }), 'churn')).toThrow(
    /models\/churn.yaml: monitor.alerts: alert late-scores: critical 0.8 is milder than warn 0.7/,
  );
});

test('rows are compared for skew unless the definition says otherwise', () => {
  const skewOf = (text: string) => readDefinition(project(`${minimal}${text}`), 'churn').monitor.skew;
  expect(skewOf('')).toEqual({ rows: 10_000, mismatch: 0.001, tolerance: 1e-4 });
  expect(skewOf('monitor: { skew: { mismatch: 0.01 } }\n')).toMatchObject({ rows: 10_000, mismatch: 0.01 });
  expect(skewOf('monitor: { skew: off }\n')).toBeNull();
});

test('all features are watched together unless the definition says otherwise, and only a named trigger acts on it', () => {
  const read = (text: string) => readDefinition(project(`${minimal}${text}`), 'churn');
  expect(read('').monitor.multivariate).toEqual({ rows: 5_000, limit: 0.625 });
  expect(read('').retrain.when).toEqual([{ kind: 'quality_below' }, { kind: 'drift_with_loss' }]);
  expect(read('monitor: { multivariate: off }\n').monitor.multivariate).toBeNull();
  expect(read('retrain: { when: [multivariate_drift] }\n').retrain.when).toEqual([{ kind: 'multivariate_drift' }]);
});

test('reads a holdout given as a share of the rows', () => {
  const definition = readDefinition(project(`${minimal}train: { holdout: 20% }\n`), 'churn');
  expect(definition.train).toMatchObject({ holdoutDays: 0, holdoutShare: 0.2 });
});

test.each([
  [
    'an unknown key',
    minimal.replace('contract:', 'contracts:'),
    /models\/churn\.yaml:6:1: contracts: unknown key "contracts" \(did you mean "contract"\?/,
  ],
  [
    'an unknown nested key',
    minimal.replace('name: age, type', 'name: age, typ'),
    /churn\.yaml:8:.*unknown key "typ" \(did you mean "type"\?/,
  ],
  ['a wrong value', minimal.replace('task: binary', 'task: binry'), /churn\.yaml:2:1: task: .*"binary"/],
  ['a duration without its unit', minimal.replace('30d', '30'), /data\.labels\.horizon/],
  [
    'a column declared twice',
    minimal.replace('name: plan, type: category', 'name: age, type: float'),
    /"age" is declared twice/,
  ],
  ['a forbidden feature', `${minimal}  forbidden: [age]\n`, /"age" is forbidden/],
  [
    'a missing transform file',
    minimal.replace('contract:', '  transform: sql/x.sql\ncontract:'),
    /no file sql\/x\.sql/,
  ],
  ['a path out of the project', minimal.replace('"data/date', '"../data/date'), /stays inside it/],
  [
    'a joined table that is no Parquet',
    minimal.replace('contract:', '  tables: { plans: { path: plans.csv, format: csv } }\ncontract:'),
    /data\.tables\.plans\.format.*parquet/,
  ],
  ['broken YAML', 'model: [churn', /churn\.yaml:1:/],
])('refuses %s and says where', (_, definition, message) => {
  expect(() => readDefinition(project(definition), 'churn')).toThrow(message);
});

test('names the known models when asked for another', () => {
  expect(() => readDefinition(project(minimal), 'chrun')).toThrow('unknown model "chrun" (did you mean "churn"?');
});

test('refuses a folder that is no project and says how to make one', () => {
  expect(() => openProject(tmpdir())).toThrow('almanac init --from FILE.csv');
});

test('puts the store below the project unless it is absolute or S3', () => {
  const folder = project(minimal);
  expect(openProject(folder).store).toBe(join(folder, '.almanac/store'));
  writeFileSync(join(folder, 'almanac.yaml'), 'store: s3://bucket/almanac\n');
  expect(openProject(folder).store).toBe('s3://bucket/almanac');
});

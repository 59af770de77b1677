/**
 * Bad input, through the real workflows: each run fails with a message that names the thing, what was expected and what
 * was found; its page says it; nothing is registered, asked for or visible afterwards.
 */
import { copyFileSync, mkdirSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { failureText } from '../../src/cli/failure-text.ts';
import { openAlmanac, type RunningAlmanac } from '../../src/cli/up.ts';
import type { Project } from '../../src/config/project.ts';
import { workflowId } from '../../src/domain/ids.ts';
import type { ScoreResult, TrainResult } from '../../src/workflows/inputs.ts';
import { Bench, logisticModel } from '../engine/support/fixtures.ts';
import {
  approveTrained,
  catalogOf,
  makeLateProject,
  makeWorld,
  model,
  start,
  tableOf,
} from '../support/late-project.ts';

const asOf = '2025-02-06';
const limits = { timeout: 240_000 };
let root: string;
let bench: Bench;
let project: Project;
let definition: string;
let almanac: RunningAlmanac;
let connection: Connection;
let client: Client;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'almanac-bad-'));
  bench = await Bench.create();
  await makeWorld(root);
  project = makeLateProject(root, 'project');
  definition = readFileSync(join(project.folder, 'models', `${model}.yaml`), 'utf8');
  almanac = await openAlmanac(project, { log: () => {}, ui: false });
  connection = await Connection.connect(almanac.server.target.connection);
  client = new Client({ connection });
}, 120_000);
afterAll(async () => {
  await connection?.close();
  await almanac?.close();
  await rm(root, { recursive: true, force: true });
});

/** What a run that must fail says, after checking that its page says the same. */
async function refusalOf(type: string, id: string, input: object): Promise<string> {
  const run = await start(client, type, id, input);
  const text = await run.result().then(result => `it ended with ${JSON.stringify(result)}`, failureText);
  expect(await run.query('status')).toMatchObject({ stage: 'failed', next: text });
  return text;
}

/** A model of its own from the usual definition, changed. */
function declare(name: string, change: (text: string) => string): void {
  writeFileSync(
    join(project.folder, 'models', `${name}.yaml`),
    change(definition).replace(`model: ${model}`, `model: ${name}`),
  );
}

async function refusedTraining(name: string): Promise<string> {
  const text = await refusalOf('trainModel', workflowId.train(name, asOf), { model: name, asOf });
  expect(await catalogOf(project).versions(name)).toEqual([]);
  expect(await catalogOf(project).promotions(name)).toEqual([]);
  return text;
}

test.each([
  [
    'an unknown key',
    (text: string) => text.replace('holdout: 7d', 'holdouts: 7d'),
    /models\/an-unknown-key\.yaml:\d+:\d+: train\.holdouts: unknown key "holdouts" \(did you mean "holdout"\?/,
  ],
  [
    'a renamed column',
    (text: string) => text.replace('name: logins_30d', 'name: login_30d'),
    /no column login_30d \(renamed to logins_30d\?\).*columns found: .*balance/s,
  ],
  [
    'an unknown parameter',
    (text: string) => text.replace('trees: 150', 'tree: 150'),
    /unknown .*"tree" \(did you mean "trees"\?/,
  ],
  [
    'no labels in the window',
    (text: string) => text.replace('horizon: 7d', 'horizon: 90d'),
    /0 partitions are left to train on.*there are 40, 2025-01-01 to 2025-02-09 at data\/features/s,
  ],
  [
    'a path without files',
    (text: string) => text.replace('data/features/date', 'data/feature/date'),
    /there are none at data\/feature\/date=\{date\}/,
  ],
])('training refuses %s', limits, async (name, change, message) => {
  const id = name.replaceAll(' ', '-');
  declare(id, change);
  expect(await refusedTraining(id)).toMatch(message);
});

test('a column of the wrong type blocks the training, and the evidence says why', limits, async () => {
  declare('typed', text => text.replace('name: channel, type: category, unseen: other', 'name: channel, type: double'));
  const run = await start<TrainResult>(client, 'trainModel', workflowId.train('typed', asOf), { model: 'typed', asOf });
  const result = await run.result();
  expect(result).toMatchObject({ kind: 'blocked' });
  expect(result.kind === 'blocked' ? result.reasons[0] : '').toBe('channel must be double, found VARCHAR');
  expect(await run.query('status')).toMatchObject({ stage: 'blocked by the data' });
  expect(await catalogOf(project).versions('typed')).toEqual([]);
});

const leave = `const { copyFileSync, readFileSync, writeFileSync } = require('node:fs');
const spec = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const leave = (name, from) => copyFileSync(from, spec.outputFolder + '/' + name);
leave('golden.parquet', spec.holdoutFiles[0]); writeFileSync(spec.outputFolder + '/metrics.json', '{"auc": 0.9}');
`;

test.each([
  ['exits non-zero', `console.error('no rows'); process.exit(4)`, /exit code 4, expected 0.*no rows/s],
  ['writes no model', '', /model\.onnx is missing/],
  [
    'writes a corrupt model',
    `writeFileSync(spec.outputFolder + '/model.onnx', 'not a graph')`,
    /model\.onnx.*(ONNX|protobuf|graph)/is,
  ],
])('a trainer that %s registers nothing', limits, async (name, source, message) => {
  const id = `trainer-${name.replaceAll(' ', '-')}`;
  writeFileSync(join(project.folder, `${id}.cjs`), `${leave}${source}`);
  const command = JSON.stringify([process.execPath, `${id}.cjs`, '{spec}']);
  declare(id, text => text.replace('{ builtin: gbdt, trees: 150 }', `{ command: ${command} }`));
  expect(await refusedTraining(id)).toMatch(message);
});

test.each([
  ['does not reproduce its golden rows', '', /1 of 1 golden rows were answered, differing .* by at most 4\.\de-1/],
  ['keeps keys in its golden rows', `'c1' AS customer_id, `, /golden\.parquet has the key column customer_id/],
])('a model that %s is registered, but not qualified', limits, async (name, more, reason) => {
  const id = name.replaceAll(' ', '-');
  writeFileSync(join(project.folder, `${id}.onnx`), logisticModel([1, 0, 0], 0));
  await bench.sql(
    `COPY (SELECT ${more}1::BIGINT AS logins_30d, 2::DOUBLE AS balance, 3::DOUBLE AS invoice_amount, 0.25::FLOAT AS score)
     TO '${join(project.folder, `${id}.parquet`)}' (FORMAT parquet)`,
  );
  writeFileSync(
    join(project.folder, `${id}.cjs`),
    `${leave}leave('model.onnx', '${id}.onnx'); leave('golden.parquet', '${id}.parquet');`,
  );
  const command = JSON.stringify([process.execPath, `${id}.cjs`, '{spec}']);
  declare(id, text =>
    text
      .replace('{ builtin: gbdt, trees: 150 }', `{ command: ${command} }`)
      .replace(/.*payment_delay_avg.*\n/, '')
      .replace(/.*name: channel.*\n/, ''),
  );
  const run = await start<TrainResult>(client, 'trainModel', workflowId.train(id, asOf), { model: id, asOf });
  const result = await run.result();
  expect(result).toMatchObject({ kind: 'not_qualified', version: 1 });
  expect(JSON.stringify(result)).toMatch(reason);
  expect(await catalogOf(project).promotions(id)).toEqual([]);
});

test('scoring refuses what arrives broken, and no partition becomes visible', { timeout: 300_000 }, async () => {
  await start<TrainResult>(client, 'trainModel', workflowId.train(model, asOf), { model, asOf });
  await approveTrained(client, project, asOf);
  const day = (date: string) => join(project.folder, 'data/features', `date=${date}`);
  const [file] = readdirSync(day('2025-02-09'));
  const good = join(day('2025-02-09'), file ?? '');
  const arrive = (date: string, make: (path: string) => unknown) => {
    mkdirSync(day(date), { recursive: true });
    return make(join(day(date), 'part.parquet'));
  };
  const rewritten = (select: string) => (path: string) =>
    bench.sql(`COPY (SELECT ${select} FROM read_parquet('${good}')) TO '${path}' (FORMAT parquet)`);
  await arrive('2025-03-01', rewritten('* EXCLUDE (balance)'));
  await arrive('2025-03-02', rewritten(`* REPLACE ('much' AS balance)`));
  await arrive('2025-03-03', path =>
    bench.sql(`COPY (FROM read_parquet('${good}') LIMIT 0) TO '${path}' (FORMAT parquet)`),
  );
  await arrive('2025-03-04', path => {
    copyFileSync(good, path);
    truncateSync(path, 4_000);
  });
  await arrive('2025-03-05', path => {
    const bytes = readFileSync(good);
    // The first page and not the footer: only reading it can tell.
    bytes.fill(0xff, 4, 60);
    writeFileSync(path, bytes);
  });
  const refused = (partition: string) =>
    refusalOf('scoreModel', workflowId.score(model, partition, 1), { model, partition, generation: 1 });
  expect(await refused('2025-03-01')).toMatch(/no column balance.*columns found: /s);
  expect(await refused('2025-03-03')).toMatch(/partition 2025-03-03: 1 input file\(s\) with 0 rows/);
  expect(await refused('2025-03-04')).toMatch(/date=2025-03-04\/part\.parquet/);
  expect(await refused('2025-03-05')).toMatch(/date=2025-03-05\/part\.parquet.*row group/s);
  expect(await refused('2025-04-01')).toMatch(/partition 2025-04-01: no files match data\/features\/date=\{date\}/);

  const id = workflowId.score(model, '2025-03-02', 1);
  const typed = await start<ScoreResult>(client, 'scoreModel', id, { model, partition: '2025-03-02', generation: 1 });
  const reasons = expect.arrayContaining(['balance must be double, found VARCHAR']);
  expect(await typed.result()).toMatchObject({ kind: 'blocked', reasons });
  expect(await typed.query('status')).toMatchObject({ stage: 'blocked by the data' });
  await expect(tableOf(project).snapshot()).rejects.toThrow('the table does not exist yet');
});

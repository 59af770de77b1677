/**
 * `npm run example -- electricity|bank --data FILE`: the loop on real data. Without a file, one line says where anyone gets
 * it and which columns are expected (exit 2).
 */
import { copyFileSync, existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Client, Connection } from '@temporalio/client';
import { failureText } from '../src/cli/failure-text.ts';
import { tableLines } from '../src/cli/output.ts';
import { openAlmanac } from '../src/cli/up.ts';
import { readEnvironment, silenceSdkNodeWarning } from '../src/config/environment.ts';
import { openProject } from '../src/config/project.ts';
import { EnginePool } from '../src/engine/pool.ts';
import { Catalog } from '../src/storage/catalog.ts';
import { openStore } from '../src/storage/open.ts';
import { systemPorts } from '../src/storage/ports.ts';
import { PredictionsTable } from '../src/storage/table/predictions-table.ts';
import { addDays } from './late-payment/generate.ts';
import { qualityByPeriod, runLoop } from './loop.ts';
import { type PreparedFiles, prepareBank, prepareElectricity, WrongFile } from './prepare.ts';

interface Example {
  readonly file: string;
  readonly columns: string;
  readonly prepare: (file: string, folder: string) => Promise<PreparedFiles>;
  readonly label: string;
  readonly positive: string;
  readonly firstDay: string;
  /** Days before the first scored one. */
  readonly trainingDays: number;
  readonly days: number;
  readonly shortDays: number;
  readonly windowDays: number;
  readonly horizonDays: number;
  /** Length of the partition's prefix that the table is grouped by: 7 is a month. */
  readonly periodLength: number;
}

const examples: Readonly<Record<string, Example>> = {
  electricity: {
    file: 'electricity.csv',
    columns: 'period, nswprice, nswdemand, vicprice, vicdemand, transfer, class',
    prepare: prepareElectricity,
    label: 'class',
    positive: '1',
    firstDay: '1996-05-07',
    trainingDays: 57,
    days: 944,
    shortDays: 190,
    windowDays: 7,
    horizonDays: 1,
    periodLength: 7,
  },
  bank: {
    file: 'bank-full.csv',
    columns:
      'age, job, marital, education, default, balance, housing, loan, contact, day, month, campaign, duration, pdays, previous, poutcome, y',
    prepare: prepareBank,
    label: 'y',
    positive: 'true',
    firstDay: '2008-05-05',
    trainingDays: 120,
    days: 927,
    shortDays: 400,
    windowDays: 28,
    horizonDays: 7,
    periodLength: 7,
  },
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    data: { type: 'string' },
    short: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    project: { type: 'string' },
  },
});
silenceSdkNodeWarning();
const name = positionals[0] ?? '';
const example = examples[name];
if (example === undefined) {
  process.stderr.write(`usage: npm run example -- ${Object.keys(examples).join('|')} --data FILE\n`);
  process.exit(2);
}
const folderOfData = readEnvironment().data;
const file = values.data ?? (folderOfData === null ? null : join(folderOfData, example.file));
if (file === null || !existsSync(file)) {
  const found = file === null ? 'no --data FILE and no folder ALMANAC_DATA' : `${file} does not exist`;
  process.stderr.write(
    `${name}: ${found}; get ${example.file} from the UCI repository or OpenML (columns: ${example.columns})\n`,
  );
  process.exit(2);
}

const started = Date.now();
const log = (line: string) =>
  process.stderr.write(`${String(Math.round((Date.now() - started) / 1000)).padStart(4)} s  ${line}\n`);

const folder = values.project ?? join('.cache', 'examples', name);
rmSync(folder, { recursive: true, force: true });
mkdirSync(join(folder, 'models'), { recursive: true });
const definition = fileURLToPath(new URL(`./${name}/models/${name}.yaml`, import.meta.url));
copyFileSync(definition, join(folder, 'models', `${name}.yaml`));
writeFileSync(join(folder, 'almanac.yaml'), 'store: .almanac/store\n');
const project = openProject(folder);
const world = join(project.stateFolder, 'world');
mkdirSync(world, { recursive: true });

const engine = new EnginePool({ size: 1, scratch: join(project.stateFolder, 'example-scratch') });
try {
  const prepared = await example.prepare(file, world);
  for (const kind of ['features', 'labels'] as const) {
    const staging = join(world, `${kind}.importing`);
    mkdirSync(staging);
    await engine.run(
      'import-table',
      { files: [prepared[kind]], format: 'csv', partitionBy: { column: 'time' }, outputFolder: staging },
      { deadlineMs: 600_000 },
    );
    renameSync(staging, join(world, kind));
  }
  log(`imported ${prepared.rows.toLocaleString('en')} rows of ${file}`);

  const almanac = await openAlmanac(project, { log, ui: false });
  const connection = await Connection.connect(almanac.server.target.connection);
  try {
    const count = values.short ? example.shortDays : example.days;
    const all = Array.from({ length: count }, (_, day) => addDays(example.firstDay, day));
    const days = all.filter(day => existsSync(join(world, 'features', `date=${day}`)));
    const ports = systemPorts(openStore(project.store, project.s3));
    const catalog = new Catalog(ports);
    const story = await runLoop({
      model: name,
      project,
      client: new Client({ connection, namespace: almanac.server.target.namespace }),
      catalog,
      world,
      days,
      firstScored: addDays(example.firstDay, example.trainingDays),
      windowDays: example.windowDays,
      horizonDays: example.horizonDays,
      approver: project.environment.user,
      log,
    });
    const quality = await qualityByPeriod({
      engine,
      table: new PredictionsTable(ports, `predictions/${name}`),
      project,
      labels: {
        folder: join(project.folder, 'data/labels'),
        column: example.label,
        positive: example.positive,
        key: 'id',
      },
      periodLength: example.periodLength,
    });
    const document = { example: name, seconds: Math.round((Date.now() - started) / 1000), quality, ...story };
    if (values.json) process.stdout.write(`${JSON.stringify(document)}\n`);
    else {
      const rows = quality.map(({ period, rows, auc, low, high }) => [
        period,
        rows,
        story.windows.findLast(window => window.partition.startsWith(period))?.champion ?? null,
        auc === null || low === null || high === null
          ? null
          : `${auc.toFixed(3)} (${low.toFixed(3)} to ${high.toFixed(3)})`,
        story.windows.filter(window => window.partition.startsWith(period) && window.conclusion === 'retrain').length,
      ]);
      for (const line of tableLines(['month', 'rows', 'champion', 'AUC (95 %)', 'retrained'], rows)) {
        process.stdout.write(`${line}\n`);
      }
    }
  } finally {
    await connection.close();
    await almanac.close();
  }
} catch (error) {
  process.stderr.write(`${name}: ${failureText(error)}\n`);
  process.exitCode = error instanceof WrongFile ? 2 : 1;
} finally {
  await engine.close();
}

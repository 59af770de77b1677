/**
 * `npm run demo`: half a year of a late-payment model in a few minutes. A world of customers is generated, a login policy
 * changes one day, and Almanac finds out by itself: drift, falling quality, a decision to retrain, a second approval.
 *
 *   npm run demo [-- --no-shift] [-- --short]        the story, then a table and where to look deeper
 *   npm run -s demo -- --json                        one document on stdout, progress on stderr
 */
import { copyFileSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Client, Connection } from '@temporalio/client';
import { failureText } from '../../src/cli/failure-text.ts';
import { tableLines } from '../../src/cli/output.ts';
import { openAlmanac } from '../../src/cli/up.ts';
import { silenceSdkNodeWarning } from '../../src/config/environment.ts';
import { openProject } from '../../src/config/project.ts';
import { EnginePool } from '../../src/engine/pool.ts';
import { Catalog } from '../../src/storage/catalog.ts';
import { openStore } from '../../src/storage/open.ts';
import { systemPorts } from '../../src/storage/ports.ts';
import { PredictionsTable } from '../../src/storage/table/predictions-table.ts';
import { type LoopStory, type PeriodQuality, qualityByPeriod, runLoop } from '../loop.ts';
import { generateWorld } from './generate.ts';

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    'no-shift': { type: 'boolean', default: false },
    short: { type: 'boolean', default: false },
    project: { type: 'string', default: 'demo-project' },
    seed: { type: 'string', default: '7' },
  },
});
silenceSdkNodeWarning();

const model = 'late-payment';
const firstDay = '2025-01-01';
/** The first version learns from January; its labels are known a week into February. */
const firstScored = '2025-02-05';
const dayCount = 181;
const invoicesPerDay = values.short ? 600 : 1_500;

const started = Date.now();
const log = (line: string) =>
  process.stderr.write(`${String(Math.round((Date.now() - started) / 1000)).padStart(4)} s  ${line}\n`);

const folder = values.project;
makeProject(folder);
const project = openProject(folder);
const world = join(project.stateFolder, 'world');
const made = await generateWorld({
  folder: world,
  firstDay,
  dayCount,
  invoicesPerDay,
  seed: Number(values.seed),
  shift: !values['no-shift'],
});
log(
  `made ${made.days.length} days of invoices, ${made.rows.toLocaleString('en')} rows, ${(100 * made.lateShare).toFixed(1)} % late`,
);

const almanac = await openAlmanac(project, { log, ui: true });
log(
  `Temporal at ${almanac.server.target.address}${almanac.server.ui === null ? '' : `, pages at ${almanac.server.ui}`}`,
);
const ports = systemPorts(openStore(project.store, project.s3));
const catalog = new Catalog(ports);
const table = new PredictionsTable(ports, `predictions/${model}`);
const engine = new EnginePool({ size: 1, scratch: join(project.stateFolder, 'demo-scratch') });
const connection = await Connection.connect(almanac.server.target.connection);
try {
  const story = await runLoop({
    model,
    project,
    client: new Client({ connection, namespace: almanac.server.target.namespace }),
    catalog,
    world,
    days: made.days,
    firstScored,
    windowDays: 7,
    horizonDays: 7,
    approver: 'ana',
    log,
  });
  const quality = await qualityByPeriod({
    engine,
    table,
    project,
    labels: { folder: join(project.folder, 'data/labels'), column: 'late', positive: '1', key: 'customer_id' },
    periodLength: 7,
  });
  const months = await monthsOf(story, quality);
  const document = {
    model,
    shift: !values['no-shift'],
    seconds: Math.round((Date.now() - started) / 1000),
    months,
    promotions: story.promotions,
    predictions_table: `.almanac/store/${table.root}`,
  };
  if (values.json) process.stdout.write(`${JSON.stringify(document)}\n`);
  else printStory(document);
} catch (error) {
  process.stderr.write(`${failureText(error)}; see ${join(project.stateFolder, 'logs')}\n`);
  process.exitCode = 1;
} finally {
  await connection.close();
  await engine.close();
  await almanac.close();
}

function makeProject(folder: string): void {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(join(folder, 'models'), { recursive: true });
  const here = fileURLToPath(new URL('.', import.meta.url));
  copyFileSync(join(here, 'models', `${model}.yaml`), join(folder, 'models', `${model}.yaml`));
  writeFileSync(join(folder, 'almanac.yaml'), 'store: .almanac/store\npeople: { ana: [risk], ben: [risk, data] }\n');
}

interface Month {
  readonly month: string;
  readonly champion: number | null;
  readonly auc: number | null;
  readonly auc_low: number | null;
  readonly auc_high: number | null;
  readonly drift: string;
  /** Begins with `retrain`, `hold`, `wait` or `nothing`: the weightiest decision of the month. */
  readonly decision: string;
}

async function monthsOf(story: LoopStory, quality: readonly PeriodQuality[]): Promise<readonly Month[]> {
  const drift = await catalog.evidenceList(model, { kind: 'drift' });
  const worst = ['fail', 'warn', 'insufficient', 'pass'];
  const weight = ['retrain', 'hold', 'wait', 'nothing'];
  const months = [...new Set(made.days.map(day => day.slice(0, 7)))];
  return await Promise.all(
    months.map(async month => {
      const windows = story.windows.filter(window => window.partition.startsWith(month));
      const judged = drift.filter(entry => (entry.subject['partition'] ?? entry.asOf).startsWith(month));
      const [evidence] = [...judged].sort((a, b) => worst.indexOf(a.verdict) - worst.indexOf(b.verdict));
      const [decision] = [...windows].sort((a, b) => weight.indexOf(a.conclusion) - weight.indexOf(b.conclusion));
      const found = quality.find(({ period }) => period === month);
      return {
        month,
        champion: windows.at(-1)?.champion ?? null,
        auc: rounded(found?.auc),
        auc_low: rounded(found?.low),
        auc_high: rounded(found?.high),
        drift: evidence === undefined ? 'not judged' : await driftText(evidence.digest, evidence.verdict),
        decision: decision === undefined ? 'nothing, because no version is in production yet' : decisionText(decision),
      };
    }),
  );
}

/** Some reasons say the conclusion themselves. */
function decisionText({ conclusion, reason }: LoopStory['windows'][number]): string {
  return reason.startsWith(conclusion) ? reason : `${conclusion}: ${reason}`;
}

/** The verdict with the column that moved most. */
async function driftText(digest: string, verdict: string): Promise<string> {
  const evidence = await catalog.evidence(digest);
  const [top] = evidence.checks
    .filter(check => check.column !== null && check.severity !== null)
    .sort((a, b) => (b.severity ?? 0) - (a.severity ?? 0));
  return top === undefined || verdict === 'pass'
    ? verdict
    : `${verdict}: ${top.column} ${(top.severity ?? 0).toFixed(2)}`;
}

function rounded(value: number | null | undefined): number | null {
  return value === null || value === undefined ? null : Number(value.toFixed(4));
}

function printStory(document: { months: readonly Month[]; seconds: number; predictions_table: string }): void {
  const rows = document.months.map(month => [
    month.month,
    month.champion === null ? null : `v${month.champion}`,
    month.auc === null
      ? null
      : `${month.auc.toFixed(3)} (${month.auc_low?.toFixed(3)} to ${month.auc_high?.toFixed(3)})`,
    month.drift,
    month.decision.length > 80 ? `${month.decision.slice(0, 79)}…` : month.decision,
  ]);
  const lines = [
    '',
    ...tableLines(['month', 'champion', 'AUC (95 %)', 'drift', 'decision'], rows),
    '',
    `${document.seconds} s. Look deeper, in ${folder}/:`,
    `  bin/almanac decisions ${model} --project ${folder}      every decision and its reasons`,
    `  bin/almanac evidence ${model} --project ${folder}       what was judged; add a digest for the checks`,
    `  bin/almanac history ${model} --project ${folder}        which version served when, approved by whom`,
    `  bin/almanac table history ${model} --project ${folder}  the commits of ${document.predictions_table}`,
    `  bin/almanac up --project ${folder}                      the server and workers again; state is still there`,
  ];
  for (const line of lines) process.stdout.write(`${line}\n`);
}

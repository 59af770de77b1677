/**
 * `almanac erase`: takes a subject out of everything the store keeps. Tables get new generations without its rows; then, after
 * a fence, every file that holds it is deleted; then every remaining object is searched again, which is the proof.
 */
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { join, relative, resolve } from 'node:path';
import type { Project } from '../config/project.ts';
import type { ModelDefinition } from '../domain/definition.ts';
import type { EnginePool } from '../engine/pool.ts';
import { InputTables } from '../inputs/input-tables.ts';
import { Catalog } from '../storage/catalog.ts';
import { eraseObjects, eraseSubject, finishErasures, subjectHash } from '../storage/erasure.ts';
import { keys } from '../storage/keys.ts';
import { openStore } from '../storage/open.ts';
import { systemPorts } from '../storage/ports.ts';
import type { SubjectKey } from '../storage/subject.ts';
import { fetchTableFile } from '../storage/table/fetch-file.ts';
import { type CommitRequest, PredictionsTable } from '../storage/table/predictions-table.ts';
import type { GenerationState } from '../storage/table/state.ts';
import { withEngine } from './engine.ts';
import { type SubjectSearch, searchFor } from './erasure-search.ts';
import { CommandFailure, exitCode, note, show } from './output.ts';
import { type ProjectOptions, projectOf } from './project-context.ts';

export interface EraseOptions extends ProjectOptions {
  /** `value`, or `column=value` joined by commas. */
  readonly key: string;
  /** Only says what would be erased. */
  readonly dryRun?: boolean;
}

interface Kept {
  readonly object: string;
  readonly reason: string;
}

interface Report {
  /** Keyed hash of the subject, as the audit log has it. */
  readonly subject: string;
  readonly dryRun: boolean;
  readonly rewritten: readonly { readonly table: string; readonly partition: string; readonly generation: number }[];
  readonly deleted: readonly string[];
  /** Objects in the store that were opened and searched for the proof, after everything else: all there are. */
  readonly searched: number;
  /** Those that still hold the subject, and why. Empty is the proof. */
  readonly remaining: readonly Kept[];
  /** Files of the project's own data that hold it: Almanac never changes them. */
  readonly sources: readonly string[];
}

const deadlineMs = 3_600_000;

/** Exit code 1 while anything still holds the subject. Safe to run twice: the second run finds what is left. */
export async function erase(options: EraseOptions): Promise<void> {
  const project = projectOf(options);
  const ports = systemPorts(openStore(project.store, project.s3));
  const catalog = new Catalog(ports);
  const definitions = await Promise.all((await catalog.models()).map(({ digest }) => catalog.definition(digest)));
  const key = subjectOf(options.key, definitions);
  await withEngine('erase', async ({ engine, scratch }) => {
    const search = searchFor(key, { store: ports.store, engine, scratch });
    const desk: Desk = { project, ports, catalog, definitions, engine, scratch, key, search };
    const subject = subjectHash(readSecret(project), Object.entries(key).sort().flat());
    const report = options.dryRun === true ? await rehearse(desk, subject) : await eraseEverywhere(desk, subject);
    if (report.remaining.length > 0 && !report.dryRun) process.exitCode = exitCode.failed;
    show(options.json, report, linesOf);
  });
}

interface Desk {
  readonly project: Project;
  readonly ports: ReturnType<typeof systemPorts>;
  readonly catalog: Catalog;
  readonly definitions: readonly ModelDefinition[];
  readonly engine: EnginePool;
  readonly scratch: string;
  readonly key: SubjectKey;
  readonly search: SubjectSearch;
}

function subjectOf(text: string, definitions: readonly ModelDefinition[]): SubjectKey {
  const columns = [...new Set(definitions.flatMap(({ contract }) => contract.keys))];
  const known = `the models' key columns are ${columns.join(', ') || '(none)'}`;
  if (!text.includes('=')) {
    const [only, ...others] = columns;
    if (only !== undefined && others.length === 0) return { [only]: text };
    throw new CommandFailure(`--key ${text}: name the column, --key COLUMN=VALUE; ${known}`, exitCode.usage);
  }
  const key = Object.fromEntries(
    text.split(',').map(part => [part.slice(0, part.indexOf('=')).trim(), part.slice(part.indexOf('=') + 1)]),
  );
  const stray = Object.keys(key).filter(column => !columns.includes(column));
  if (stray.length > 0) throw new CommandFailure(`--key: ${stray.join(', ')} is no key; ${known}`, exitCode.usage);
  return key;
}

/** Whoever has this file can check whether a subject was erased; without it the hashes in the audit log say nothing. */
function readSecret({ stateFolder }: Project): string {
  const path = join(stateFolder, 'erasure.secret');
  if (!existsSync(path)) {
    mkdirSync(stateFolder, { recursive: true });
    writeFileSync(path, randomBytes(32).toString('hex'), { mode: 0o600, flag: 'wx' });
  }
  return readFileSync(path, 'utf8').trim();
}

async function rehearse(desk: Desk, subject: string): Promise<Report> {
  const { holding, searched } = await desk.search.searchStore();
  const serving = await servingObjects(desk);
  const inTables = tablesOf(desk).map(({ root }) => `${root}/partition=`);
  // Files of tables are rewritten first, so none of them stays.
  const others = holding.filter(object => !inTables.some(prefix => object.startsWith(prefix)));
  const remaining = others.flatMap(object => keptBecause(object, desk, serving));
  const deleted = holding.filter(object => !remaining.some(kept => kept.object === object));
  return { subject, dryRun: true, rewritten: [], deleted, searched, remaining, sources: await sourcesHolding(desk) };
}

async function eraseEverywhere(desk: Desk, subject: string): Promise<Report> {
  const { ports, search } = desk;
  const rewritten: { table: string; partition: string; generation: number }[] = [];
  const deleted: string[] = [...(await finishErasures(ports)).deleted];
  for (const table of tablesOf(desk)) {
    if ((await table.state()).version < 0) continue;
    const request = { table, subject, holds: search.holds };
    const report = await eraseSubject(ports, { ...request, rewrite: generation => rewrite(desk, table, generation) });
    rewritten.push(...report.rewritten.map(one => ({ table: table.root, ...one })));
    deleted.push(...report.deleted);
    note(`${table.root}: ${report.rewritten.length} partitions rewritten, ${report.deleted.length} files deleted`);
  }
  const serving = await servingObjects(desk);
  const objects = (await search.searchStore()).holding.filter(
    object => keptBecause(object, desk, serving).length === 0,
  );
  const gone = await eraseObjects(ports, { subject, objects });
  deleted.push(...gone.deleted);

  // The proof: every object that is there now, listed again.
  const { holding, searched } = await search.searchStore();
  const remaining = holding.map(object => {
    const [kept] = keptBecause(object, desk, serving);
    return kept ?? { object, reason: 'its deletion was not confirmed: erase again' };
  });
  return { subject, dryRun: false, rewritten, deleted, searched, remaining, sources: await sourcesHolding(desk) };
}

function tablesOf({ ports, definitions }: Desk): readonly PredictionsTable[] {
  const roots = definitions.flatMap(({ model, score }) => [score.output, keys.quarantine(model)]);
  return [...new Set(roots)].map(root => new PredictionsTable(ports, root));
}

/** The current generation once more, without the subject's rows. */
async function rewrite(desk: Desk, table: PredictionsTable, current: GenerationState): Promise<CommitRequest> {
  const { ports, engine, scratch, key } = desk;
  const { partition, decision } = current;
  if (decision.kind !== 'commit') throw new Error(`generation ${current.generation} of ${partition} is not committed`);
  const generation = await table.nextGeneration(partition);
  const folder = await mkdtemp(join(scratch, 'rewrite-'));
  const files: CommitRequest['files'][number][] = [];
  for (const [chunk, file] of current.files.entries()) {
    const local = join(folder, 'held.parquet');
    await fetchTableFile({ store: ports.store, root: table.root, file, path: local });
    const output = await engine.run('erase', { files: [local], key, outputFolder: folder }, { deadlineMs });
    const kept = output.files[0]?.kept ?? null;
    if (kept === null) continue;
    const name = table.newPartFile({ partition, generation, chunk, attempt: 1 });
    const answer = await ports.store.upload(name.key, kept.path);
    if (answer.kind !== 'applied') throw new CommandFailure(`${name.key} was not written: erase again`);
    files.push({ path: name.path, bytes: kept.bytes, rows: kept.rows, sha256: kept.sha256 });
  }
  await rm(folder, { recursive: true, force: true });
  const { columns } = await table.snapshot();
  const { planDigest, asOf } = decision;
  return { ...{ partition, generation, planDigest, columns, files, asOf }, workflowId: 'erase', runId: '', attempt: 1 };
}

/** Objects that a serving version consists of → the version. */
async function servingObjects({ catalog, definitions }: Desk): Promise<ReadonlyMap<string, string>> {
  const serving = new Map<string, string>();
  for (const { model } of definitions) {
    for (const version of await catalog.servingVersions(model)) {
      const { files } = await catalog.bundle(version.bundle);
      const objects = [
        keys.document('bundle', version.bundle),
        keys.document('definition', version.definition),
        ...(version.profile === null ? [] : [keys.document('profile', version.profile)]),
        ...(version.baseline === null ? [] : [keys.document('baseline', version.baseline)]),
        ...files.map(({ sha256 }) => keys.artifact(sha256)),
      ];
      for (const object of objects) serving.set(object, `${model} v${version.number}`);
    }
  }
  return serving;
}

/** Why an object is not deleted although it holds the subject; empty when it is. */
function keptBecause(object: string, desk: Desk, serving: ReadonlyMap<string, string>): readonly Kept[] {
  const version = serving.get(object);
  if (version !== undefined)
    return [
      { object, reason: `${version} serves with it: train again without the subject, promote, then erase again` },
    ];
  if (object.startsWith(keys.documents) || object.startsWith(keys.artifacts)) return [];
  const isPartFile = tablesOf(desk).some(({ root }) => object.startsWith(`${root}/partition=`));
  if (isPartFile) return [{ object, reason: 'of a job that is still open: erase again when it has ended' }];
  return [{ object, reason: 'a log is never rewritten; move the store if this entry must go' }];
}

async function sourcesHolding({ project, definitions, engine, search }: Desk): Promise<readonly string[]> {
  const tables = new InputTables({ folder: project.folder, s3: project.s3, engine });
  const paths = new Set<string>();
  for (const { data } of definitions) {
    for (const table of [data.features, data.labels, ...Object.values(data.tables)]) {
      // Objects of a bucket are not fetched for this; whoever owns them has to look there.
      if (table === null || table.path.startsWith('s3://')) continue;
      const partitions = table.path.includes('{date}') ? await tables.partitions(table) : [''];
      for (const { path } of await tables.files(table, partitions)) paths.add(resolve(project.folder, path));
    }
  }
  return (await search.searchFiles([...paths])).map(path => relative(project.folder, path));
}

function linesOf({ dryRun, rewritten, deleted, searched, remaining, sources }: Report): readonly string[] {
  const would = dryRun ? 'would be ' : '';
  return [
    ...rewritten.map(one => `rewritten ${one.table} partition ${one.partition} as generation ${one.generation}`),
    ...deleted.map(object => `${would}erased  ${object}`),
    ...remaining.map(({ object, reason }) => `${dryRun ? 'would remain' : 'REMAINS'} ${object}: ${reason}`),
    ...sources.map(path => `source    ${path} holds the subject: Almanac never changes it, delete the rows there`),
    `${deleted.length} objects ${would}erased; of all ${searched} objects ${dryRun ? 'there are' : 'that are left'}, ` +
      `${remaining.length} ${dryRun ? 'would hold the subject afterwards' : 'hold the subject'}` +
      `${sources.length === 0 ? '' : `, ${sources.length} source files hold the subject`}`,
  ];
}

/**
 * Ten mistakes that lose or double files, and four that lose promotions or deploy what nobody approved, each built into a copy of the production code by replacing text. A snippet that is
 * no longer found fails the build of the mutant, so that the list cannot rot unnoticed.
 */
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the replaced text is code with template strings in it.
import { cp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Implementation } from './implementation.ts';

export interface Mutant {
  readonly name: string;
  /** Seeds within which it must be caught. */
  readonly seeds: number;
  readonly edits: readonly { readonly file: string; readonly find: string; readonly replace: string }[];
}

const chain = 'storage/chain.ts';
const table = 'storage/table/predictions-table.ts';
const state = 'storage/table/state.ts';
const collector = 'storage/collector.ts';
const deployment = 'domain/deployment.ts';
const promotion = 'activities/promotion.ts';

export const mutants: readonly Mutant[] = [
  {
    name: 'cleans up after an unknown answer',
    seeds: 2000,
    edits: [
      { file: chain, find: 'const attemptsMax = 8;', replace: 'const attemptsMax = 1;' },
      {
        file: table,
        find: '    const appended = await this.#append(state => {\n      const ruling = ruleCommit',
        replace:
          '    const cleanUp = async (error: unknown) => {\n' +
          '      for (const file of files) await this.#ports.store.delete(`${this.root}/${file.path}`);\n' +
          '      throw error;\n    };\n' +
          '    const appended = await this.#append(state => {\n      const ruling = ruleCommit',
      },
      {
        file: table,
        find: '      };\n    });\n    if (appended !== null) {',
        replace: '      };\n    }).catch(cleanUp);\n    if (appended !== null) {',
      },
    ],
  },
  {
    name: 'advances past a slot it has not seen taken',
    seeds: 2000,
    edits: [
      { file: chain, find: 'const number = entries.length;', replace: 'const number = entries.length + skipped;' },
      {
        file: chain,
        find: "let unclear = '';\n    let offered",
        replace: "let skipped = 0;\n    let unclear = '';\n    let offered",
      },
      { file: chain, find: "        case 'unknown':\n", replace: "        case 'unknown':\n          skipped = 1;\n" },
      {
        file: chain,
        find: 'const entry = this.#accept(number, offered.text);',
        replace: 'const entry = this.#format.parse(offered.text, number);',
      },
    ],
  },
  {
    name: 'deletes undecided files by age, without a fence',
    seeds: 2000,
    edits: [
      {
        file: collector,
        find: 'const fenced = await fence(table, { state, files, policy, nowMs });',
        replace: 'const fenced: ForgottenGeneration[] = []; void fence;',
      },
      {
        file: collector,
        find: 'files.filter(file => isGarbage(state, file))',
        replace:
          'files.filter(file => isGarbage(state, file) || (state.generation(file.partition, file.generation) === undefined && ' +
          'nowMs - Date.parse(file.object.modified) > policy.undecidedMs))',
      },
    ],
  },
  {
    name: 'names part files without attempt and random id',
    seeds: 2000,
    edits: [
      {
        file: 'storage/keys.ts',
        find: '-c${chunk}-${attempt}-${unique}.parquet',
        replace: '-c${chunk}-0-0.parquet`; void attempt; void unique; void `',
      },
    ],
  },
  {
    name: 'does not look for a higher generation',
    seeds: 2000,
    edits: [{ file: state, find: 'if (highest > generation) {', replace: 'if (highest > generation + 1_000_000) {' }],
  },
  {
    name: 'takes the run id into the commit id',
    seeds: 2000,
    edits: [
      {
        file: state,
        find: "if (own?.decision.kind === 'commit') return { kind: 'already'",
        replace: "if (own?.decision.kind === 'commit' && own.decision.runId === runId) return { kind: 'already'",
      },
      {
        file: state,
        find: 'export function ruleCommit(state: TableState, partition: string, generation: number)',
        replace: 'export function ruleCommit(state: TableState, partition: string, generation: number, runId = "")',
      },
      {
        file: table,
        find: 'const ruling = ruleCommit(state, partition, generation);\n      if',
        replace: 'const ruling = ruleCommit(state, partition, generation, request.runId);\n      if',
      },
      {
        file: table,
        find: 'const early = settled(await this.state(), partition, generation);',
        replace: 'const early = null as CommitOutcome | null;',
      },
    ],
  },
  {
    name: 'reads by listing',
    seeds: 2000,
    edits: [
      {
        file: table,
        find: '    return snapshotOf(state);\n',
        replace:
          '    const listed = await this.#ports.store.list(`${this.root}/partition=`);\n' +
          '    const objects = listed.kind === "found" ? listed.value.objects : [];\n' +
          '    const files = objects.map(object => ({ ...snapshotOf(state).files[0]!, path: object.key.slice(this.root.length + 1), partition: object.key.split("partition=")[1]!.split("/")[0]! }));\n' +
          '    return { ...snapshotOf(state), files };\n',
      },
    ],
  },
  {
    name: 'takes every taken slot for someone else',
    seeds: 2000,
    edits: [
      {
        file: chain,
        find: "if (own?.commit === commit) return { kind: 'appended', entry: own };",
        replace:
          "if (own?.commit === commit) throw new StorageFault('conflict', this.#format.name, 'someone else holds it');",
      },
    ],
  },
  {
    name: 'deletes by a set of references read before the listing',
    seeds: 2000,
    edits: [
      {
        file: collector,
        find: '  const { files, unknownFiles } = await listPartFiles(ports, table.root);\n  const state = await table.state();',
        replace:
          '  const state = await table.state();\n  const referenced = new Set([...state.generations()].flatMap(known => known.files.map(file => file.path)));\n  const { files, unknownFiles } = await listPartFiles(ports, table.root);\n  const present = await table.state();',
      },
      {
        file: collector,
        find: 'files.filter(file => isGarbage(state, file))',
        replace:
          'files.filter(file => isGarbage(state, file) || (present.generation(file.partition, file.generation) !== undefined && !referenced.has(file.path)))',
      },
    ],
  },
  {
    name: 'deletes in the pass that fenced, on the old view of the log',
    seeds: 2000,
    edits: [
      {
        file: collector,
        find: '  if (fenced.length > 0) return { fenced, deleted: [], deletedBytes: 0, unclear: [], unknownFiles };\n',
        replace: '',
      },
      {
        file: collector,
        find: 'files.filter(file => isGarbage(state, file))',
        replace:
          'files.filter(file => isGarbage(state, file) || fenced.some(own => own.partition === file.partition && own.generation === file.generation))',
      },
    ],
  },
  {
    name: 'replaces a champion that the evidence was not about',
    seeds: 200,
    edits: [
      {
        file: deployment,
        find: 'if (request.expectedChampion !== undefined && request.expectedChampion !== champion) {',
        replace: 'if (request.expectedChampion === -1) {',
      },
    ],
  },
  {
    name: 'does not know its own step again',
    seeds: 200,
    edits: [
      { file: deployment, find: 'changes.findIndex(change => change.step === request.step)', replace: '-1 as number' },
    ],
  },
  {
    name: 'goes back to a champion that was rolled back before',
    seeds: 2000,
    edits: [
      { file: deployment, find: "if (action.kind === 'roll_back') champions.pop();\n    else if", replace: 'if' },
    ],
  },
  {
    name: 'records what a promotion said twice',
    seeds: 200,
    edits: [{ file: promotion, find: '(events.some(isSame) ? null : event)', replace: '(void isSame, event)' }],
  },
];

/** Builds the mutant under `folder` and loads it. Throws when a snippet is not found exactly once. */
export async function loadMutant(mutant: Mutant, folder: string): Promise<Implementation> {
  const copy = join(folder, mutant.name.replaceAll(/[^a-z]+/g, '-'));
  await rm(copy, { recursive: true, force: true });
  await cp(new URL('../../src/', import.meta.url), copy, { recursive: true });
  for (const edit of mutant.edits) {
    const path = join(copy, edit.file);
    const text = await readFile(path, 'utf8');
    const times = text.split(edit.find).length - 1;
    if (times !== 1) throw new Error(`${mutant.name}: ${edit.file} holds ${times} times: ${edit.find}`);
    await writeFile(
      path,
      text.replace(edit.find, () => edit.replace),
    );
  }
  const load = (file: string) => import(/* @vite-ignore */ pathToFileURL(join(copy, file)).href);
  const { PredictionsTable } = await load('storage/table/predictions-table.ts');
  const { collectTable } = await load('storage/collector.ts');
  const { StorageFault } = await load('storage/fault.ts');
  const { Catalog } = await load('storage/catalog.ts');
  const { createPromotion } = await load('activities/promotion.ts');
  return { PredictionsTable, collectTable, StorageFault, Catalog, createPromotion };
}

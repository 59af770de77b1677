/** The profile of a chunk, built from the vectors that scoring reads anyway and written as `profile.json`. */
import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Contract, ContractColumn } from '../domain/contract.ts';
import type { Baseline, Profile } from '../domain/profile.ts';
import type { ArgumentList, CodeArgument } from './arguments.ts';
import type { ColumnInfo, RuleCount, ScoreChunkJob } from './job.ts';
import type { Numbers } from './predictions.ts';
import { createProfiler, type ProfiledColumn, type Profiler } from './profile/profiler.ts';
import type { Vectors } from './vectors.ts';

type Feed = (vectors: Vectors, profiler: Profiler) => void;
type SliceRows = (vectors: Vectors, into: Map<string, Int32Array>) => void;

const ENGINE = 'duckdb 1.5';

export class ChunkProfile {
  readonly #profiler: Profiler;
  readonly #feeds: readonly Feed[];
  readonly #slices: readonly SliceRows[];

  private constructor(profiler: Profiler, feeds: readonly Feed[], slices: readonly SliceRows[]) {
    this.#profiler = profiler;
    this.#feeds = feeds;
    this.#slices = slices;
  }

  /** Null when the job wants no profile. Adds the arguments it needs to `args`. */
  static async create(
    job: ScoreChunkJob,
    columns: readonly ColumnInfo[],
    args: ArgumentList,
  ): Promise<ChunkProfile | null> {
    if (job.baseline === null) return null;
    const bytes = await readFile(job.baseline);
    const baseline = JSON.parse(bytes.toString('utf8')) as Baseline;
    const profiled = profiledColumns(job.contract, columns);
    const { eventTime, knownAt } = job.contract;
    const profiler = createProfiler({
      dataset: job.dataset ?? '',
      kind: 'serving',
      engine: ENGINE,
      baseline,
      baselineDigest: createHash('sha256').update(bytes).digest('hex'),
      columns: profiled,
      eventTime,
      knownAt,
      asOf: job.scoredAt,
    });
    const feeds = profiled.map((column, index) => feedOf(column, index, baseline, args));
    const slices = job.sliceColumns.map(name => sliceRowsOf(name, baseline, args));
    return new ChunkProfile(profiler, feeds, slices);
  }

  /** `scores`: one number per row of the vector, or null when nothing is scored. */
  add(vectors: Vectors, scores: Numbers | null): void {
    const slices = new Map<string, Int32Array>();
    for (const rowsOf of this.#slices) rowsOf(vectors, slices);
    this.#profiler.beginBlock(vectors.rows, { slices });
    for (const feed of this.#feeds) feed(vectors, this.#profiler);
    if (scores !== null) this.#profiler.addScores(scores);
  }

  async write(folder: string, keys: Profile['keys'], rules: readonly RuleCount[]): Promise<string> {
    const path = join(folder, 'profile.json');
    const profile = this.#profiler.finish({ keys, rules: rules.map(({ id, rows, bad }) => ({ id, n: rows, bad })) });
    await writeFile(path, JSON.stringify(profile));
    return path;
  }
}

/** Every contract column that is there (a missing one is a finding of validation, not a column of NULLs), and the time columns of the contract where they are no columns of it. */
function profiledColumns(contract: Contract, columns: readonly ColumnInfo[]): ProfiledColumn[] {
  const types = new Map(columns.map(column => [column.name, column.type]));
  const declared = contract.columns
    .filter(({ name }) => types.has(name))
    .map(
      (column): ProfiledColumn => ({
        name: column.name,
        type: types.get(column.name)!,
        kind: kindOf(column),
        personal: column.pii,
      }),
    );
  const times = [contract.eventTime, contract.knownAt].filter(
    (name): name is string => name !== null && types.has(name),
  );
  const further = [...new Set(times)].filter(name => declared.every(column => column.name !== name));
  return [...declared, ...further.map((name): ProfiledColumn => ({ name, type: types.get(name)!, kind: 'time' }))];
}

function kindOf(column: ContractColumn): ProfiledColumn['kind'] {
  switch (column.type) {
    case 'float':
    case 'double':
    case 'int':
    case 'bool':
      return 'numeric';
    case 'category':
    case 'text':
      return 'category';
    case 'timestamp':
    case 'date':
      return 'time';
  }
}

function feedOf(column: ProfiledColumn, index: number, baseline: Baseline, args: ArgumentList): Feed {
  switch (column.kind) {
    case 'numeric': {
      const { values } = args.number(column.name);
      return (vectors, profiler) => profiler.addNumbers(index, vectors.numbers(values), vectors.nullRows(values));
    }
    case 'category': {
      const read = codesOf(column.name, baseline, args);
      return (vectors, profiler) => {
        const { codes, dictionary, nullRows } = read(vectors);
        profiler.addCodes(index, codes, dictionary, nullRows);
      };
    }
    case 'time': {
      const values = args.time(column.name);
      return (vectors, profiler) => profiler.addTimes(index, vectors.bigints(values), vectors.nullRows(values));
    }
  }
}

interface Codes {
  readonly codes: ArrayLike<number>;
  readonly dictionary: readonly string[];
  readonly nullRows: Int32Array;
}

/** Codes of the baseline's vocabulary; only values outside it are read as texts, which is slow and rare. */
function codesOf(name: string, baseline: Baseline, args: ArgumentList): (vectors: Vectors) => Codes {
  const edges = baseline.columns[name];
  const vocabulary = edges?.kind === 'category' ? edges.vocabulary : [];
  const argument = args.code(name, vocabulary);
  const text = args.text(name);
  return vectors => withUnseen(vectors, argument, text, vocabulary);
}

function withUnseen(vectors: Vectors, argument: CodeArgument, text: number, vocabulary: readonly string[]): Codes {
  const codes = vectors.numbers(argument.codes);
  const unknown = vectors.nullRows(argument.codes);
  if (unknown.length === 0) return { codes, dictionary: vocabulary, nullRows: unknown };
  const isNull = vectors.numbers(argument.isNull);
  const nullRows = unknown.filter(row => isNull[row] === 1);
  if (nullRows.length === unknown.length) return { codes, dictionary: vocabulary, nullRows };
  const extended = Int32Array.from(codes);
  const dictionary = [...vocabulary];
  const unseen = new Map<string, number>();
  for (const row of unknown) {
    if (isNull[row] === 1) continue;
    const value = vectors.text(text, row) ?? '';
    let code = unseen.get(value);
    if (code === undefined) {
      code = dictionary.push(value) - 1;
      unseen.set(value, code);
    }
    extended[row] = code;
  }
  return { codes: extended, dictionary, nullRows };
}

function sliceRowsOf(name: string, baseline: Baseline, args: ArgumentList): SliceRows {
  const read = codesOf(name, baseline, args);
  return (vectors, into) => {
    const { codes, dictionary, nullRows } = read(vectors);
    const isNull = new Set(nullRows);
    const rows = new Map<number, number[]>();
    for (let row = 0; row < vectors.rows; row++) {
      if (isNull.has(row)) continue;
      const code = codes[row]!;
      const found = rows.get(code);
      if (found === undefined) rows.set(code, [row]);
      else found.push(row);
    }
    for (const [code, chosen] of rows) into.set(`${name}=${dictionary[code]}`, Int32Array.from(chosen));
  };
}

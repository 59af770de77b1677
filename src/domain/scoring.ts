/** How a scoring job is cut into chunks: one huge file as parallel as many small ones, ten thousand tiny files grouped. */

/** Rows that a model is given at once: enough for its kernels, few enough to stay in a core's cache; also DuckDB's vector. */
export const batchRows = 2_048;

export interface FileToScore {
  readonly path: string;
  /** Rows of each row group; one entry for formats without row groups. */
  readonly rowGroups: readonly number[];
  /** Columns that are not in the file. */
  readonly constants?: Readonly<Record<string, string>>;
}

export interface ChunkRange {
  readonly path: string;
  /** [from, to); absent means the whole file. */
  readonly rowGroups?: readonly [from: number, to: number];
  readonly constants?: Readonly<Record<string, string>>;
}

export interface Chunk {
  readonly inputs: readonly ChunkRange[];
  readonly rows: number;
}

export interface ChunkPlanOptions {
  /** Rows a chunk aims at; one row group may be more. */
  readonly chunkRows: number;
  /** The number of chunks becomes a multiple of this, so that so many workers end together. Default 1. */
  readonly chunksWanted?: number;
  /** Opening a file costs, so a chunk of tiny files is cut by their number too. Default 1,000. */
  readonly filesMax?: number;
}

/**
 * Chunks in the order of the files and their row groups, so that part files sort like their input. Files without rows are
 * left out unless nothing else is there: an empty partition still publishes an empty part with the right columns.
 */
export function planChunks(files: readonly FileToScore[], options: ChunkPlanOptions): readonly Chunk[] {
  const total = files.reduce((sum, file) => sum + rowsOf(file), 0);
  if (total === 0) return files.slice(0, 1).map(file => ({ inputs: [wholeFile(file)], rows: 0 }));
  const workers = options.chunksWanted ?? 1;
  const rounds = Math.ceil(total / options.chunkRows / workers);
  const rowsWanted = Math.min(options.chunkRows, Math.ceil(total / (rounds * workers)));
  const filesMax = options.filesMax ?? 1_000;
  const chunks: Chunk[] = [];
  let inputs: ChunkRange[] = [];
  let rows = 0;
  const close = () => {
    if (inputs.length > 0) chunks.push({ inputs, rows });
    inputs = [];
    rows = 0;
  };
  for (const file of files) {
    if (rowsOf(file) === 0) continue;
    for (const range of cutFile(file, rowsWanted, () => rows)) {
      inputs.push(range.input);
      rows += range.rows;
      if (rows >= rowsWanted || inputs.length >= filesMax) close();
    }
  }
  close();
  return chunks;
}

/** Ranges of one file, each as long as the open chunk still has room; at least one row group. */
function* cutFile(
  file: FileToScore,
  rowsWanted: number,
  rowsTaken: () => number,
): Generator<{ readonly input: ChunkRange; readonly rows: number }> {
  const { rowGroups } = file;
  let from = 0;
  while (from < rowGroups.length) {
    const room = rowsWanted - rowsTaken();
    let to = from;
    let rows = 0;
    do rows += rowGroups[to++]!;
    while (to < rowGroups.length && rows + rowGroups[to]! / 2 <= room);
    const whole = from === 0 && to === rowGroups.length;
    yield { input: whole ? wholeFile(file) : { ...wholeFile(file), rowGroups: [from, to] }, rows };
    from = to;
  }
}

function wholeFile({ path, constants }: FileToScore): ChunkRange {
  return { path, ...(constants === undefined ? {} : { constants }) };
}

function rowsOf(file: FileToScore): number {
  return file.rowGroups.reduce((sum, rows) => sum + rows, 0);
}

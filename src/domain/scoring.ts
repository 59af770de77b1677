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
 * Chunks in the order of the files and their row groups, so that part files sort like their input. They end at the row
 * groups nearest to equal shares of all rows: rounding each chunk on its own would leave the last one short and the core
 * that has it idle. Files without rows are left out unless nothing else is there: an empty partition still publishes an
 * empty part with the right columns.
 */
export function planChunks(files: readonly FileToScore[], options: ChunkPlanOptions): readonly Chunk[] {
  const total = files.reduce((sum, file) => sum + rowsOf(file), 0);
  if (total === 0) return files.slice(0, 1).map(file => ({ inputs: [wholeFile(file)], rows: 0 }));
  const workers = options.chunksWanted ?? 1;
  const share = total / (Math.ceil(total / options.chunkRows / workers) * workers);
  const filesMax = options.filesMax ?? 1_000;
  const chunks: OpenChunk[] = [];
  /** Rows of all chunks so far, and how many they should be where the last of them ends. */
  let planned = 0;
  let end = 0;
  const startChunk = () => {
    chunks.push({ ranges: [], rows: 0 });
    // One that ended early, for its number of files, leaves those after it their shares.
    end = share * (Math.round(planned / share) + 1);
  };
  for (const file of files) {
    if (rowsOf(file) === 0) continue;
    if (chunks.length === 0 || chunks.at(-1)!.ranges.length >= filesMax) startChunk();
    for (const [index, rows] of file.rowGroups.entries()) {
      if (rows > 0 && chunks.at(-1)!.rows > 0 && planned + rows / 2 > end) startChunk();
      addRowGroup(chunks.at(-1)!, file, index);
      planned += rows;
    }
  }
  return chunks.map(({ ranges, rows }) => ({ inputs: ranges.map(inputOf), rows }));
}

interface OpenChunk {
  readonly ranges: OpenRange[];
  rows: number;
}

/** Row groups [from, to) of a file. */
interface OpenRange {
  readonly file: FileToScore;
  readonly from: number;
  to: number;
}

function addRowGroup(chunk: OpenChunk, file: FileToScore, index: number): void {
  const last = chunk.ranges.at(-1);
  if (last?.file === file) last.to = index + 1;
  else chunk.ranges.push({ file, from: index, to: index + 1 });
  chunk.rows += file.rowGroups[index]!;
}

function inputOf({ file, from, to }: OpenRange): ChunkRange {
  const isWhole = from === 0 && to === file.rowGroups.length;
  return isWhole ? wholeFile(file) : { ...wholeFile(file), rowGroups: [from, to] };
}

function wholeFile({ path, constants }: FileToScore): ChunkRange {
  return { path, ...(constants === undefined ? {} : { constants }) };
}

function rowsOf(file: FileToScore): number {
  return file.rowGroups.reduce((sum, rows) => sum + rows, 0);
}

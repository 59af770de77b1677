/**
 * The one place that opens DuckDB. Every session has one thread, a memory limit, a temporary folder of its own, and is
 * locked: it reads the files named by the job, writes to the job's folders, and cannot be unlocked by any SQL that follows.
 *
 * `run()` and `COPY` throw on errors; `stream()` does not (it just ends), so streams are for callers who count rows.
 */
import type { DuckDBConnection, DuckDBInstance, DuckDBScalarFunction, JS } from '@duckdb/node-api';
import * as duckdb from './duckdb-api.ts';
import { EngineFault, saysOutOfMemory } from './fault.ts';
import type { ColumnInfo } from './job.ts';
import { literal } from './sql.ts';

export interface SessionOptions {
  /** Files that may be read, exactly these. */
  readonly files: readonly string[];
  /** Folders that may be read and written. */
  readonly folders: readonly string[];
  /** Of the process. DuckDB spills to its scratch folder, made one of `folders`, and has half of its memory. */
  readonly limits: { readonly scratch: string; readonly memoryMb: number };
}

/**
 * Opening a database takes 25 ms of processor time. The next one is opened while this process waits for its next job, which
 * locks it before any statement reaches it. A process that ends with its last job is gone before that.
 */
let spare: Promise<DuckDBInstance> | null = null;
let idle: NodeJS.Timeout | undefined;
const IDLE_MS = 50;

function takeInstance(): Promise<DuckDBInstance> {
  clearTimeout(idle);
  const taken = spare ?? openInstance();
  spare = null;
  return taken;
}

function keepSpareWhenIdle(): void {
  clearTimeout(idle);
  if (spare === null) idle = setTimeout(keepSpare, IDLE_MS).unref();
}

/** Opens the database of the next session now. */
export function keepSpare(): void {
  spare ??= openInstance();
  // Whoever takes it hears of a failure.
  spare.catch(() => undefined);
}

function openInstance(): Promise<DuckDBInstance> {
  return duckdb.DuckDBInstance.create(':memory:', { threads: '1' });
}

const SPILL_GB_MAX = 64;
const MEMORY_MB_MIN = 256;

export class DuckDbSession {
  readonly #instance: DuckDBInstance;
  readonly connection: DuckDBConnection;

  private constructor(instance: DuckDBInstance, connection: DuckDBConnection) {
    this.#instance = instance;
    this.connection = connection;
  }

  static async open({ files, folders, limits }: SessionOptions): Promise<DuckDbSession> {
    const { scratch } = limits;
    const memoryMb = Math.max(MEMORY_MB_MIN, Math.round(limits.memoryMb / 2));
    const instance = await takeInstance();
    const session = new DuckDbSession(instance, await instance.connect());
    // The order matters: what is set after the lock is refused, and the lock itself comes last.
    const settings = [
      `SET TimeZone = 'UTC'`,
      `SET memory_limit = '${memoryMb}MB'`,
      `SET temp_directory = ${literal(scratch)}`,
      `SET max_temp_directory_size = '${SPILL_GB_MAX}GB'`,
      `SET streaming_buffer_size = '8MB'`,
      `SET autoinstall_known_extensions = false`,
      `SET autoload_known_extensions = false`,
      `SET allow_community_extensions = false`,
      `SET allowed_directories = [${[scratch, ...folders].map(literal).join(', ')}]`,
      `SET allowed_paths = [${files.map(literal).join(', ')}]`,
      `SET enable_external_access = false`,
      `SET lock_configuration = true`,
    ];
    await session.connection.run(settings.join('; '));
    return session;
  }

  /** Runs one statement; gives the number of rows it wrote. */
  async run(sql: string): Promise<number> {
    try {
      return (await this.connection.run(sql)).rowsChanged;
    } catch (error) {
      throw asFault(error);
    }
  }

  /** Rows of a small result, as objects. */
  async rows(sql: string): Promise<Record<string, JS>[]> {
    try {
      return (await this.connection.runAndReadAll(sql)).getRowObjectsJS();
    } catch (error) {
      throw asFault(error);
    }
  }

  /** Rows of a small result as JSON values; what JSON has no number for is text. */
  async jsonRows(sql: string): Promise<unknown[][]> {
    try {
      return (await this.connection.runAndReadAll(sql)).getRowsJson();
    } catch (error) {
      throw asFault(error);
    }
  }

  /** Names and types of a SELECT's columns. */
  async describe(select: string): Promise<readonly ColumnInfo[]> {
    const rows = await this.rows(`DESCRIBE ${select}`);
    return rows.map(row => ({ name: String(row['column_name']), type: String(row['column_type']) }));
  }

  register(scalar: DuckDBScalarFunction): void {
    this.connection.registerScalarFunction(scalar);
  }

  /** A second connection: a stream ends silently when its own connection is used for anything else. */
  connect(): Promise<DuckDBConnection> {
    return this.#instance.connect();
  }

  close(): void {
    this.connection.closeSync();
    this.#instance.closeSync();
    keepSpareWhenIdle();
  }
}

/** DuckDB's message is kept whole: it names file, column and offset. Only its first word decides who is to blame. */
export function asFault(error: unknown): EngineFault {
  if (error instanceof EngineFault) return error;
  const message = error instanceof Error ? error.message : String(error);
  const options = { cause: error };
  if (saysOutOfMemory(message)) return new EngineFault('out_of_memory', message, {}, options);
  if (/^(Parser|Binder|Catalog|Permission|Not implemented) Error/i.test(message)) {
    return new EngineFault('bad_job', message, {}, options);
  }
  if (/^(IO|Invalid Input|Conversion|Out of Range|Invalid|Serialization|TProtocolException|Corrupt)/i.test(message)) {
    return new EngineFault('bad_input', message, {}, options);
  }
  return new EngineFault('failed', message, {}, options);
}

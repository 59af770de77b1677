/** Writes the actions of a Delta table's state as one Parquet file, in the schema of classic checkpoints. */
import { DuckDbSession } from '../duckdb.ts';
import { EngineFault } from '../fault.ts';
import { writeWhole } from '../files.ts';
import type { WrittenFile } from '../job.ts';
import { literal, pathLiteral } from '../sql.ts';
import type { VerbContext } from '../verbs.ts';

export interface DeltaCheckpointJob {
  /** One action a line, as in a log entry. */
  readonly actions: string;
  readonly rows: number;
  readonly output: string;
}

const textMap = 'MAP(VARCHAR, VARCHAR)';
/** https://github.com/delta-io/delta/blob/master/PROTOCOL.md#checkpoint-schema: one column per kind of action, all but one NULL. */
const schema: Readonly<Record<string, string>> = {
  txn: 'STRUCT(appId VARCHAR, version BIGINT, lastUpdated BIGINT)',
  add:
    `STRUCT(path VARCHAR, partitionValues ${textMap}, size BIGINT, modificationTime BIGINT, dataChange BOOLEAN, ` +
    `stats VARCHAR, tags ${textMap})`,
  remove:
    'STRUCT(path VARCHAR, deletionTimestamp BIGINT, dataChange BOOLEAN, extendedFileMetadata BOOLEAN, ' +
    `partitionValues ${textMap}, size BIGINT)`,
  metaData:
    `STRUCT(id VARCHAR, name VARCHAR, format STRUCT(provider VARCHAR, options ${textMap}), schemaString VARCHAR, ` +
    `partitionColumns VARCHAR[], createdTime BIGINT, configuration ${textMap})`,
  protocol: 'STRUCT(minReaderVersion INTEGER, minWriterVersion INTEGER)',
};

export async function run(job: DeltaCheckpointJob, context: VerbContext): Promise<WrittenFile> {
  const session = await DuckDbSession.open({
    files: [job.actions],
    folders: [job.output.slice(0, job.output.lastIndexOf('/'))],
    limits: context,
  });
  try {
    const columns = Object.entries(schema).map(([name, type]) => `${name}: ${literal(type)}`);
    const reader = `read_json(${pathLiteral(job.actions)}, format = 'newline_delimited', columns = {${columns.join(', ')}})`;
    const written = await writeWhole(job.output, temporary =>
      session.run(`COPY (SELECT * FROM ${reader}) TO ${literal(temporary)} (FORMAT parquet, COMPRESSION zstd)`),
    );
    if (written.rows === job.rows) return written;
    throw new EngineFault(
      'failed',
      `${job.actions}: ${job.rows} actions became ${written.rows} rows of the checkpoint`,
    );
  } finally {
    session.close();
  }
}

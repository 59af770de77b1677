/** The rows of a training set as arrays in files, for a backtest: features as a trainer gets them, labels, rows per partition. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DuckDbSession } from '../duckdb.ts';
import type { HistoryColumnFile, HistoryFiles, HistoryJob } from '../history-job.ts';
import { identifier, readerCall } from '../sql.ts';
import { openRowReader } from '../training-rows.ts';
import type { VerbContext } from '../verbs.ts';

export async function run(job: HistoryJob, context: VerbContext): Promise<HistoryFiles> {
  const session = await DuckDbSession.open({
    files: [job.file],
    folders: [job.outputFolder],
    limits: context,
  });
  try {
    const reader = await openRowReader(session, {
      ...job,
      task: 'binary',
      trainer: '',
      parameters: {},
      seed: 0,
      threads: 1,
      metadata: {},
    });
    const table = await reader.read(job.file);
    const write = async (name: string, values: ArrayBufferView) => {
      const path = join(job.outputFolder, `${name}.bin`);
      await writeFile(path, new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
      return path;
    };
    const columns: HistoryColumnFile[] = [];
    for (const [index, feature] of table.features.entries()) {
      const path = await write(`column-${index}`, feature.kind === 'number' ? feature.values : feature.codes);
      columns.push(
        feature.kind === 'number'
          ? { kind: 'number', name: feature.name, path }
          : { kind: 'category', name: feature.name, path, categories: feature.categories },
      );
    }
    const labels = await write('labels', table.labels);
    const weights = table.weights ? await write('weights', table.weights) : null;
    // The set is in the order of its partitions, so counts are all that is needed to cut it.
    const days = await session.rows(
      `SELECT partition, count(*) AS n FROM ${readerCall('parquet', [job.file])} ` +
        `WHERE ${identifier(job.label.column)} IS NOT NULL GROUP BY partition ORDER BY partition`,
    );
    return {
      rows: table.rows,
      columns,
      labels,
      weights,
      partitions: days.map(day => ({ partition: String(day['partition']), rows: Number(day['n']) })),
    };
  } finally {
    session.close();
  }
}

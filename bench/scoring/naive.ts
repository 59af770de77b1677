/** The first loop one would write: rows as objects, a model call per 2,048 of them, one row appended at a time. */
import { DuckDBInstance } from '@duckdb/node-api';
import * as ort from 'onnxruntime-node';
import { FEATURES } from './data.ts';

const [model = '', file = '', output = ''] = process.argv.slice(2);
const started = performance.now();
const session = await ort.InferenceSession.create(model);
const connection = await (await DuckDBInstance.create(':memory:')).connect();
await connection.run('CREATE TABLE scored (id BIGINT, score FLOAT)');
const appender = await connection.createAppender('scored');
const reader = await (await DuckDBInstance.create(':memory:')).connect();
const result = await reader.stream(`SELECT id, ${FEATURES.join(', ')} FROM read_parquet('${file}')`);
let rows = 0;
for (let chunk = await result.fetchChunk(); chunk !== null && chunk.rowCount > 0; chunk = await result.fetchChunk()) {
  const read = chunk.getRows();
  const features = new Float32Array(read.length * FEATURES.length);
  for (const [index, row] of read.entries()) {
    for (let column = 0; column < FEATURES.length; column++) {
      features[index * FEATURES.length + column] = Number(row[column + 1]);
    }
  }
  const { p } = await session.run({ x: new ort.Tensor('float32', features, [read.length, FEATURES.length]) });
  for (const [index, row] of read.entries()) {
    appender.appendBigInt(row[0] as bigint);
    appender.appendFloat(Number(p!.data[index]));
    appender.endRow();
  }
  rows += read.length;
}
appender.closeSync();
await connection.run(`COPY scored TO '${output}' (FORMAT parquet, COMPRESSION zstd)`);
const { userCPUTime, systemCPUTime, maxRSS } = process.resourceUsage();
const seconds = (performance.now() - started) / 1_000;
process.stdout.write(
  `${JSON.stringify({ rows, seconds, cpu_s: (userCPUTime + systemCPUTime) / 1e6, rss_mb: maxRSS / 1_024 })}\n`,
);

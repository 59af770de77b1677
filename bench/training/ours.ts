/** Our side of the bench, in a process of its own: `ours.ts FOLDER ROWS FEATURES THREADS` prints one JSON document. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { rocAuc } from '../../src/stats/classification.ts';
import { gbdt } from '../../src/trainers/gbdt/index.ts';

const [folder = '.', ...numbers] = process.argv.slice(2);
const [rows = 0, features = 0, threads = 1] = numbers.map(Number);
const values = floats('features.f32');
const labels = floats('labels.f32');
const total = labels.length;
const columns = Array.from({ length: features }, (_, index) => values.subarray(index * total, (index + 1) * total));

const started = performance.now();
const cpu = process.cpuUsage();
const model = await gbdt.train(
  {
    rows,
    features: columns.map((column, index) => ({ kind: 'number', name: `f${index}`, values: column.slice(0, rows) })),
    labels: labels.slice(0, rows),
  },
  { task: 'binary', classes: ['0', '1'], seed: 7, threads },
  { trees: 100, max_leaves: 31, max_bins: 255 },
  () => {},
);
const seconds = (performance.now() - started) / 1000;
const { user, system } = process.cpuUsage(cpu);
const auc = rocAuc(labels.subarray(rows), model.predict(columns.map(column => column.subarray(rows)))).value;
process.stdout.write(`${JSON.stringify({ seconds, cpu_seconds: (user + system) / 1e6, auc })}\n`);

function floats(name: string): Float32Array {
  const bytes = readFileSync(join(folder, name));
  return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
}

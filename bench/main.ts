/**
 * `npm run bench -- <name> [part …] [--json] [--full] [--strict] [--data FOLDER]`: runs bench/<name>/main.ts, or some of its
 * parts where it has any, and prints its ratios. Each ratio was measured side by side in one run; nothing here is a gate on absolute figures. With `--strict` a missed ratio is exit 1.
 */
import { readdirSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

export interface BenchOptions {
  /** Also the peers and sizes that take longer than 20 minutes. */
  readonly full: boolean;
  /** Parts to run; all where it is empty. */
  readonly parts: readonly string[];
  /** Folder with the real data sets, or null. */
  readonly data: string | null;
  /** Progress for people; never on stdout. */
  readonly log: (line: string) => void;
}

export interface Ratio {
  readonly name: string;
  readonly ours: number;
  readonly peer: number;
  /** Oriented so that more is better for us. */
  readonly ratio: number;
  readonly wanted: number;
  readonly met: boolean;
  readonly unit?: string;
}

export interface BenchResult {
  readonly bench: string;
  readonly rounds: number;
  readonly ratios: readonly Ratio[];
  readonly notes?: readonly string[];
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: 'boolean' },
    full: { type: 'boolean' },
    strict: { type: 'boolean' },
    data: { type: 'string' },
  },
});
const known = readdirSync(fileURLToPath(new URL('.', import.meta.url)), { withFileTypes: true })
  .filter(entry => entry.isDirectory())
  .map(entry => entry.name);
const name = positionals[0];
if (name === undefined || !known.includes(name)) {
  process.stderr.write(
    `usage: npm run bench -- <${known.join('|')}> [part …] [--json] [--full] [--strict] [--data FOLDER]\n`,
  );
  process.exit(2);
}
const bench: { run(options: BenchOptions): Promise<BenchResult> } = await import(`./${name}/main.ts`);
const result = await bench.run({
  full: values.full === true,
  parts: positionals.slice(1),
  data: values.data ?? null,
  log: line => process.stderr.write(`${line}\n`),
});
const machine = {
  cpu: cpus()[0]?.model ?? 'unknown',
  cores: cpus().length,
  memoryGb: Math.round(totalmem() / 2 ** 30),
  node: process.version,
};
if (values.json) process.stdout.write(`${JSON.stringify({ ...result, machine })}\n`);
else {
  process.stdout.write(`${machine.cores} × ${machine.cpu}, ${machine.memoryGb} GB, Node ${machine.node}\n`);
  for (const row of result.ratios) {
    const figures = `${format(row.ours)} against ${format(row.peer)} ${row.unit ?? ''}`;
    process.stdout.write(
      `${row.met ? 'met   ' : 'missed'} ${row.name}: ${row.ratio.toFixed(2)} × (wanted ${row.wanted}): ${figures}\n`,
    );
  }
  for (const note of result.notes ?? []) process.stdout.write(`${note}\n`);
}
if (values.strict === true && result.ratios.some(({ met }) => !met)) process.exitCode = 1;

function format(value: number): string {
  return Math.abs(value) >= 1000 ? Math.round(value).toLocaleString('en') : value.toPrecision(3);
}

/**
 * `npm run cases -- <file.json>…`: runs reference cases against the statistics. Only the fields named in `expected` are
 * compared: |got − expected| ≤ abs + rel·|expected|. Exit 1 when a case fails.
 */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { CaseInput } from '../test/cases/inputs.ts';
import { type CaseResult, STATISTICS } from '../test/cases/statistics.ts';

const CaseFile = z.object({
  cases: z.array(
    z.object({
      id: z.string(),
      statistic: z.string(),
      input: z.record(z.string(), z.unknown()),
      expected: z.record(z.string(), z.unknown()),
      tolerance: z.object({ abs: z.number().optional(), rel: z.number().optional() }).default({}),
    }),
  ),
});
type Case = z.infer<typeof CaseFile>['cases'][number];

const files = process.argv.slice(2);
if (files.length === 0) {
  process.stderr.write('usage: npm run cases -- <file.json>…\n');
  process.exit(2);
}
let passed = 0;
let failed = 0;
for (const file of files) {
  for (const reference of CaseFile.parse(JSON.parse(readFileSync(file, 'utf8'))).cases) {
    const problems = problemsOf(reference);
    if (problems.length === 0) passed++;
    else {
      failed++;
      process.stdout.write(`FAILED ${reference.id} (${reference.statistic}): ${problems.join('; ')}\n`);
    }
  }
}
process.stdout.write(`${passed} passed, ${failed} failed\n`);
process.exitCode = failed > 0 ? 1 : 0;

function problemsOf(reference: Case): string[] {
  const statistic = Object.hasOwn(STATISTICS, reference.statistic) ? STATISTICS[reference.statistic] : undefined;
  if (statistic === undefined) {
    return [`unknown statistic ${reference.statistic}; known: ${Object.keys(STATISTICS).join(', ')}`];
  }
  let result: CaseResult;
  let unknown: string[];
  try {
    const input = new CaseInput(reference.input);
    result = statistic(input);
    unknown = input.unknown();
  } catch (error) {
    return [error instanceof Error ? error.message : String(error)];
  }
  const problems = unknown.map(name => `unknown input ${name}`);
  for (const [field, expected] of Object.entries(reference.expected)) {
    if (field === 'note') continue;
    if (!Object.hasOwn(result.fields, field)) {
      problems.push(`no field ${field}; there are ${Object.keys(result.fields).join(', ')}`);
      continue;
    }
    const problem = difference(result.fields[field], expected, reference.tolerance);
    if (problem !== null)
      problems.push(`${field}: ${problem}${result.reason === undefined ? '' : ` (${result.reason})`}`);
  }
  return problems;
}

/** What separates a result from its expectation, or null. */
function difference(got: unknown, expected: unknown, tolerance: Case['tolerance']): string | null {
  if (Array.isArray(expected)) {
    if (!Array.isArray(got)) return `got ${JSON.stringify(got)}, expected a list`;
    if (got.length !== expected.length) return `got ${got.length} entries, expected ${expected.length}`;
    const at = expected.findIndex((item, i) => difference(got[i], item, tolerance) !== null);
    return at < 0 ? null : `entry ${at}: ${difference(got[at], expected[at], tolerance)}`;
  }
  if (typeof expected === 'number' && typeof got === 'number') {
    const allowed = (tolerance.abs ?? 0) + (tolerance.rel ?? 0) * Math.abs(expected);
    return Math.abs(got - expected) <= allowed ? null : `got ${got}, expected ${expected} ± ${allowed}`;
  }
  return got === expected ? null : `got ${JSON.stringify(got)}, expected ${JSON.stringify(expected)}`;
}

/** Which of several served versions a row's prediction comes from, and rows that carry more than the model's numbers. */
import { EngineFault } from './fault.ts';
import type { ModelToScore, ScoreChunkJob } from './job.ts';
import { type Arm, classOf, OutputColumns } from './output-columns.ts';
import type { Numbers } from './predictions.ts';
import type { Scorer } from './scorer.ts';
import { identifier, literal } from './sql.ts';

/** One table for the champion (first) and the versions that share its rows. */
export function outputColumns(served: readonly ModelToScore[], form: ScoreChunkJob['outputForm']): OutputColumns {
  const [champion, ...others] = served;
  if (champion?.part.kind !== 'champion') {
    throw new EngineFault(
      'bad_job',
      `a scoring job needs one champion, it has ${served.length} served models and none is`,
    );
  }
  for (const other of others) {
    const same =
      other.signature.task === champion.signature.task &&
      String(other.signature.classes) === String(champion.signature.classes) &&
      String(other.signature.targets) === String(champion.signature.targets);
    if (!same || other.part.kind !== 'share') {
      throw new EngineFault(
        'bad_job',
        `version ${other.version} cannot share a table with version ${champion.version}: task, classes and targets must be equal`,
      );
    }
  }
  const arms = served.map(
    ({ version, part }): Arm => ({ name: part.kind === 'share' ? part.arm : 'champion', version }),
  );
  return new OutputColumns(champion.signature, arms, form);
}

/**
 * The arm of a row from its key alone, so a subject stays in its arm. MD5 because DuckDB's own `hash` may change between
 * versions; the first 52 bits make a number in [0, 1).
 */
export function armSql(served: readonly ModelToScore[], keys: readonly string[]): string {
  let from = 0;
  const cases: string[] = [];
  for (const [index, { part }] of served.entries()) {
    if (part.kind !== 'share') continue;
    const text = [literal(part.salt), ...keys.map(key => `CAST(${identifier(key)} AS VARCHAR)`)].join(', ');
    const unit = `(CAST(concat('0x', substr(md5(concat_ws(chr(31), ${text})), 1, 13)) AS BIGINT) / 4503599627370496.0)`;
    cases.push(`WHEN ${unit} >= ${from} AND ${unit} < ${from + part.share} THEN ${index}`);
    from += part.share;
  }
  if (from > 1)
    throw new EngineFault('bad_job', `the shares of canary and A/B versions add up to ${from}, more than 1`);
  return `CASE ${cases.join(' ')} ELSE 0 END`;
}

/** Rows with class index and arm behind the model's numbers: number `n` of `values` goes to row `rowOf(n)` of `items`. */
export function writeRows(
  values: Numbers,
  scorer: Scorer,
  output: OutputColumns,
  target: { readonly arm: number; readonly items: Numbers; readonly rowOf: (n: number) => number },
): void {
  const { width } = scorer;
  for (let n = 0; n * width < values.length; n++) {
    const source = n * width;
    let out = target.rowOf(n) * output.width;
    for (let column = 0; column < width; column++) target.items[out++] = values[source + column]!;
    if (output.hasClass) target.items[out++] = classOf(scorer.signature, values, source);
    if (output.hasArm) target.items[out] = target.arm;
  }
}

import { DuckDBInstance } from '@duckdb/node-api';
import { expect, test } from 'vitest';
import { recordedText } from '../../src/domain/recorded-text.ts';

const subject = 'c-0007';

test.each([
  { says: 'a cast', sql: `SELECT '${subject}'::INTEGER` },
  { says: 'a date', sql: `SELECT CAST('${subject}' AS DATE)` },
  {
    says: 'a file of lines',
    sql: `COPY (SELECT 'id,n' AS l UNION ALL SELECT '${subject},x') TO '/dev/null' (FORMAT csv)`,
    message:
      'CSV Error on Line: 2\nOriginal Line: c-0007,x\nError when converting column "n". Could not convert string "c-0007" to \'DOUBLE\'',
  },
])('nothing of a row is kept from what DuckDB says of $says', async ({ sql, message }) => {
  const connection = await (await DuckDBInstance.create()).connect();
  const said =
    message ??
    (await connection.run(sql).then(
      () => '',
      (error: Error) => error.message,
    ));
  expect(said).toContain(subject);
  expect(recordedText(said)).not.toContain(subject);
  expect(recordedText(said)).not.toBe('');
});

test('names of columns and files, numbers and reasons stay', () => {
  const message = 'column "balance" of data/part.csv: expected DOUBLE, found VARCHAR in 3 of 10 rows';
  expect(recordedText(message)).toBe(message);
});

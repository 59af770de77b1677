/** How many labelled rows are new since the champion was made. */
import { expect, test } from 'vitest';
import { checkResult } from '../../src/checks/result.ts';
import type { Evidence } from '../../src/domain/evidence.ts';
import { labelledRowsSince } from '../../src/domain/labels.ts';

function quality(window: string, rows: number | null, version = '1'): Evidence {
  const checks = rows === null ? [] : [checkResult('quality', { status: 'pass', rows, reason: 'measured' })];
  const subject = { partition: window.split(' ')[1] ?? '', version, window };
  return {
    schema: 'evidence/1',
    kind: 'quality',
    model: 'm',
    subject,
    baseline: null,
    asOf: '',
    checks,
    verdict: 'pass',
    reasons: [],
  };
}

const weeks = [
  quality('2026-01-01 2026-01-07', 700),
  quality('2026-01-08 2026-01-14', 700),
  quality('2026-01-15 2026-01-21', 650),
];

test.each([
  ['all windows after it', '2025-12-31', 2_050],
  ['none before it', '2026-01-21', 0],
  ['a window that begins before it by its days after it', '2026-01-10', 400 + 650],
] as const)('%s', (_, since, rows) => {
  expect(labelledRowsSince(weeks, since)).toBe(rows);
});

test('estimates and windows without labels count nothing', () => {
  expect(labelledRowsSince([quality('2026-02-01 2026-02-07', null)], '2026-01-01')).toBe(0);
  expect(labelledRowsSince([], '2026-01-01')).toBe(0);
});

test('two versions of one window add up, a later look replaces the earlier, overlapping windows count once', () => {
  const shared = [
    quality('2026-01-01 2026-01-07', 500),
    quality('2026-01-01 2026-01-07', 600),
    quality('2026-01-01 2026-01-07', 60, '2'),
  ];
  expect(labelledRowsSince(shared, '2025-12-31')).toBe(660);
  const rolling = ['01', '02', '03', '04', '05', '06', '07', '08'].map(day =>
    quality(`2026-01-${day} 2026-01-${Number(day) + 6 < 10 ? '0' : ''}${Number(day) + 6}`, 700),
  );
  expect(labelledRowsSince(rolling, '2025-12-31')).toBe(1_400);
});

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { armFailpoint } from '../../src/storage/failpoint.ts';

const module = JSON.stringify(fileURLToPath(new URL('../../src/storage/failpoint.ts', import.meta.url)));

function passingThrice(spec: string | null): { signal: string | null; passed: string } {
  const program = `
    import { writeSync } from 'node:fs';
    import { armFailpoint, failpoint } from ${module};
    armFailpoint(${JSON.stringify(spec)});
    process.on('exit', () => writeSync(1, 'exit handler'));
    for (const passing of [1, 2, 3]) { failpoint('commit.written'); writeSync(1, String(passing)); }`;
  const child = spawnSync(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', program], {
    encoding: 'utf8',
  });
  return { signal: child.signal, passed: child.stdout };
}

test.each([
  [null, { signal: null, passed: '123exit handler' }],
  ['another.point', { signal: null, passed: '123exit handler' }],
  ['commit.written', { signal: 'SIGKILL', passed: '' }],
  ['commit.written:3', { signal: 'SIGKILL', passed: '12' }],
])('armed with %s', (spec, expected) => {
  expect(passingThrice(spec)).toEqual(expected);
});

test.each(['', 'a b', 'name:0', 'name:x'])('%j is no failpoint', spec => {
  expect(() => armFailpoint(spec)).toThrow(/expected name/);
});

import { spawn, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { armFailpoints } from '../../src/storage/failpoint.ts';
import { until } from '../support/until.ts';

const module = JSON.stringify(fileURLToPath(new URL('../../src/storage/failpoint.ts', import.meta.url)));

function programArmed(specs: string | null): readonly string[] {
  const program = `
    import { writeSync } from 'node:fs';
    import { armFailpoints, failpoint } from ${module};
    armFailpoints(${JSON.stringify(specs)});
    process.on('exit', () => writeSync(1, 'exit handler'));
    for (const passing of [1, 2, 3]) { failpoint('commit.written'); writeSync(1, String(passing)); }`;
  return ['--import', 'tsx', '--input-type=module', '-e', program];
}

test.each([
  [null, { signal: null, passed: '123exit handler' }],
  ['plan.stored', { signal: null, passed: '123exit handler' }],
  ['commit.written', { signal: 'SIGKILL', passed: '' }],
  ['plan.stored,commit.written:3', { signal: 'SIGKILL', passed: '12' }],
])('armed with %s', (specs, expected) => {
  const child = spawnSync(process.execPath, programArmed(specs), { encoding: 'utf8' });
  expect({ signal: child.signal, passed: child.stdout }).toEqual(expected);
});

test('a process frozen at a failpoint goes on when it is continued', async () => {
  const child = spawn(process.execPath, programArmed('commit.written:2=stop'), {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let passed = '';
  child.stdout.on('data', chunk => {
    passed += chunk;
  });
  const stat = () => readFileSync(`/proc/${child.pid}/stat`, 'utf8').split(' ')[2];
  await until(() => stat() === 'T');
  await until(() => passed === '1');
  child.kill('SIGCONT');
  await until(() => child.exitCode !== null);
  await until(() => passed === '123exit handler');
});

test.each(['', 'a b', 'commit.written:0', 'commit.written:x', 'commit.wrote', 'commit.written=go'])(
  '%j is no failpoint',
  specs => {
    expect(() => armFailpoints(specs)).toThrow(/expected name.*commit\.written/);
  },
);

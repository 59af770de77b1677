/** `almanac doctor` on this machine, which has no GPU: exit codes and documents. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const main = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

function almanac(...argv: string[]): Promise<{ readonly code: number; readonly stdout: string }> {
  return new Promise(resolve => {
    execFile(process.execPath, ['--import', import.meta.resolve('tsx'), main, ...argv], (error, stdout) =>
      resolve({ code: error === null ? 0 : Number(error.code), stdout }),
    );
  });
}

test('everything that scoring needs is found working, with exit code 0', async () => {
  const { code, stdout } = await almanac('doctor', '--json');
  const { passed, findings } = JSON.parse(stdout);
  expect(findings.map((finding: { check: string }) => finding.check)).toEqual([
    'Node',
    'DuckDB',
    'ONNX Runtime',
    'Temporal',
    'store',
  ]);
  expect({ code, passed }).toEqual({ code: 0, passed: true });
});

test('a GPU is proven by a row scored on it, or exit code 1 comes with what is missing', async () => {
  const { code, stdout } = await almanac('doctor', 'gpu', '--json');
  const report = JSON.parse(stdout);
  expect(code).toBe(report.passed ? 0 : 1);
  expect(report.probe.works).toBe(report.passed);
  expect(report.runtime.version).toMatch(/^\d+\.\d+\.\d+$/);
  if (!report.passed) expect(report.problems.length).toBeGreaterThan(0);
});

test('another part is wrong use', async () => {
  expect((await almanac('doctor', 'quantum')).code).toBe(2);
});

test('a reader who has seen enough is no failure', async () => {
  const child = spawn(process.execPath, ['--import', import.meta.resolve('tsx'), main, 'doctor'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  child.stdout.destroy();
  let said = '';
  child.stderr.on('data', piece => {
    said += piece;
  });
  const [code] = await once(child, 'close');
  expect(said).not.toMatch(/EPIPE/);
  expect(code).toBe(0);
});

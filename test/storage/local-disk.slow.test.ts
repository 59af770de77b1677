/** A real file system that is full, without inodes, or read-only: tmpfs in a mount namespace of its own (needs root). */
import { execFileSync, spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const script = fileURLToPath(new URL('./support/small-disk.ts', import.meta.url));

/** Runs the scenario on a small tmpfs and returns its answers. */
function onSmallDisk(scenario: string, mountOptions: string): Record<string, unknown> {
  const command = 'folder=$(mktemp -d) && mount -t tmpfs -o "$1" tmpfs "$folder" && shift && exec "$@" "$folder"';
  const node = [process.execPath, '--import', 'tsx', script, scenario];
  const run = spawnSync('unshare', ['-m', 'sh', '-c', command, 'sh', mountOptions, ...node], { encoding: 'utf8' });
  if (run.status !== 0) throw new Error(`${scenario}: status ${run.status}: ${run.stderr}`);
  return JSON.parse(run.stdout);
}

test('runs as root, which mounting needs', () => {
  expect(execFileSync('id', ['-u'], { encoding: 'utf8' }).trim()).toBe('0');
});

test('a full disk refuses, shows nothing half written, and works again when there is space', () => {
  expect(onSmallDisk('full', 'size=4m')).toEqual({
    put: 'refused: ENOSPC',
    upload: 'refused: ENOSPC',
    downloadElsewhere: 'unknown',
    visible: ['fits'],
    debris: 0,
    afterSpace: 'applied',
  });
});

test('a disk without inodes refuses', () => {
  expect(onSmallDisk('inodes', 'size=4m,nr_inodes=8')).toMatchObject({ last: 'refused: ENOSPC', debris: 0 });
});

test('a read-only disk is refused by the probe with its reason', () => {
  const { problem } = onSmallDisk('readOnly', 'size=4m');
  expect(problem).toMatch(/cannot be used.*EROFS/);
});

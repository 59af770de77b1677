/**
 * Recorded histories replay on today's workflow code. A failure means that runs which wait in production would break: use
 * `patched`, or record again (`ALMANAC_RECORD_HISTORIES=1 npx vitest run test/workflows`) when no release has the old code.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { temporal } from '@temporalio/proto';
import { DefaultLogger, Runtime, Worker } from '@temporalio/worker';
import { expect, test } from 'vitest';

interface Recorded {
  readonly workflowId: string;
  /** Protobuf, base64. */
  readonly history: string;
}

test('every recorded history replays', async () => {
  Runtime.install({ logger: new DefaultLogger('ERROR') });
  const folder = new URL('./histories/', import.meta.url);
  const names = readdirSync(folder).filter(name => name.endsWith('.json'));
  expect(names.length).toBeGreaterThanOrEqual(5);
  const histories = names.map(name => {
    const { workflowId, history } = JSON.parse(readFileSync(new URL(name, folder), 'utf8')) as Recorded;
    return { workflowId, history: temporal.api.history.v1.History.decode(Buffer.from(history, 'base64')) };
  });
  const workflowsPath = fileURLToPath(new URL('../src/workflows/index.ts', import.meta.url));
  const failures: string[] = [];
  for await (const { workflowId, error } of Worker.runReplayHistories({ workflowsPath }, histories)) {
    if (error !== undefined) failures.push(`${workflowId}: ${error.message}`);
  }
  expect(failures).toEqual([]);
});

/** A real Temporal server for the tests of one file, and workers with stand-ins for activities where a test wants them. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Client, Connection } from '@temporalio/client';
import { temporal } from '@temporalio/proto';
import { DefaultLogger, NativeConnection, Runtime, Worker } from '@temporalio/worker';
import type { Activities } from '../../src/activities/types.ts';
import { readEnvironment } from '../../src/config/environment.ts';
import { openTemporal, type TemporalServer } from '../../src/dev/temporal-server.ts';
import { taskQueue } from '../../src/domain/ids.ts';
import { workflowCode } from '../../src/workers/workflow-bundle.ts';

export { until } from './until.ts';

export interface TestTemporal {
  readonly client: Client;
  readonly server: TemporalServer;
  /** Runs `test` while workers of all queues run with these activities. */
  withWorkers<Result>(activities: Partial<Activities>, test: () => Promise<Result>): Promise<Result>;
  close(): Promise<void>;
}

export async function openTestTemporal(): Promise<TestTemporal> {
  Runtime.install({ logger: new DefaultLogger('ERROR') });
  const folder = await mkdtemp(join(tmpdir(), 'almanac-test-'));
  const { path, cacheFolder } = readEnvironment();
  const log = () => {};
  const server = await openTemporal({
    given: null,
    namespace: 'default',
    stateFolder: folder,
    find: { path, cacheFolder, log },
    log,
    port: 0,
    ui: false,
  });
  const native = await NativeConnection.connect(server.target.connection);
  const connection = await Connection.connect(server.target.connection);
  return {
    client: new Client({ connection }),
    server,
    withWorkers: async (activities, test) => {
      const queues = [taskQueue.control, taskQueue.data, taskQueue.training, taskQueue.scoring];
      const workers = await Promise.all(
        queues.map((queue, index) =>
          Worker.create({
            connection: native,
            taskQueue: queue,
            activities,
            ...(index === 0 ? workflowCode() : {}),
          }),
        ),
      );
      const running = workers.map(worker => worker.run());
      try {
        return await test();
      } finally {
        for (const worker of workers) worker.shutdown();
        await Promise.all(running);
      }
    },
    close: async () => {
      await connection.close();
      await native.close();
      await server.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

const histories = fileURLToPath(new URL('../histories', import.meta.url));

/** With `ALMANAC_RECORD_HISTORIES=1`, keeps this run's history for `test/replay.test.ts`. */
export async function recordHistory({ client }: TestTemporal, workflowId: string, name: string): Promise<void> {
  if (process.env['ALMANAC_RECORD_HISTORIES'] !== '1') return;
  mkdirSync(histories, { recursive: true });
  const history = await client.workflow.getHandle(workflowId).fetchHistory();
  // The SDK's own conversion to JSON fails when more than one copy of protobufjs is installed, as npm does here.
  const bytes = temporal.api.history.v1.History.encode(history).finish();
  const document = { workflowId, events: history.events?.length, history: Buffer.from(bytes).toString('base64') };
  writeFileSync(join(histories, `${name}.json`), `${JSON.stringify(document, null, 2)}\n`);
}

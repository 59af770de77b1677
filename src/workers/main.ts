/**
 * A worker process: `main --project FOLDER --roles control,data --address HOST:PORT --namespace NAME`. Ends gracefully on
 * SIGTERM or SIGINT, and when the process that started it is gone.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { DefaultLogger, makeTelemetryFilterString, NativeConnection, Runtime } from '@temporalio/worker';
import { createActivities } from '../activities/index.ts';
import { silenceSdkNodeWarning } from '../config/environment.ts';
import { openProject } from '../config/project.ts';
import { givenServer, localTarget } from '../dev/given-server.ts';
import { armFailpoints } from '../storage/failpoint.ts';
import { createWorkers } from './create.ts';
import { parseRoles } from './roles.ts';
import { openServices } from './services.ts';

const { values } = parseArgs({
  options: {
    project: { type: 'string', default: '.' },
    roles: { type: 'string', default: 'control,data,training,scoring' },
    /** Without it, the server of environment or profile. */
    address: { type: 'string' },
    namespace: { type: 'string' },
    executable: { type: 'string' },
  },
});

silenceSdkNodeWarning();
Runtime.install({
  logger: new DefaultLogger('WARN', ({ level, timestampNanos, message, meta }) => {
    // Most roles run activities alone, on purpose.
    if (message.startsWith('No workflows registered')) return;
    const time = new Date(Number(timestampNanos / 1_000_000n)).toISOString();
    process.stderr.write(`${time} ${level} ${message}${meta === undefined ? '' : ` ${JSON.stringify(meta)}`}\n`);
  }),
  telemetryOptions: { logging: { forward: {}, filter: makeTelemetryFilterString({ core: 'ERROR', other: 'ERROR' }) } },
  shutdownSignals: [],
});

const project = openProject(values.project);
armFailpoints(project.environment.failpoints);
const namespace = values.namespace ?? project.temporal.namespace;
const target =
  values.address === undefined
    ? givenServer(project.temporal.profile, namespace)
    : localTarget(values.address, namespace);
if (target === null) throw new Error('no Temporal server: set TEMPORAL_ADDRESS, or give --address HOST:PORT');

const connection = await untilConnected(() => NativeConnection.connect(target.connection));
const { services, close } = await openServices({ project, target, executable: values.executable ?? null });
const workers = await createWorkers({
  connection,
  namespace: target.namespace,
  roles: parseRoles(values.roles),
  activities: createActivities(services),
});

const stop = () => {
  for (const worker of workers) if (worker.getState() === 'RUNNING') worker.shutdown();
};
process.once('SIGTERM', stop);
process.once('SIGINT', stop);
// Orphans would compete with the workers of the next `almanac up`.
process.once('disconnect', stop);

// Whoever started it may have gone meanwhile: that event is over.
if (process.connected !== false) {
  process.send?.('ready');
  await Promise.all(workers.map(worker => worker.run()));
}
await close();
await connection.close();
process.disconnect?.();

/** A worker that starts while the server is down waits for it, a minute at most. */
async function untilConnected<Value>(connect: () => Promise<Value>): Promise<Value> {
  const deadline = Date.now() + 60_000;
  for (let waitMs = 100; ; waitMs = Math.min(waitMs * 2, 5_000)) {
    try {
      return await connect();
    } catch (error) {
      if (Date.now() > deadline) throw error;
      await sleep(waitMs);
    }
  }
}

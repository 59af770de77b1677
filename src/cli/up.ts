/** `almanac up`: a Temporal server and the workers of a project, in one terminal, until Ctrl-C. */

import type { Project } from '../config/project.ts';
import { givenServer } from '../dev/given-server.ts';
import { openTemporal, type TemporalServer } from '../dev/temporal-server.ts';
import { openStore } from '../storage/open.ts';
import { probeProblem, probeStore } from '../storage/probe.ts';
import { startWorkers, type WorkerProcesses } from '../workers/run.ts';
import { CommandFailure, note, print } from './output.ts';
import { type ProjectOptions, projectOf } from './project-context.ts';

export interface RunningAlmanac {
  readonly server: TemporalServer;
  /** Null when another `almanac up` of this project runs them. */
  readonly workers: WorkerProcesses | null;
  close(): Promise<void>;
}

/** Finds or starts the server, probes the store, starts the workers. Safe to call while another process has done so. */
export async function openAlmanac(
  project: Project,
  options: { readonly log: (line: string) => void; readonly ui: boolean },
): Promise<RunningAlmanac> {
  const problem = probeProblem(await probeStore(openStore(project.store, project.s3)));
  if (problem !== null) throw new CommandFailure(problem);
  const given = givenServer(project.temporal.profile, project.temporal.namespace);
  const server = await openTemporal({
    given,
    namespace: project.temporal.namespace,
    stateFolder: project.stateFolder,
    find: { path: project.environment.path, cacheFolder: project.environment.cacheFolder, log: options.log },
    log: options.log,
    ui: options.ui,
  });
  if (server.kind === 'running') return { server, workers: null, close: () => server.close() };
  try {
    const workers = await startWorkers({
      project: project.folder,
      stateFolder: project.stateFolder,
      target: server.target,
      given: given !== null,
      executable: server.executable,
      log: options.log,
    });
    const close = async () => {
      await workers.stop();
      await server.close();
    };
    return { server, workers, close };
  } catch (error) {
    await server.close();
    throw error;
  }
}

export async function up(options: ProjectOptions): Promise<void> {
  const project = projectOf(options);
  const running = await openAlmanac(project, { log: note, ui: true });
  const { server, workers } = running;
  const where = {
    project: project.folder,
    store: project.store,
    temporal: server.target.address,
    namespace: server.target.namespace,
    ui: server.ui,
    logs: workers?.logFile ?? null,
    alreadyRunning: workers === null,
  };
  if (options.json === true) print(JSON.stringify(where));
  else {
    print(`project   ${where.project}`);
    print(`store     ${where.store}`);
    print(
      `temporal  ${where.temporal} (namespace ${where.namespace})${server.ui === null ? '' : `, pages at ${server.ui}`}`,
    );
    if (workers === null) {
      print('another `almanac up` runs this project already; nothing was started');
    } else {
      print(
        `workers   ${workers
          .list()
          .map(({ roles, pid }) => `${roles.join('+')} (${pid})`)
          .join(', ')}`,
      );
      print(`logs      ${workers.logFile}`);
      print('Ctrl-C stops all of it; the state stays.');
    }
  }
  if (workers === null) return;
  await new Promise<void>(resolve => {
    process.once('SIGINT', resolve);
    process.once('SIGTERM', resolve);
  });
  note('stopping …');
  await running.close();
}

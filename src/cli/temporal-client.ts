/** A client of the Temporal server a project uses: the given one, or the one that `almanac up` runs. */
import { Client, Connection } from '@temporalio/client';
import type { Project } from '../config/project.ts';
import { givenServer } from '../dev/given-server.ts';
import { runningServer } from '../dev/temporal-server.ts';
import { CommandFailure } from './output.ts';

/** Connects, uses, closes. @throws CommandFailure when no server is given or running. */
export async function withClient<T>(project: Project, use: (client: Client) => Promise<T>): Promise<T> {
  const { profile, namespace } = project.temporal;
  const target = givenServer(profile, namespace) ?? (await runningServer(project.stateFolder));
  if (target === null) {
    throw new CommandFailure(
      'no Temporal server: none is named by TEMPORAL_ADDRESS or a profile, and `almanac up` is not running in this project',
    );
  }
  const connection = await Connection.connect(target.connection);
  try {
    return await use(new Client({ connection, namespace: target.namespace }));
  } finally {
    await connection.close();
  }
}

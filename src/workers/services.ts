/** Opens what activities work with: store, catalog, engine, client. */
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { Client, Connection } from '@temporalio/client';
import type { Services } from '../activities/services.ts';
import { deviceEnvironment } from '../config/device-environment.ts';
import { childEnvironment } from '../config/environment.ts';
import type { Project } from '../config/project.ts';
import type { TemporalTarget } from '../dev/given-server.ts';
import { EnginePool } from '../engine/pool.ts';
import { InputTables } from '../inputs/input-tables.ts';
import { Catalog } from '../storage/catalog.ts';
import { openStore } from '../storage/open.ts';
import { systemPorts } from '../storage/ports.ts';

export interface OpenServices {
  readonly services: Services;
  close(): Promise<void>;
}

export async function openServices(options: {
  readonly project: Project;
  readonly target: TemporalTarget;
  /** The `temporal` program for commands to paste; null uses the name alone. */
  readonly executable: string | null;
}): Promise<OpenServices> {
  const { project, target } = options;
  const store = openStore(project.store, project.s3);
  const ports = systemPorts(store);
  const connection = await Connection.connect(target.connection);
  const scratch = join(project.stateFolder, 'scratch');
  const engine = new EnginePool({
    size: availableParallelism(),
    scratch: join(scratch, 'engine'),
    environment: { ...childEnvironment(), ...deviceEnvironment() },
  });
  const services: Services = {
    project,
    ports,
    catalog: new Catalog(ports),
    engine,
    inputs: new InputTables({ folder: project.folder, s3: project.s3, engine }),
    client: new Client({ connection, namespace: target.namespace }),
    scratch,
    temporalCommand: temporalCommand(target, options.executable),
  };
  return {
    services,
    close: async () => {
      await engine.close();
      await connection.close();
    },
  };
}

/** What people paste: with the address when it is not the one the program assumes by itself. */
function temporalCommand(target: TemporalTarget, executable: string | null): string {
  const namespace = target.namespace === 'default' ? '' : ` --namespace ${target.namespace}`;
  const isUsual = ['127.0.0.1:7233', 'localhost:7233'].includes(target.address);
  return `${executable ?? 'temporal'}${isUsual ? '' : ` --address ${target.address}`}${namespace}`;
}

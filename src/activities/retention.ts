/** Retention of predictions: superseded generations whose time is over, and files that no reader may want. */
import { addDays } from '../domain/time.ts';
import { keys, parsePartFilePath } from '../storage/keys.ts';
import { listAll } from '../storage/object-store.ts';
import { isGarbage, type TableState } from '../storage/table/state.ts';
import { beating } from './long.ts';
import { presentDefinition } from './scoring.ts';
import { predictionsOf, type Services } from './services.ts';
import type { DataActivities } from './types.ts';

export function createRetention(services: Services): Pick<DataActivities, 'retainPredictions'> {
  return {
    retainPredictions: ({ model, date }) =>
      beating(async work => {
        const definition = (await presentDefinition(services, model)).body;
        const table = predictionsOf(services, definition);
        const { supersededDays, minGenerations } = definition.retain;
        const due = dueGenerations(await table.state(), { before: addDays(date, -supersededDays), minGenerations });
        // First the log says that nobody may read them; only then do files go.
        if (due.length > 0) await table.forget({ generations: due, why: 'retention', subject: null });

        const state = await table.state();
        const partitions = new Set([...state.generations()].map(({ partition }) => partition));
        let deletedFiles = 0;
        let deletedBytes = 0;
        for (const partition of partitions) {
          const listed = await listAll(services.ports.store, `${table.root}/${keys.partitionFolder(partition)}/`);
          if (listed.kind !== 'found')
            throw new Error(`${table.root}: partition ${partition} could not be listed: ${listed.kind}`);
          for (const { key, bytes } of listed.value) {
            const path = key.slice(table.root.length + 1);
            const named = parsePartFilePath(path);
            if (named === null || !isGarbage(state, { path, ...named })) continue;
            const answer = await services.ports.store.delete(key);
            if (answer.kind !== 'applied') throw new Error(`${key}: not deleted: ${answer.kind}`);
            deletedFiles += 1;
            deletedBytes += bytes;
            work.report({ done: deletedFiles, unit: 'files' });
          }
        }
        return { deletedFiles, deletedBytes };
      }),
  };
}

/** Superseded before the day, and not among the newest `minGenerations` committed ones of their partition. */
export function dueGenerations(
  state: TableState,
  { before, minGenerations }: { readonly before: string; readonly minGenerations: number },
): readonly { readonly partition: string; readonly generation: number }[] {
  const committed = [...state.generations()].filter(({ decision }) => decision.kind === 'commit');
  const newerCount = (partition: string, generation: number) =>
    committed.filter(other => other.partition === partition && other.generation > generation).length;
  return committed
    .filter(
      ({ superseded, forgotten }) =>
        superseded !== null && forgotten === null && superseded.timestamp < Date.parse(`${before}T00:00:00Z`),
    )
    .filter(({ partition, generation }) => newerCount(partition, generation) >= minGenerations)
    .map(({ partition, generation }) => ({ partition, generation }));
}

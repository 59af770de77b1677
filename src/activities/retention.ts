/** Retention of predictions: superseded generations whose time is over, and files that no reader may want. */
import { collectUntilQuiet } from '../storage/collector.ts';
import { finishErasures } from '../storage/erasure.ts';
import { beating } from './long.ts';
import { quarantineOf } from './quarantine.ts';
import { predictionsOf, type Services } from './services.ts';
import type { DataActivities } from './types.ts';

const dayMs = 86_400_000;
/** No job takes as long; a generation without a decision by then is given up. */
const undecidedMs = 7 * dayMs;

export function createRetention(services: Services): Pick<DataActivities, 'retainPredictions'> {
  return {
    retainPredictions: ({ definition: digest, date }) =>
      beating(async work => {
        const definition = await services.catalog.definition(digest);
        const { supersededDays, minGenerations } = definition.retain;
        // Ages count from the end of the nominal day, so that a repeated tick means the same.
        const now = new Date(Date.parse(`${date}T00:00:00Z`) + dayMs);
        const ports = { ...services.ports, clock: { now: () => now } };
        const policy = { undecidedMs, supersededMs: supersededDays * dayMs, minGenerations };
        const tables = [predictionsOf(services, definition), quarantineOf(services, definition.model)];
        const reports = [];
        for (const table of tables) reports.push(...(await collectUntilQuiet(ports, table, policy)));
        // An attempt that ran while a subject was erased may have brought a document back.
        const erased = await finishErasures(services.ports);
        const deletedFiles = reports.reduce((sum, report) => sum + report.deleted.length, erased.deleted.length);
        const deletedBytes = reports.reduce((sum, report) => sum + report.deletedBytes, 0);
        work.report({ done: deletedFiles, unit: 'files' });
        return { deletedFiles, deletedBytes };
      }),
  };
}

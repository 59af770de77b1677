/** Retention: superseded generations whose time is over, files that no reader may want, and documents by kind. */
import { collectUntilQuiet } from '../storage/collector.ts';
import { finishErasures } from '../storage/erasure.ts';
import { keys } from '../storage/keys.ts';
import { retainDocuments } from '../storage/retention.ts';
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
        const { quarantine = definition.retain, documents } = services.project.retain;
        // Ages count from the end of the nominal day, so that a repeated tick means the same.
        const now = new Date(Date.parse(`${date}T00:00:00Z`) + dayMs);
        const ports = { ...services.ports, clock: { now: () => now } };
        const reports: { readonly deleted: readonly string[]; readonly deletedBytes: number }[] = [];
        for (const [table, retain] of [
          [predictionsOf(services, definition), definition.retain],
          [quarantineOf(services, definition.model), quarantine],
        ] as const) {
          const { supersededDays, minGenerations } = retain;
          const policy = { undecidedMs, supersededMs: supersededDays * dayMs, minGenerations };
          reports.push(...(await collectUntilQuiet(ports, table, policy)));
        }
        const olderThanMs = Object.fromEntries(Object.entries(documents).map(([kind, days]) => [kind, days * dayMs]));
        reports.push(await retainDocuments(ports, { olderThanMs, needed: () => neededDocuments(services) }));
        // An attempt that ran while a subject was erased may have brought a document back.
        const erased = await finishErasures(services.ports);
        const deletedFiles = reports.reduce((sum, report) => sum + report.deleted.length, erased.deleted.length);
        const deletedBytes = reports.reduce((sum, report) => sum + report.deletedBytes, 0);
        work.report({ done: deletedFiles, unit: 'files' });
        return { deletedFiles, deletedBytes };
      }),
  };
}

/** What serving versions consist of, and the plans and profiles of the newest committed job of every partition. */
async function neededDocuments({ catalog }: Services): Promise<ReadonlySet<string>> {
  const needed = new Set<string>();
  for (const { model } of await catalog.models()) {
    for (const { profile } of await catalog.servingVersions(model)) {
      if (profile !== null) needed.add(keys.document('profile', profile));
    }
    const newest = new Map<string, { readonly plan: string | null; readonly profiles: readonly string[] }>();
    for (const { partition, ended } of await catalog.jobs(model)) {
      if (ended?.outcome === 'committed') newest.set(partition, ended);
    }
    for (const { plan, profiles } of newest.values()) {
      if (plan !== null) needed.add(keys.document('plan', plan));
      for (const digest of profiles) needed.add(keys.document('profile', digest));
    }
  }
  return needed;
}

/** Backfills and rollbacks: which partitions they are about, kept in the store so that histories stay small. */

import { previousChampion } from '../domain/deployment.ts';
import { PermanentFault } from './fault.ts';
import { presentDefinition, type ScoringPlan } from './scoring-plan.ts';
import type { Services } from './services.ts';
import type { ControlActivities } from './types.ts';

/** Kind `partitions`. */
interface PartitionList {
  readonly schema: 'partitions/1';
  readonly model: string;
  readonly partitions: readonly string[];
}

type BackfillVerbs = Pick<
  ControlActivities,
  'planBackfill' | 'backfillPartitions' | 'nextDeploymentEntry' | 'rollBack' | 'listAffected'
>;

export function createBackfill(services: Services): BackfillVerbs {
  const { catalog } = services;
  const putList = (model: string, partitions: readonly string[]) =>
    catalog.documents.put('partitions', { schema: 'partitions/1', model, partitions } satisfies PartitionList);

  return {
    async planBackfill({ model, from, to, order }) {
      const definition = (await presentDefinition(services, model)).body;
      const present = await services.inputs.partitions(definition.data.features);
      const wanted = present.filter(partition => partition >= from && partition <= to);
      if (wanted.length === 0) {
        const known = present.length === 0 ? 'there are none' : `there are ${present[0]} to ${present.at(-1)}`;
        throw new PermanentFault('NoPartitions', `${model}: no partitions from ${from} to ${to}; ${known}`, {
          from,
          to,
        });
      }
      const partitions = order === 'oldest_first' ? wanted : wanted.toReversed();
      return { plan: await putList(model, partitions), partitions: partitions.length };
    },

    async backfillPartitions({ plan, from, count }) {
      const list = await catalog.documents.get<PartitionList>('partitions', plan);
      return list.partitions.slice(from, from + count);
    },

    async nextDeploymentEntry({ model }) {
      return (await catalog.deploymentHistory(model)).length;
    },

    async rollBack({ model, rollback, requestedBy, reason }) {
      const before = await catalog.deploymentHistory(model);
      const changes = before.map(entry => entry.body);
      const own = changes.findIndex(change => change.step === `${rollback}#0`);
      const earlier = own === -1 ? changes : changes.slice(0, own);
      const withdrawn = earlier.at(-1)?.state.champion ?? null;
      if (withdrawn === null) return { kind: 'refused', reason: `${model} has no champion to withdraw` };
      if (previousChampion(earlier) === null) {
        return {
          kind: 'refused',
          reason: `v${withdrawn.version} is the first champion of ${model}: there is none to go back to`,
        };
      }
      const changed = await catalog.changeDeployment(model, {
        action: { kind: 'roll_back' },
        request: rollback,
        step: `${rollback}#0`,
        approvedBy: [requestedBy],
        reason,
        expectedChampion: withdrawn.version,
      });
      if (changed.kind === 'refused') return changed;
      const champion = changed.state.champion?.version;
      if (champion === undefined) throw new Error(`${rollback}: the deployment has no champion after a rollback`);
      return { kind: 'rolled_back', champion, withdrawn: withdrawn.version };
    },

    /** Partitions whose present predictions come from the version: the newest committed generation counts. */
    async listAffected({ model, version }) {
      const newest = new Map<string, { generation: number; plan: string }>();
      for (const { partition, generation, ended } of await catalog.jobs(model)) {
        if (ended?.outcome !== 'committed' || ended.plan === null) continue;
        if ((newest.get(partition)?.generation ?? 0) < generation)
          newest.set(partition, { generation, plan: ended.plan });
      }
      const affected: string[] = [];
      for (const [partition, { plan }] of newest) {
        const { versions } = await catalog.documents.get<ScoringPlan>('plan', plan);
        if (versions.some(one => one.version === version && one.part.kind !== 'shadow')) affected.push(partition);
      }
      affected.sort();
      const list = await putList(model, affected);
      return { list, count: affected.length, from: affected[0] ?? null, to: affected.at(-1) ?? null };
    },
  };
}

/**
 * A simulated history of a model's deployment: promotions that race, some with a trial, some run twice at once after a
 * reset, and rollbacks in between. What the promotion workflow asks for is asked here in its order; the activities and
 * everything below them are production code on our ports.
 */
import type { Served } from '../../src/domain/deployment.ts';
import type { PromotionOutcome } from '../../src/domain/promotion.ts';
import { sha256 } from '../../src/storage/digest.ts';
import { keys } from '../../src/storage/keys.ts';
import { MemoryStore } from '../../src/storage/memory.ts';
import { listAll } from '../../src/storage/object-store.ts';
import type { StoragePorts } from '../../src/storage/ports.ts';
import { DeploymentOracle } from './deployment-oracle.ts';
import { type Implementation, production } from './implementation.ts';
import { Violation } from './oracle.ts';
import { type Outcome, type Scenario, Stage } from './stage.ts';

/** Calls are counted from here, so that a schedule can tell them from those of the table's stage. */
export const firstDeploymentCall = 1_000_000;

const model = 'm';
/** Version 2 is tried beside the champion first, the others serve at once. */
const versions = [1, 2, 3];

export async function simulateDeployments(implementation: Implementation, scenario: Scenario): Promise<Outcome> {
  const stage = new Stage(implementation, scenario, { firstCall: firstDeploymentCall });
  for (const [key, bytes] of await registered()) await stage.faults.store.putIfAbsent(key, bytes);
  return await new DeploymentWorld(implementation, stage, scenario).run();
}

class DeploymentWorld {
  readonly #implementation: Implementation;
  readonly #stage: Stage;
  readonly #oracle: DeploymentOracle;
  /** Promotion → how its workflows said it ended. */
  readonly #ended = new Map<string, PromotionOutcome[]>();
  readonly #failsTrials: boolean;
  #rollbacks = 0;

  constructor(implementation: Implementation, stage: Stage, { seed, isHappy }: Scenario) {
    this.#implementation = implementation;
    this.#stage = stage;
    this.#failsTrials = isHappy !== true && seed % 4 === 0;
    const logs = { deployment: keys.modelLog(model, 'deployment'), promotions: keys.modelLog(model, 'promotions') };
    this.#oracle = new DeploymentOracle(stage.objects, logs);
  }

  run(): Promise<Outcome> {
    return this.#stage.play(
      this.#oracle,
      () => this.#startActors(),
      () => this.#checkEnd(),
    );
  }

  // --- Actors -----------------------------------------------------------------------------------------------------------

  #startActors(): void {
    const stage = this.#stage;
    if (stage.isHappy) {
      stage.start(async () => {
        await this.#promote(1);
        await this.#promote(2);
        await this.#rollBack();
      });
      return;
    }
    // The first champion comes alone, so that most histories have one to replace and to go back to.
    stage.start(async () => {
      await this.#promote(1);
      stage.start(() => this.#promote(2));
      if (stage.chance(0.8)) stage.start(() => stage.after(60, () => this.#promote(3)));
      // A reset: the same promotion by another run, the old run's attempts still alive.
      if (stage.chance(0.4)) stage.start(() => stage.after(80, () => this.#promote(2)));
      if (stage.chance(0.6)) stage.start(() => stage.after(200, () => this.#rollBack()));
      if (stage.chance(0.3)) stage.start(() => stage.after(200, () => this.#rollBack()));
    });
    stage.start(() => stage.repeat(4, () => this.#readAsUser()));
  }

  /** The steps of `promoteModel`, each an activity that may be tried again. */
  async #promote(version: number): Promise<void> {
    const promotion = `promote/${model}/v${version}`;
    const opened = await this.#ask(verbs => verbs.openPromotion({ model, version, promotion, requestedBy: 'tina' }));
    const { subjectDigest } = opened.gate;
    const claim = {
      promotion,
      subjectDigest,
      decision: 'approve',
      approver: 'ana',
      comment: '',
      ignored: null,
    } as const;
    await this.#ask(verbs => verbs.recordApproval({ model, claim }));
    for (const planned of opened.rollout) {
      const step = { model, version, promotion, subjectDigest, planned, expectedChampion: opened.champion };
      const applied = await this.#ask(verbs =>
        verbs.applyRolloutStep({ ...step, outcome: { kind: 'approved', by: ['ana'] } }),
      );
      if (applied.kind === 'refused') {
        this.#stage.faults.count(`a promotion was ${applied.outcome}`);
        return await this.#end(promotion, applied.outcome);
      }
      const entry = this.#oracle.changes[applied.entry];
      if (entry === undefined || entry.request !== promotion)
        throw new Violation(`D6: ${promotion} was told that entry ${applied.entry} is its own`);
      if (planned.partitions === 0) continue;
      await this.#stage.after(40, async () => {});
      // As with the same evidence: every run of a promotion judges its trial alike.
      if (this.#failsTrials) {
        this.#stage.faults.count('a trial failed');
        await this.#ask(verbs => verbs.endTrial({ model, promotion, reason: 'the trial failed' }));
        return await this.#end(promotion, 'rolled_back');
      }
    }
    this.#stage.faults.count('a promotion was promoted');
    await this.#end(promotion, 'promoted');
  }

  async #end(promotion: string, outcome: PromotionOutcome): Promise<void> {
    await this.#ask(verbs => verbs.endPromotion({ model, promotion, outcome, reason: outcome }));
    this.#ended.set(promotion, [...(this.#ended.get(promotion) ?? []), outcome]);
  }

  /** What `rollbackModel` asks for: the former champion in one step, whichever attempt makes it. */
  async #rollBack(): Promise<void> {
    this.#rollbacks += 1;
    const rollback = `rollback/${model}/${this.#rollbacks}`;
    const seen = await this.#try(ports => this.#catalog(ports).deployment(model));
    const outcome = await this.#try(ports =>
      this.#catalog(ports).changeDeployment(model, {
        ...{ action: { kind: 'roll_back' }, request: rollback, step: `${rollback}#0`, approvedBy: ['ana'] },
        ...{ reason: 'asked', expectedChampion: seen.champion?.version ?? null },
      }),
    );
    if (outcome.kind === 'refused') {
      this.#stage.faults.count('a rollback was refused');
      return;
    }
    this.#stage.faults.count('a rollback named the former champion');
    const entry = this.#oracle.changes[outcome.entry];
    if (entry?.step !== `${rollback}#0`) throw new Violation(`D6: ${rollback} was told of another entry`);
  }

  /** A reader sees a state that some entry names, and never one that is older than what it saw before. */
  async #readAsUser(): Promise<void> {
    await this.#stage.activityOnce(async ports => {
      const catalog = this.#catalog(ports);
      const before = (await catalog.deploymentHistory(model)).length;
      const state = await catalog.deployment(model);
      const known = this.#oracle.changes.slice(Math.max(0, before - 1)).map(change => JSON.stringify(change.state));
      if (before > 0 && !known.includes(JSON.stringify(state)))
        throw new Violation(`D6: a reader saw ${JSON.stringify(state)}, which no entry from ${before - 1} on says`);
      if (state.champion !== null) this.#stage.faults.count('a reader saw a champion');
    });
  }

  #catalog(ports: StoragePorts) {
    return new this.#implementation.Catalog(ports);
  }

  #ask<T>(run: (verbs: ReturnType<Implementation['createPromotion']>) => Promise<T>): Promise<T> {
    return this.#try(ports => {
      const services = { ports, catalog: this.#catalog(ports), project: { people: {} }, temporalCommand: 'temporal' };
      return run(this.#implementation.createPromotion(services));
    });
  }

  /** Every fault of the store passes, so nothing may be given up for good. */
  #try<T>(run: (ports: StoragePorts) => Promise<T>): Promise<T> {
    const { StorageFault } = this.#implementation;
    return this.#stage.activity(async ports => {
      try {
        return await run(ports);
      } catch (error) {
        if (error instanceof StorageFault && error.kind !== 'unavailable') throw new Violation(`I11: ${error.message}`);
        throw error;
      }
    });
  }

  // --- The end ----------------------------------------------------------------------------------------------------------

  /** D6: every promotion has one end, the log of promotions names it, and the deployment bears it out. */
  async #checkEnd(): Promise<void> {
    for (const [promotion, said] of this.#ended) {
      const recorded = this.#oracle.promotions.filter(event => event.kind === 'ended' && event.promotion === promotion);
      if (recorded.length !== 1) throw new Violation(`D6: ${promotion} ended ${recorded.length} times`);
      const outcome = recorded[0]?.outcome;
      const isDeployed = this.#oracle.changes.some(
        ({ request, action }) => request === promotion && action.kind === 'set_champion',
      );
      if (isDeployed !== (outcome === 'promoted'))
        throw new Violation(`D6: ${promotion} ended ${outcome} (${said.join()}), deployed: ${isDeployed}`);
    }
    const { champion } = await this.#catalog(this.#stage.calmPorts()).deployment(model);
    if ((champion?.version ?? null) !== this.#oracle.champion)
      throw new Violation(`D5: v${champion?.version} serves at the end instead of v${this.#oracle.champion}`);
  }
}

// --- What was registered before ---------------------------------------------------------------------------------------

let known: Promise<ReadonlyMap<string, Uint8Array>> | null = null;

/** Versions with bundle, definition and passing evidence, as a training leaves them; made once per process. */
function registered(): Promise<ReadonlyMap<string, Uint8Array>> {
  known ??= register();
  return known;
}

async function register(): Promise<ReadonlyMap<string, Uint8Array>> {
  const store = new MemoryStore();
  const clock = { now: () => new Date('2026-01-01T00:00:00Z') };
  let ids = 0;
  const random = { id: () => String(ids++).padStart(16, '0') };
  const catalog = new production.Catalog({ store, clock, random });
  const promote = { approvers: [], approvals: 1, fourEyes: true, expiresDays: 7, remindDays: 2 };
  for (const number of versions) {
    const rollout = number === 2 ? [{ kind: 'shadow', partitions: 1 }] : [];
    const definition = await catalog.documents.put('definition', { model, promote: { ...promote, rollout } });
    const files = [{ path: 'model.onnx', bytes: 1, sha256: sha256(`model ${number}`) }];
    const bundle = await catalog.documents.put('bundle', { schema: 'bundle/1', files });
    const served: Served = { version: number, bundle };
    const about = { profile: null, baseline: null, snapshots: {}, metrics: {} };
    await catalog.registerVersion({ model, bundle: served.bundle, run: `run-${number}`, definition, ...about });
    for (const kind of ['evaluation', 'model_ci'] as const) {
      const subject = { version: String(number) };
      const said = { baseline: null, asOf: '2026-01-01', checks: [], verdict: 'pass' as const, reasons: [] };
      await catalog.recordEvidence({ schema: 'evidence/1', kind, model, subject, ...said });
    }
  }
  const listing = await listAll(store, '');
  if (listing.kind !== 'found') throw new Error('the memory store lists');
  const objects = new Map<string, Uint8Array>();
  for (const { key } of listing.value) {
    const found = await store.get(key);
    if (found.kind === 'found') objects.set(key, found.value.bytes);
  }
  return objects;
}

/**
 * Models with shrinking: what a log, a table, a deployment log and a promotion log must be after any actors, interleaving and
 * faults. A failure prints the smallest of them with the seed and path that replay it.
 */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type DeploymentRequest, decideDeployment } from '../../src/domain/deployment.ts';
import type { PromotionEvent } from '../../src/domain/promotion.ts';
import { Catalog } from '../../src/storage/catalog.ts';
import { sha256 } from '../../src/storage/digest.ts';
import { Log, type LogSchema } from '../../src/storage/log.ts';
import { MemoryStore } from '../../src/storage/memory.ts';
import { systemPorts } from '../../src/storage/ports.ts';
import { PredictionsTable } from '../../src/storage/table/predictions-table.ts';
import { faults, runActors, textsOf } from './failing-world.ts';

const runs = { numRuns: 150 };
const limit = { timeout: 120_000 };

// --- The log ----------------------------------------------------------------------------------------------------------

interface Note {
  readonly actor: number;
  readonly index: number;
}
const notes: LogSchema<Note> = { name: 'notes', version: 1, upgrades: [] };

test('a log has every note of every actor once, in the actor’s own order', limit, async () => {
  const counts = fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 4 });
  await fc.assert(
    fc.asyncProperty(fc.scheduler(), faults, counts, async (scheduler, drawn, perActor) => {
      const actors = perActor.map((count, actor) => async (ports: ReturnType<typeof systemPorts>) => {
        const log = new Log(ports, 'notes', notes);
        for (let index = 0; index < count; index += 1) {
          await log.append(entries =>
            entries.some(({ body }) => body.actor === actor && body.index === index) ? null : { actor, index },
          );
        }
      });
      const ports = await runActors(scheduler, drawn, actors);
      const entries = await new Log(ports, 'notes', notes).read();
      expect(entries.map(({ number }) => number)).toEqual(entries.map((_, number) => number));
      for (const [actor, count] of perActor.entries()) {
        const own = entries.filter(({ body }) => body.actor === actor).map(({ body }) => body.index);
        expect(own).toEqual(Array.from({ length: count }, (_, index) => index));
      }
    }),
    runs,
  );
});

// --- The table --------------------------------------------------------------------------------------------------------

type Act = { readonly kind: 'commit' | 'abort'; readonly partition: string; readonly generation: number };

const acts = fc.array(
  fc.record({
    kind: fc.constantFrom('commit', 'commit', 'abort'),
    partition: fc.constantFrom('p', 'q'),
    generation: fc.integer({ min: 1, max: 3 }),
  }) as fc.Arbitrary<Act>,
  { minLength: 1, maxLength: 4 },
);

/** What one act was told; the last answer counts, because an actor that crashed asks again. */
async function perform(ports: ReturnType<typeof systemPorts>, { kind, partition, generation }: Act): Promise<string> {
  const table = new PredictionsTable(ports, 'predictions/m');
  if (kind === 'abort') return (await table.abort({ partition, generation, reason: 'asked' })).kind;
  const body = new TextEncoder().encode(`${partition} ${generation}`);
  const { path, key } = table.newPartFile({ partition, generation, chunk: 0, attempt: 1 });
  for (let tries = 0; (await ports.store.put(key, body)).kind !== 'applied' && tries < 20; tries += 1);
  const files = [{ path, bytes: body.length, rows: generation, sha256: sha256(body) }];
  const said = { planDigest: 'plan', asOf: '2026-01-01T00:00:00Z', workflowId: 'w', runId: 'r', attempt: 1 };
  const columns = [{ name: 'score', type: 'float' as const }];
  return (await table.commit({ partition, generation, columns, files, ...said })).kind;
}

test('a table decides every generation once and shows the highest committed one', limit, async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.scheduler(),
      faults,
      fc.array(acts, { minLength: 1, maxLength: 3 }),
      async (scheduler, drawn, perActor) => {
        const told: { readonly act: Act; readonly answer: string }[] = [];
        const actors = perActor.map(own => async (ports: ReturnType<typeof systemPorts>) => {
          for (const act of own) told.push({ act, answer: await perform(ports, act) });
        });
        const ports = await runActors(scheduler, drawn, actors);
        const table = new PredictionsTable(ports, 'predictions/m');
        const state = await table.state();
        const decided = (await table.history()).flatMap(({ decision }) =>
          decision.kind === 'commit' || decision.kind === 'abort'
            ? [`${decision.partition}/${decision.generation}`]
            : [],
        );
        expect(new Set(decided).size).toBe(decided.length);
        for (const { act, answer } of told) {
          const decision = state.generation(act.partition, act.generation)?.decision.kind ?? 'none';
          const holds =
            act.kind === 'abort'
              ? { aborted: decision === 'abort', already: decision === 'abort', committed: decision === 'commit' }[
                  answer
                ]
              : answer === 'fenced'
                ? decision !== 'commit'
                : decision === 'commit';
          expect(holds, `${JSON.stringify(act)} was told ${answer}, the log says ${decision}`).toBe(true);
        }
        for (const partition of ['p', 'q']) {
          const commits = [...state.generations()]
            .filter(one => one.partition === partition && one.decision.kind === 'commit')
            .map(({ generation }) => generation);
          // In the order of decision: a generation is never committed after a higher one.
          expect(commits).toEqual(commits.toSorted((left, right) => left - right));
          expect(state.current(partition)?.generation).toBe(commits.at(-1));
        }
      },
    ),
    runs,
  );
});

test('a table without faults is the model: partition → decisions and what is seen', limit, async () => {
  interface Model {
    readonly decided: Map<string, 'commit' | 'abort'>;
    readonly current: Map<string, number>;
    readonly highest: Map<string, number>;
  }
  interface Real {
    readonly ports: ReturnType<typeof systemPorts>;
  }
  class ActCommand implements fc.AsyncCommand<Model, Real> {
    readonly act: Act;
    constructor(act: Act) {
      this.act = act;
    }
    check(): boolean {
      return true;
    }
    async run(model: Model, { ports }: Real): Promise<void> {
      const { kind, partition, generation } = this.act;
      const name = `${partition}/${generation}`;
      const before = model.decided.get(name);
      const highest = model.highest.get(partition) ?? 0;
      const answer = await perform(ports, this.act);
      if (kind === 'abort') {
        expect(answer).toBe(before === undefined ? 'aborted' : before === 'abort' ? 'already' : 'committed');
      } else {
        const isFenced = before === 'abort' || (before === undefined && highest > generation);
        expect(answer).toBe(before === 'commit' ? 'already' : isFenced ? 'fenced' : 'committed');
        if (isFenced) return;
      }
      if (before !== undefined) return;
      model.decided.set(name, kind);
      model.highest.set(partition, Math.max(highest, generation));
      if (kind === 'commit') model.current.set(partition, generation);
    }
    toString(): string {
      return `${this.act.kind} ${this.act.partition} g${this.act.generation}`;
    }
  }
  class ReadCommand implements fc.AsyncCommand<Model, Real> {
    check(model: Model): boolean {
      return model.decided.size > 0;
    }
    async run(model: Model, { ports }: Real): Promise<void> {
      const snapshot = await new PredictionsTable(ports, 'predictions/m').snapshot();
      const seen = snapshot.generations.map(({ partition, generation }) => [partition, generation]);
      expect(seen).toEqual([...model.current].sort());
      expect(snapshot.rows).toBe([...model.current.values()].reduce((sum, generation) => sum + generation, 0));
    }
    toString(): string {
      return 'read';
    }
  }
  const command = fc.oneof(
    acts.map(([act]) => new ActCommand(act!)),
    fc.constant(new ReadCommand()),
  );
  await fc.assert(
    fc.asyncProperty(fc.commands([command], { maxCommands: 20 }), async commands => {
      const setup = () => ({
        model: { decided: new Map(), current: new Map(), highest: new Map() } as Model,
        real: { ports: systemPorts(new MemoryStore()) },
      });
      await fc.asyncModelRun(setup, commands);
    }),
    runs,
  );
});

// --- Deployments and promotions ---------------------------------------------------------------------------------------

const served = fc.integer({ min: 1, max: 3 }).map(version => ({ version, bundle: `bundle-${version}` }));
const actions = fc.oneof(
  served.map(of => ({ kind: 'set_champion' as const, served: of })),
  served.map(of => ({ kind: 'start_shadow' as const, served: of })),
  served.map(of => ({ kind: 'start_share' as const, served: of, arm: 'canary' as const, share: 0.1 })),
  fc.constant({ kind: 'end_trial' as const }),
  fc.constant({ kind: 'roll_back' as const }),
);
/** Two actors may make the same step: an attempt and its zombie. */
const requests: fc.Arbitrary<DeploymentRequest> = fc
  .tuple(actions, fc.integer({ min: 1, max: 6 }), fc.option(fc.integer({ min: 1, max: 3 }), { nil: undefined }))
  .map(([action, step, expectedChampion]) => ({
    ...{ action, request: 'promote/m/v1', step: `step-${step}`, approvedBy: ['ana'], reason: 'asked' },
    ...(expectedChampion === undefined ? {} : { expectedChampion }),
  }));

test('a deployment log is one line of decisions, each step once, each as its entry says', limit, async () => {
  const perActor = fc.array(fc.array(requests, { minLength: 1, maxLength: 3 }), { minLength: 1, maxLength: 3 });
  await fc.assert(
    fc.asyncProperty(fc.scheduler(), faults, perActor, async (scheduler, drawn, asked) => {
      const told: { readonly request: DeploymentRequest; readonly entry: number; readonly state: object }[] = [];
      const actors = asked.map(own => async (ports: ReturnType<typeof systemPorts>) => {
        const catalog = new Catalog(ports);
        for (const request of own) {
          const outcome = await catalog.changeDeployment('m', request);
          if (outcome.kind !== 'refused') told.push({ request, entry: outcome.entry, state: outcome.state });
        }
      });
      const ports = await runActors(scheduler, drawn, actors);
      const changes = (await new Catalog(ports).deploymentHistory('m')).map(({ body }) => body);
      expect(new Set(changes.map(({ step }) => step)).size).toBe(changes.length);
      for (const [index, change] of changes.entries()) {
        const again = decideDeployment(changes.slice(0, index), change);
        expect(again).toMatchObject({ kind: 'change', change: { state: change.state } });
      }
      for (const { request, entry, state } of told) expect(changes[entry]).toMatchObject({ step: request.step, state });
    }),
    runs,
  );
});

test('a promotion is requested once and ends once, whoever asks and dies', limit, async () => {
  const perActor = fc.array(
    fc.array(fc.constantFrom('requested', 'promoted', 'rejected'), { minLength: 1, maxLength: 3 }),
    {
      minLength: 1,
      maxLength: 3,
    },
  );
  await fc.assert(
    fc.asyncProperty(fc.scheduler(), faults, perActor, async (scheduler, drawn, asked) => {
      const promotion = 'promote/m/v1';
      const decide =
        (wanted: string) =>
        (events: readonly PromotionEvent[]): PromotionEvent | null => {
          const [first, ...later] = events;
          if (wanted === 'requested') return first === undefined ? requested : null;
          if (first === undefined || later.length > 0) return null;
          return { kind: 'ended', promotion, outcome: wanted as 'promoted' | 'rejected', reason: '' };
        };
      const requested: PromotionEvent = {
        ...{ kind: 'requested', promotion, version: 1, bundle: 'b', subjectDigest: 's', evidence: [] },
        ...{ requestedBy: 'ana', expectedChampion: null, expiresAt: '2026-01-01T00:00:00Z' },
      };
      const actors = asked.map(own => async (ports: ReturnType<typeof systemPorts>) => {
        const catalog = new Catalog(ports);
        for (const wanted of own) await catalog.recordPromotion('m', decide(wanted));
      });
      const ports = await runActors(scheduler, drawn, actors);
      const entries = [...(await textsOf(ports, 'models/m/promotions/')).values()].map(
        text => JSON.parse(text).body.kind,
      );
      expect(entries).toEqual(['requested', 'ended'].slice(0, entries.length));
      if (asked.flat().includes('requested')) expect(entries[0]).toBe('requested');
      const asksForEnd = (own: readonly string[]) => /requested.*(promoted|rejected)/.test(own.join(' '));
      if (asked.some(asksForEnd)) expect(entries).toEqual(['requested', 'ended']);
    }),
    runs,
  );
});

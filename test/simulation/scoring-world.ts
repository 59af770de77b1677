/**
 * A simulated history of a table of predictions: scoring workflows with attempts that time out and live on as zombies,
 * resets, backfills, collectors and readers. The production code runs unchanged; only its three ports are ours.
 */
import type { RetentionPolicy } from '../../src/storage/collector.ts';
import { sha256 } from '../../src/storage/digest.ts';
import type { StoragePorts } from '../../src/storage/ports.ts';
import type { Implementation } from './implementation.ts';
import { Oracle, Violation } from './oracle.ts';
import { type Outcome, type Scenario, Stage } from './stage.ts';

const root = 'predictions/simulated';
const chunks = 2;
const columns = [{ name: 'id', type: 'string' as const }];
/** The collector of every other pair of seeds gives jobs up while they are about to commit. */
function retentionOf(seed: number): RetentionPolicy {
  return { undecidedMs: seed % 4 < 2 ? 400 : 100, supersededMs: 300, minGenerations: 1 };
}

export function simulateScoring(implementation: Implementation, scenario: Scenario): Promise<Outcome> {
  return new ScoringWorld(implementation, scenario).run();
}

class ScoringWorld {
  readonly #stage: Stage;
  readonly #implementation: Implementation;
  readonly #retention: RetentionPolicy;
  readonly #oracle: Oracle;
  /** Acknowledged commits: `partition/g` → version. */
  readonly #acknowledged = new Map<string, number>();

  constructor(implementation: Implementation, scenario: Scenario) {
    this.#implementation = implementation;
    this.#stage = new Stage(implementation, scenario);
    this.#retention = retentionOf(scenario.seed);
    this.#oracle = new Oracle(root, this.#stage.objects, plannedRows);
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
    if (this.#stage.isHappy) {
      this.#stage.start(() => this.#workflow('a', 1, 'r1'));
      return;
    }
    this.#stage.start(() => this.#workflow('a', 1, 'r1'));
    if (this.#stage.chance(0.7)) this.#stage.start(() => this.#workflow('b', 1, 'r2'));
    // A reset: the same business job under another run id, the old run's attempts still alive.
    if (this.#stage.chance(0.5)) this.#stage.start(() => this.#stage.after(40, () => this.#workflow('a', 1, 'r3')));
    // A backfill of the next generation, perhaps while the first is still running.
    if (this.#stage.chance(0.6)) this.#stage.start(() => this.#stage.after(60, () => this.#workflow('a', 2, 'r4')));
    if (this.#stage.chance(0.3)) this.#stage.start(() => this.#stage.after(30, () => this.#workflow('a', 3, 'r5')));
    this.#stage.start(() => this.#stage.repeat(4, () => this.#collect()));
    if (this.#stage.chance(0.5)) this.#stage.start(() => this.#stage.repeat(3, () => this.#collect()));
    this.#stage.start(() => this.#stage.repeat(5, () => this.#readAsUser()));
  }

  /** Scores both chunks, then commits; what Temporal would do, with its arbiter of attempts. */
  async #workflow(partition: string, generation: number, runId: string): Promise<void> {
    const files: { path: string; bytes: number; rows: number; sha256: string }[] = [];
    for (let chunk = 0; chunk < chunks; chunk += 1) {
      files.push(
        await this.#stage.activity((ports, attempt) =>
          this.#scoreChunk(ports, { partition, generation, chunk, attempt, runId }),
        ),
      );
    }
    const outcome = await this.#stage.activity(async (ports, attempt) => {
      const table = new this.#implementation.PredictionsTable(ports, root);
      const asOf = '2026-01-01T00:00:00Z';
      const request = {
        partition,
        generation,
        planDigest: 'plan',
        columns,
        files,
        asOf,
        workflowId: 'w',
        runId,
        attempt,
      };
      try {
        return await table.commit(request);
      } catch (error) {
        if (this.#isPermanent(error)) return { kind: 'failed' as const, reason: String(error) };
        throw error;
      }
    });
    const name = `${partition}/g${generation}`;
    if (outcome.kind === 'fenced') {
      this.#stage.faults.count('a commit was fenced');
      if (this.#oracle.commits.has(name)) throw new Violation(`I6: ${name} was called fenced although it is committed`);
    } else if (outcome.kind === 'failed') {
      throw new Violation(`I11: ${name} failed: ${outcome.reason}`);
    } else {
      const known = this.#acknowledged.get(name) ?? outcome.version;
      if (known !== outcome.version)
        throw new Violation(`I14: ${name} was acknowledged as version ${known} and ${outcome.version}`);
      this.#acknowledged.set(name, known);
      const truth = this.#oracle.commits.get(name)?.version;
      if (truth !== known)
        throw new Violation(`I6: ${name} was acknowledged as version ${known}, the log says ${truth}`);
      if (outcome.kind === 'already') this.#stage.faults.count('a commit found itself done already');
    }
  }

  async #scoreChunk(
    ports: StoragePorts,
    job: { partition: string; generation: number; chunk: number; attempt: number; runId: string },
  ): Promise<{ path: string; bytes: number; rows: number; sha256: string }> {
    const table = new this.#implementation.PredictionsTable(ports, root);
    const { path, key } = table.newPartFile(job);
    const rows = chunkRows(job.partition, job.chunk);
    // Attempts differ in bytes (the writer's own marks), never in rows.
    const text = JSON.stringify({ rows, by: `${job.runId}/${job.attempt}/${ports.random.id()}` });
    const bytes = new TextEncoder().encode(text);
    for (;;) {
      const answer = await ports.store.put(key, bytes);
      if (answer.kind === 'applied') return { path, bytes: bytes.length, rows: rows.length, sha256: sha256(bytes) };
      if (answer.kind === 'not_applied') throw new Violation(`I7: ${key} is written with two contents`);
    }
  }

  async #collect(): Promise<void> {
    const undecided = new Set(this.#oracle.aborts);
    await this.#stage.activityOnce(async ports => {
      const table = new this.#implementation.PredictionsTable(ports, root);
      const report = await this.#implementation.collectTable(ports, table, this.#retention);
      if (report.fenced.length > 0 && this.#oracle.aborts.size > undecided.size)
        this.#stage.faults.count('the collector fenced a job');
      if (report.deleted.length > 0) this.#stage.faults.count('the collector deleted files');
    });
  }

  /** Reads as any user would and compares with what the judge saw before or after. */
  async #readAsUser(): Promise<void> {
    await this.#stage.activityOnce(async ports => {
      const snapshot = await new this.#implementation.PredictionsTable(ports, root)
        .snapshot()
        .catch((error: unknown) => {
          if (String(error).includes('does not exist yet')) return null;
          throw error;
        });
      if (snapshot === null) return;
      this.#stage.faults.count('a reader saw a snapshot');
      for (const { partition } of snapshot.generations) {
        const files = snapshot.files.filter(file => file.partition === partition);
        const shown = [...this.#oracle.commits.values()].find(
          commit =>
            commit.files
              .map(file => file.path)
              .toSorted()
              .join() ===
            files
              .map(file => file.path)
              .toSorted()
              .join(),
        );
        if (shown === undefined)
          throw new Violation(`I1: a reader saw files of ${partition} that are no whole generation`);
      }
    });
  }

  // --- The end ----------------------------------------------------------------------------------------------------------

  /** With the faults over: I6 for every acknowledged commit, I14 for every job, and nothing unreferenced is left (I12). */
  async #checkEnd(): Promise<void> {
    for (const [name, version] of this.#acknowledged) {
      const truth = this.#oracle.commits.get(name);
      if (truth?.version !== version)
        throw new Violation(`I6: ${name} was acknowledged as version ${version} and is not there`);
      await this.#checkRerun(name, version);
    }
    this.#stage.pass(10_000);
    const ports = this.#stage.calmPorts();
    for (let pass = 0; pass < 4; pass += 1) {
      await this.#implementation.collectTable(
        ports,
        new this.#implementation.PredictionsTable(ports, root),
        this.#retention,
      );
      this.#stage.failIfJudged();
    }
    const litter = [...this.#stage.objects.keys()].filter(
      key => key.includes('/partition=') && !this.#oracle.isReferenced(key),
    );
    if (litter.length > 0) throw new Violation(`I12: unreferenced files are left: ${litter.join(', ')}`);
  }

  async #checkRerun(name: string, version: number): Promise<void> {
    const [partition = '', generation = ''] = name.split('/g');
    const ports = this.#stage.calmPorts();
    const before = this.#stage.objects.size;
    const again = await new this.#implementation.PredictionsTable(ports, root).commit({
      ...{ partition, generation: Number(generation), planDigest: 'plan', columns, files: [] },
      ...{ asOf: '2026-01-01T00:00:00Z', workflowId: 'w', runId: 'again', attempt: 1 },
    });
    if (again.kind !== 'already' || again.version !== version || this.#stage.objects.size !== before) {
      throw new Violation(
        `I14: running ${name} again answered ${JSON.stringify(again)} and wrote ${this.#stage.objects.size - before}`,
      );
    }
  }

  #isPermanent(error: unknown): boolean {
    return error instanceof this.#implementation.StorageFault && error.kind !== 'unavailable';
  }
}

function chunkRows(partition: string, chunk: number): readonly string[] {
  return [0, 1, 2].map(row => `${partition}${chunk}${row}`);
}
function plannedRows(partition: string): readonly string[] {
  return Array.from({ length: chunks }, (_, chunk) => chunkRows(partition, chunk)).flat();
}

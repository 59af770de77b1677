/**
 * The catalog: the nouns of Almanac over documents and logs. A document holds what something *is*, under its digest; a log
 * says in which order things came to be. Every method may be called twice: the second call finds what the first one wrote.
 */
import type { Decision } from '../domain/decision.ts';
import type { ModelDefinition } from '../domain/definition.ts';
import {
  currentDeployment,
  type DeploymentChange,
  type DeploymentRequest,
  type DeploymentState,
  decideDeployment,
} from '../domain/deployment.ts';
import type { Evidence, EvidenceKind, Verdict } from '../domain/evidence.ts';
import { foldJobs, generationFor, type Job, type JobEvent } from '../domain/job.ts';
import type { Bundle, ModelVersion } from '../domain/model-version.ts';
import type { Baseline, Profile } from '../domain/profile.ts';
import { foldPromotions, type Promotion, type PromotionEvent } from '../domain/promotion.ts';
import { recordedText } from '../domain/recorded-text.ts';
import type { Run } from '../domain/run.ts';
import type { Snapshot } from '../domain/snapshot.ts';
import { Artifacts } from './artifacts.ts';
import { canonicalJson } from './digest.ts';
import { type Digest, Documents } from './documents.ts';
import { StorageFault } from './fault.ts';
import { keys, type ModelLog } from './keys.ts';
import { Log, type LogEntry, type LogSchema } from './log.ts';
import type { StoragePorts } from './ports.ts';
import { matchesRun, type RunQuery } from './run-query.ts';

export interface DefinitionEntry {
  readonly model: string;
  readonly digest: Digest;
}

export interface EvidenceEntry {
  readonly digest: Digest;
  readonly kind: EvidenceKind;
  readonly subject: Readonly<Record<string, string>>;
  readonly asOf: string;
  readonly verdict: Verdict;
}

export interface DecisionEntry extends Decision {
  readonly digest: Digest;
}

export type DeploymentOutcome =
  | { readonly kind: 'changed' | 'already'; readonly entry: number; readonly state: DeploymentState }
  | { readonly kind: 'refused'; readonly reason: string };

/** What each model log holds. */
interface ModelLogBodies {
  readonly versions: ModelVersion;
  readonly runs: Run;
  readonly evidence: EvidenceEntry;
  readonly deployment: DeploymentChange;
  readonly promotions: PromotionEvent;
  readonly jobs: JobEvent;
  readonly decisions: DecisionEntry;
}

/** The written version of every log's schema, with the converters from older ones. */
export const logSchemas: { readonly [Name in ModelLog]: LogSchema<ModelLogBodies[Name]> } = {
  versions: { name: 'versions', version: 1, upgrades: [] },
  runs: { name: 'runs', version: 1, upgrades: [] },
  evidence: { name: 'evidence', version: 1, upgrades: [] },
  deployment: { name: 'deployment', version: 1, upgrades: [] },
  promotions: { name: 'promotions', version: 1, upgrades: [] },
  jobs: { name: 'jobs', version: 1, upgrades: [] },
  decisions: { name: 'decisions', version: 1, upgrades: [] },
};
export const definitionSchema: LogSchema<DefinitionEntry> = { name: 'definitions', version: 1, upgrades: [] };

export class Catalog {
  readonly documents: Documents;
  readonly #artifacts: Artifacts;
  readonly #ports: StoragePorts;
  readonly #definitions: Log<DefinitionEntry>;
  /** Logs stay open, so that each entry is read once per process. */
  readonly #logs = new Map<string, unknown>();

  constructor(ports: StoragePorts) {
    this.#ports = ports;
    this.documents = new Documents(ports.store);
    this.#artifacts = new Artifacts(ports.store, this.documents);
    this.#definitions = new Log(ports, keys.definitionLog, definitionSchema);
  }

  // --- Definitions ----------------------------------------------------------------------------------------------------

  /** Pins a definition and makes it the model's present one. */
  async putDefinition(definition: ModelDefinition): Promise<Digest> {
    const digest = await this.documents.put('definition', definition);
    const { model } = definition;
    await this.#definitions.append(entries => {
      const present = entries.findLast(entry => entry.body.model === model);
      return present?.body.digest === digest ? null : { model, digest };
    });
    return digest;
  }

  definition(digest: Digest): Promise<ModelDefinition> {
    return this.documents.get('definition', digest);
  }

  /** Every model that ever had a definition, sorted by name, with the digest of the present one. */
  async models(): Promise<readonly DefinitionEntry[]> {
    const present = new Map((await this.#definitions.read()).map(entry => [entry.body.model, entry.body]));
    return [...present.values()].sort((left, right) => (left.model < right.model ? -1 : 1));
  }

  // --- Snapshots, profiles, baselines ---------------------------------------------------------------------------------

  putSnapshot(snapshot: Snapshot): Promise<Digest> {
    return this.documents.put('snapshot', snapshot);
  }
  snapshot(digest: Digest): Promise<Snapshot> {
    return this.documents.get('snapshot', digest);
  }
  putProfile(profile: Profile): Promise<Digest> {
    return this.documents.put('profile', profile);
  }
  profile(digest: Digest): Promise<Profile> {
    return this.documents.get('profile', digest);
  }
  putBaseline(baseline: Baseline): Promise<Digest> {
    return this.documents.put('baseline', baseline);
  }
  baseline(digest: Digest): Promise<Baseline> {
    return this.documents.get('baseline', digest);
  }

  // --- Runs -----------------------------------------------------------------------------------------------------------

  /** Records a run under its id. One that succeeded stands; one that failed may be followed by another try. */
  async recordRun(made: Run): Promise<Run> {
    const run = made.failure === null ? made : { ...made, failure: recordedText(made.failure) };
    const log = this.#log(run.model, 'runs');
    const appended = await log.append(entries =>
      entries.some(({ body }) => body.id === run.id && body.status === 'succeeded') ? null : run,
    );
    if (appended.kind === 'appended') return appended.entry.body;
    return (await this.run(run.model, run.id))!;
  }

  async run(model: string, id: string): Promise<Run | null> {
    return (await this.runs(model)).find(run => run.id === id) ?? null;
  }

  /** Runs of a model, oldest first. One that failed and was started again counts as it ended last. */
  async runs(model: string): Promise<readonly Run[]> {
    const recorded = bodies(await this.#log(model, 'runs').read());
    return [...new Map(recorded.map(run => [run.id, run])).values()];
  }

  /** Runs of one model or of all that match the query, newest first. */
  async searchRuns(query: RunQuery): Promise<readonly Run[]> {
    const models = query.model === undefined ? (await this.models()).map(entry => entry.model) : [query.model];
    const found: Run[] = [];
    for (const model of models) found.push(...(await this.runs(model)).filter(run => matchesRun(run, query)));
    found.sort((left, right) => (left.startedAt < right.startedAt ? 1 : -1));
    return found.slice(0, query.limit ?? found.length);
  }

  // --- Model versions -------------------------------------------------------------------------------------------------

  /** Stores the files of a model version; returns the digest that names them. */
  putBundle(folder: string): Promise<Digest> {
    return this.#artifacts.putBundle(folder);
  }
  bundle(digest: Digest): Promise<Bundle> {
    return this.#artifacts.bundle(digest);
  }
  /** Brings the files into a folder, each verified against the bundle. */
  fetchBundle(digest: Digest, folder: string): Promise<Bundle> {
    return this.#artifacts.fetchBundle(digest, folder);
  }
  putArtifact(path: string): Promise<Digest> {
    return this.#artifacts.putFile(path);
  }
  fetchArtifact(digest: Digest, path: string): Promise<void> {
    return this.#artifacts.fetchFile(digest, path);
  }

  /** Gives the next number to a bundle; the same bundle of the same run keeps its number. */
  async registerVersion(version: Omit<ModelVersion, 'number' | 'registeredAt'>): Promise<ModelVersion> {
    const log = this.#log(version.model, 'versions');
    const registeredAt = this.#ports.clock.now().toISOString();
    const isSame = (entry: LogEntry<ModelVersion>) =>
      entry.body.run === version.run && entry.body.bundle === version.bundle;
    const appended = await log.append(entries =>
      entries.some(isSame) ? null : { ...version, number: entries.length + 1, registeredAt },
    );
    if (appended.kind === 'appended') return appended.entry.body;
    return (await log.read()).find(isSame)!.body;
  }

  async versions(model: string): Promise<readonly ModelVersion[]> {
    return bodies(await this.#log(model, 'versions').read());
  }

  /** Throws `StorageFault` (missing) naming the versions there are. */
  async version(model: string, number: number): Promise<ModelVersion> {
    const versions = await this.versions(model);
    const version = versions[number - 1];
    if (version !== undefined) return version;
    const known = versions.length === 0 ? 'none' : versions.map(({ number: known }) => `v${known}`).join(', ');
    throw new StorageFault(
      'missing',
      keys.modelLog(model, 'versions'),
      `no version ${number} of ${model}; there are: ${known}`,
    );
  }

  // --- Evidence -------------------------------------------------------------------------------------------------------

  async recordEvidence(evidence: Evidence): Promise<Digest> {
    const digest = await this.documents.put('evidence', evidence);
    const { model, kind, subject, asOf, verdict } = evidence;
    const entry: EvidenceEntry = { digest, kind, subject, asOf, verdict };
    await this.#log(model, 'evidence').append(entries =>
      entries.some(({ body }) => body.digest === digest) ? null : entry,
    );
    return digest;
  }

  evidence(digest: Digest): Promise<Evidence> {
    return this.documents.get('evidence', digest);
  }

  /** What evidence there is, oldest first; the documents are read one by one with `evidence`. */
  async evidenceList(model: string, filter: { readonly kind?: EvidenceKind } = {}): Promise<readonly EvidenceEntry[]> {
    const entries = bodies(await this.#log(model, 'evidence').read());
    return filter.kind === undefined ? entries : entries.filter(entry => entry.kind === filter.kind);
  }

  // --- Deployment -----------------------------------------------------------------------------------------------------

  async deployment(model: string): Promise<DeploymentState> {
    return currentDeployment(await this.#deploymentChanges(model));
  }

  /** All versions that rows are scored with now: the champion, a shadow, one with a share of the keys. */
  async servingVersions(model: string): Promise<readonly ModelVersion[]> {
    const { champion, shadow, share } = await this.deployment(model);
    const served = [champion, shadow, share].filter(one => one !== null);
    return await Promise.all(served.map(({ version }) => this.version(model, version)));
  }

  /** All entries of the deployment log with their numbers and times, oldest first. */
  deploymentHistory(model: string): Promise<readonly LogEntry<DeploymentChange>[]> {
    return this.#log(model, 'deployment').read();
  }

  /** Compare and swap: decided against the log as it is at the moment of writing. */
  async changeDeployment(model: string, request: DeploymentRequest): Promise<DeploymentOutcome> {
    const log = this.#log(model, 'deployment');
    const appended = await log.append(entries => {
      const decision = decideDeployment(bodies(entries), request);
      return decision.kind === 'change' ? decision.change : null;
    });
    if (appended.kind === 'appended') {
      return { kind: 'changed', entry: appended.entry.number, state: appended.entry.body.state };
    }
    const changes = await this.#deploymentChanges(model);
    const decision = decideDeployment(changes, request);
    if (decision.kind === 'already') {
      return { kind: 'already', entry: decision.entry, state: changes[decision.entry]!.state };
    }
    if (decision.kind === 'refused') return decision;
    // The log moved on between the two reads in a way that would now allow the change: decide again.
    return this.changeDeployment(model, request);
  }

  async #deploymentChanges(model: string): Promise<readonly DeploymentChange[]> {
    return bodies(await this.#log(model, 'deployment').read());
  }

  // --- Promotions -----------------------------------------------------------------------------------------------------

  /** Appends what `decide` returns for the events so far; null appends nothing. Returns all events afterwards. */
  async recordPromotion(
    model: string,
    decide: (events: readonly PromotionEvent[]) => PromotionEvent | null,
  ): Promise<readonly PromotionEvent[]> {
    const log = this.#log(model, 'promotions');
    await log.append(entries => decide(bodies(entries)));
    return bodies(await log.read());
  }

  async promotions(model: string): Promise<readonly Promotion[]> {
    return foldPromotions(bodies(await this.#log(model, 'promotions').read()));
  }

  // --- Jobs -----------------------------------------------------------------------------------------------------------

  /**
   * The generation of a scoring request: the one it got before, or the next of its partition. `decided` is the highest
   * generation the predictions table has decided (`PredictionsTable.highestGeneration`).
   */
  async requestGeneration(
    model: string,
    asked: { readonly partition: string; readonly request: string; readonly decided: number },
  ): Promise<number> {
    const log = this.#log(model, 'jobs');
    await log.append(entries => {
      const { generation, isNew } = generationFor(bodies(entries), asked);
      return isNew ? { kind: 'requested', partition: asked.partition, generation, request: asked.request } : null;
    });
    return generationFor(bodies(await log.read()), asked).generation;
  }

  /** Records how a job ended; the same end twice is one entry. */
  async recordJobEnd(model: string, ended: Extract<JobEvent, { kind: 'ended' }>): Promise<void> {
    const end = { ...ended, reason: recordedText(ended.reason) };
    const said = canonicalJson(end);
    await this.#log(model, 'jobs').append(entries => {
      const last = entries.findLast(({ body }) => isEndOf(body, end));
      return last !== undefined && canonicalJson(last.body) === said ? null : end;
    });
  }

  async jobs(model: string): Promise<readonly Job[]> {
    return foldJobs(bodies(await this.#log(model, 'jobs').read()));
  }

  // --- Decisions ------------------------------------------------------------------------------------------------------

  async recordDecision(decision: Decision): Promise<Digest> {
    const digest = await this.documents.put('decision', decision);
    await this.#log(decision.model, 'decisions').append(entries =>
      entries.some(({ body }) => body.digest === digest) ? null : { ...decision, digest },
    );
    return digest;
  }

  /** Oldest first. */
  async decisions(model: string): Promise<readonly DecisionEntry[]> {
    return bodies(await this.#log(model, 'decisions').read());
  }

  #log<Name extends ModelLog>(model: string, name: Name): Log<ModelLogBodies[Name]> {
    const prefix = keys.modelLog(model, name);
    const open = this.#logs.get(prefix) ?? new Log(this.#ports, prefix, logSchemas[name]);
    this.#logs.set(prefix, open);
    // The map holds for each prefix the log of its own name.
    return open as Log<ModelLogBodies[Name]>;
  }
}

function bodies<Body>(entries: readonly LogEntry<Body>[]): readonly Body[] {
  return entries.map(entry => entry.body);
}

function isEndOf(event: JobEvent, end: Extract<JobEvent, { kind: 'ended' }>): boolean {
  return event.kind === 'ended' && event.partition === end.partition && event.generation === end.generation;
}

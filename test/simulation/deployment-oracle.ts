/**
 * The judge of simulated promotions. It folds the bare log of deployments by rules of its own, entry by entry, and holds each
 * against the log of promotions as it is at that moment. Names of the invariants: D1 to D6.
 */
import { createHash } from 'node:crypto';
import { Violation } from './oracle.ts';
import type { Judge } from './stage.ts';

interface Change {
  readonly action: { readonly kind: string; readonly served?: { readonly version: number } };
  readonly state: {
    readonly champion: { readonly version: number } | null;
    readonly shadow: { readonly version: number } | null;
    readonly share: { readonly version: number } | null;
  };
  readonly request: string;
  readonly step: string;
  readonly approvedBy: readonly string[];
}

interface PromotionEntry {
  readonly kind: string;
  readonly promotion: string;
  readonly version?: number;
  readonly subjectDigest?: string;
  readonly expectedChampion?: number | null;
  readonly approver?: string;
  readonly index?: number;
  readonly outcome?: string;
}

export class DeploymentOracle implements Judge {
  readonly #objects: ReadonlyMap<string, string>;
  readonly #logs: { readonly deployment: string; readonly promotions: string };
  readonly #texts = new Map<string, string[]>();
  readonly changes: Change[] = [];
  readonly promotions: PromotionEntry[] = [];
  /** Champions by promotion, the present one last; a rollback takes it away. */
  readonly #champions: number[] = [];

  constructor(objects: ReadonlyMap<string, string>, logs: { deployment: string; promotions: string }) {
    this.#objects = objects;
    this.#logs = logs;
  }

  get champion(): number | null {
    return this.#champions.at(-1) ?? null;
  }

  changed(key: string): void {
    if (key.startsWith(`${this.#logs.promotions}/`)) {
      for (const entry of this.#newEntries<PromotionEntry>(this.#logs.promotions)) this.#judgeEvent(entry);
    }
    if (key.startsWith(`${this.#logs.deployment}/`)) {
      for (const entry of this.#newEntries<Change>(this.#logs.deployment)) this.#judgeChange(entry);
    }
  }

  beforeDelete(key: string): void {
    throw new Violation(`D1: ${key} is deleted; nothing of a deployment ever is`);
  }

  /** D1: numbered without gaps, chained by hash, never changed. */
  #newEntries<Body>(log: string): readonly Body[] {
    const texts = this.#texts.get(log) ?? [];
    this.#texts.set(log, texts);
    const keyOf = (number: number) => `${log}/${String(number).padStart(20, '0')}.json`;
    for (const [number, text] of texts.entries())
      if (this.#objects.get(keyOf(number)) !== text) throw new Violation(`D1: entry ${number} of ${log} changed`);
    const bodies: Body[] = [];
    for (let text = this.#objects.get(keyOf(texts.length)); text !== undefined; ) {
      const { prevHash, body } = JSON.parse(text);
      if (prevHash !== (texts.length === 0 ? null : hash(texts.at(-1)!)))
        throw new Violation(`D1: entry ${texts.length} of ${log} does not follow the one before`);
      texts.push(text);
      bodies.push(body);
      text = this.#objects.get(keyOf(texts.length));
    }
    return bodies;
  }

  /** D2: whatever attempts and zombies there are, a promotion says each thing once, and nothing after its end. */
  #judgeEvent(event: PromotionEntry): void {
    const earlier = this.promotions.filter(({ promotion }) => promotion === event.promotion);
    const nameOf = ({ kind, approver, index, outcome }: PromotionEntry) =>
      kind === 'stepped' ? `step ${index} ${outcome}` : kind === 'decided' ? `decision of ${approver}` : kind;
    if (earlier.some(other => nameOf(other) === nameOf(event)))
      throw new Violation(`D2: ${event.promotion} has ${nameOf(event)} twice`);
    if (earlier.length === 0 && event.kind !== 'requested')
      throw new Violation(`D2: ${event.promotion} has ${nameOf(event)} before its request`);
    this.promotions.push(event);
  }

  #judgeChange(change: Change): void {
    if (this.changes.some(({ step }) => step === change.step))
      throw new Violation(`D3: step ${change.step} was made twice`);
    const { action, state } = change;
    const ended = this.changes.findIndex(
      other => other.request === change.request && other.action.kind === 'end_trial',
    );
    if (ended !== -1) throw new Violation(`D3: ${change.step} was made after entry ${ended} ended its promotion`);
    const before = this.champion;
    if (action.kind === 'set_champion') {
      this.#judgePermission(change);
      this.#champions.push(action.served!.version);
    } else if (action.kind === 'roll_back') {
      if (this.#champions.length < 2) throw new Violation('D5: a rollback without an earlier champion');
      this.#champions.pop();
    } else if (action.kind !== 'end_trial') this.#judgePermission(change);
    // D5: one champion, always the one that the entries so far add up to; a rollback names the former one in one step.
    if ((state.champion?.version ?? null) !== this.champion)
      throw new Violation(
        `D5: entry ${this.changes.length} (${action.kind}) names champion ${state.champion?.version}, ` +
          `after ${before} it must be ${this.champion}`,
      );
    const trials = [state.shadow, state.share].flatMap(trial => (trial === null ? [] : [trial.version]));
    const isStart = action.kind === 'start_shadow' || action.kind === 'start_share';
    const last = this.changes.at(-1);
    const ownTrial = this.changes.findLast(other => other.action.kind.startsWith('start_'))?.request;
    // Another request's end leaves what is on trial alone.
    const isKept = action.kind === 'end_trial' && ownTrial !== change.request;
    const kept = [last?.state.shadow, last?.state.share].flatMap(trial => (trial == null ? [] : [trial.version]));
    const wanted = isStart ? [action.served!.version] : isKept ? kept : [];
    if (trials.join() !== wanted.join())
      throw new Violation(`D5: entry ${this.changes.length} (${action.kind}) has v${trials.join()} on trial`);
    this.changes.push(change);
  }

  /** D4: only for the champion that the evidence was about, and only with an approval of this very subject. */
  #judgePermission({ request, step, action, approvedBy }: Change): void {
    const events = this.promotions.filter(({ promotion }) => promotion === request);
    const requested = events.find(({ kind }) => kind === 'requested');
    if (requested === undefined) throw new Violation(`D4: ${step} was made without a request`);
    if (requested.version !== action.served?.version)
      throw new Violation(`D4: ${step} deploys v${action.served?.version}, v${requested.version} was requested`);
    if (requested.expectedChampion !== this.champion) {
      throw new Violation(
        `D4: ${step} replaces champion ${this.champion}, its evidence was against ${requested.expectedChampion}`,
      );
    }
    const isApproved = approvedBy.some(approver =>
      events.some(
        event =>
          event.kind === 'decided' &&
          event.approver === approver &&
          event.outcome === undefined &&
          event.subjectDigest === requested.subjectDigest,
      ),
    );
    if (!isApproved) throw new Violation(`D4: ${step} was made without an approval of what it deploys`);
  }
}

function hash(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

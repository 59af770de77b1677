/**
 * The models of one history: at most one training per window, whoever asks for it, and the scores are kept, so that every
 * comparison is on the same models. Trainings do not depend on each other, so several may be under way at a time; what
 * comes out does not depend on how many.
 */
import { measureQuality, qualityMetric } from '../checks/index.ts';
import { inParallel } from '../domain/in-parallel.ts';
import {
  asksForProbes,
  firstWindow,
  type Replay,
  type ReplayPlan,
  replayPolicy,
  trainingRows,
  windowRows,
} from './replay.ts';
import type { QualityTable } from './schedules.ts';
import type { History } from './table.ts';

/** Whatever can be trained: the built-in trainers and trainer commands are adapted to it by the caller. */
export interface Learner {
  readonly name: string;
  fit(rows: History): Promise<Scorer>;
}

export interface Scorer {
  score(rows: History): Promise<Float32Array> | Float32Array;
  /** The model is not asked again: what holds it elsewhere can let it go. */
  close?(): void;
}

export interface Learners {
  readonly learner: Learner;
  /** Trainings that may be under way at a time, as many as the learners have threads; 1 by default. */
  readonly parallel?: number;
}

type Report = (done: number, of: number) => void;

export class Models {
  readonly #plan: ReplayPlan;
  readonly #learners: Learners;
  readonly #scorers = new Map<number, Promise<Scorer>>();
  readonly #scores = new Map<string, Float32Array>();

  constructor(plan: ReplayPlan, learners: Learners) {
    this.#plan = plan;
    this.#learners = learners;
  }

  /** The policy of `plan`, which may be another one than that of this history's plan. */
  replay(plan: ReplayPlan, onWindow?: (window: number) => void): Promise<Replay> {
    return replayPolicy(plan, { scores: this.#score, ...(onWindow === undefined ? {} : { onWindow }) });
  }

  /** Trains every model that could serve, and scores every window with each. */
  async qualityTable(report: Report): Promise<QualityTable> {
    const metric = qualityMetric(this.#plan.definition.monitor.quality.metric);
    const first = firstWindow(this.#plan);
    const windows = this.#plan.windows.length;
    const values = new Map<string, number | null>();
    await this.#each(range(first, windows), report, async model => {
      for (let window = model; window < windows; window++) {
        const scores = await this.#score(model, window);
        const { labels, weights = null } = windowRows(this.#plan, window);
        values.set(`${model}/${window}`, measureQuality(metric, labels, scores, { weights }).value);
      }
    });
    return { first, windows, quality: (model, window) => values.get(`${model}/${window}`) ?? null };
  }

  /** Trains side by side what a replay that compares with probes will ask for one after the other. */
  async trainProbes(): Promise<void> {
    if (!asksForProbes(this.#plan)) return;
    const windows = range(firstWindow(this.#plan), this.#plan.windows.length);
    await this.#each(
      windows,
      () => undefined,
      window => this.#score(window, window),
    );
  }

  /** Lets the models go. */
  async close(): Promise<void> {
    for (const scorer of await Promise.allSettled(this.#scorers.values())) {
      if (scorer.status === 'fulfilled') scorer.value.close?.();
    }
    this.#scorers.clear();
  }

  async #each(windows: readonly number[], report: Report, one: (window: number) => Promise<unknown>): Promise<void> {
    if (windows.length === 0) return;
    let done = 0;
    report(done, windows.length);
    await inParallel(windows, this.#learners.parallel ?? 1, async window => {
      await one(window);
      report(++done, windows.length);
    });
  }

  readonly #score = async (trainedBefore: number, window: number): Promise<Float32Array> => {
    const key = `${trainedBefore}/${window}`;
    const known = this.#scores.get(key);
    if (known !== undefined) return known;
    const scorer = await this.#scorer(trainedBefore);
    const scores = await scorer.score(windowRows(this.#plan, window));
    this.#scores.set(key, scores);
    return scores;
  };

  #scorer(trainedBefore: number): Promise<Scorer> {
    const known = this.#scorers.get(trainedBefore);
    if (known !== undefined) return known;
    const scorer = this.#learners.learner.fit(trainingRows(this.#plan, trainedBefore));
    this.#scorers.set(trainedBefore, scorer);
    return scorer;
  }
}

function range(from: number, to: number): readonly number[] {
  return Array.from({ length: to - from }, (_, index) => from + index);
}
